"""Talking to a running QEMU (QEMU Machine Protocol): lines of JSON over a socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

from lkbuild.errors import MachineError

_MAX_LINE = 1 << 20
_SECONDS = 5.0


class Monitor:
    """QEMU's end of a connected socket.  Every failure to talk to it is a MachineError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(_SECONDS)
        self._received = b""
        self._greeted = False

    def execute(self, command: str, **arguments: object) -> None:
        """Have QEMU carry out a command."""
        try:
            if not self._greeted:
                self._line()
                self._greeted = True
                self._ask("qmp_capabilities")
            self._ask(command, arguments)
        except (OSError, ValueError) as error:
            raise MachineError(f"QEMU does not answer {command!r}: {error}", "end its process") from error

    def close(self) -> None:
        self._connection.close()

    def _ask(self, command: str, arguments: Mapping[str, object] | None = None) -> None:
        message = {"execute": command} | ({"arguments": arguments} if arguments else {})
        self._connection.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self._line()
            if "return" in answer:
                return
            if "error" in answer:
                raise MachineError(f"QEMU refuses {command!r}: {answer['error']}")

    def _line(self) -> dict[str, object]:
        """The next message: an answer or an event."""
        while b"\n" not in self._received:
            received = self._connection.recv(1 << 16)
            if not received:
                raise ConnectionError("it has ended")
            self._received += received
            if len(self._received) > _MAX_LINE:
                raise ValueError("its message is too long")
        line, _, self._received = self._received.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"its message is {message!r}")
        return message
