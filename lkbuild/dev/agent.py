"""Talking to the agent in the guest (`guest/root/usr/lib/lkbuild-dev/agent` says what it understands)."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from lkbuild.errors import MachineError
from lkbuild.machine.guest import Port

_MAX_LINE = 1 << 16
_MAX_LINES = 1 << 20
"""The lines of an answer that are kept; a tree of a million files has so many."""

_CHUNK = 1 << 16
_TICK = 0.1
_SEND_SECONDS = 120


class _Lines:
    """The lines that come through a socket; one that is too long is cut, and what no terminal should get is left out.

    What is in a guest may be hostile: it could say anything.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.open = True
        self._received = b""

    def read(self) -> list[str]:
        """The lines that are there; nothing is waited for."""
        try:
            received = self.connection.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            received = b""
        self.open = bool(received)
        *lines, self._received = (self._received + received).split(b"\n")
        if len(self._received) > _MAX_LINE:
            lines.append(self._received)
            self._received = b""
        return [_harmless(line) for line in lines]


def _harmless(line: bytes) -> str:
    text = line.decode("utf-8", "replace").replace("\t", " ")
    return "".join(character for character in text if character.isprintable())


@dataclass(slots=True)
class Asked:
    """Something that was asked of the agent; `lines` and `failure` count once it is `done`."""

    what: str
    done: bool = False
    lines: tuple[str, ...] = ()
    failure: str | None = None


class Agent:
    """Our end of the two ports.  What is asked is done in order; an answer need not be waited for."""

    def __init__(self) -> None:
        ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        self.ports = tuple(map(Port, ("lkbuild.requests", "lkbuild.words"), theirs))
        self._requests, self._words = map(_Lines, ours)
        patience = struct.pack("ll", _SEND_SECONDS, 0)
        self._requests.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self._asked: list[Asked] = []
        self._lines: list[str] = []

    def ask(self, words: Iterable[object], payload: Iterable[bytes] = ()) -> Asked:
        """Ask for something; MachineError where nobody hears."""
        line = " ".join(map(str, words))
        try:
            self._requests.connection.sendall(line.encode() + b"\n")
            for piece in payload:
                self._requests.connection.sendall(piece)
        except BlockingIOError as error:
            raise MachineError(
                f"the machine takes nothing more of {line!r}", "end it: a change boots it anew"
            ) from error
        except OSError as error:
            raise MachineError("the machine has ended") from error
        asked = Asked(line)
        self._asked.append(asked)
        return asked

    def answered(self, asked: Asked, seconds: float) -> tuple[str, ...]:
        """The lines of an answer, waited for; MachineError where it failed or does not come in time.

        What the guest says meanwhile is kept.
        """
        end = time.monotonic() + seconds
        while not asked.done:
            if not self._requests.open:
                raise MachineError("the machine has ended")
            if time.monotonic() > end:
                raise MachineError(f"the machine does not answer {asked.what!r} within {seconds:g} s")
            select.select([self._requests.connection], [], [], _TICK)
            self.receive()
        if asked.failure is not None:
            raise MachineError(f"the machine cannot do {asked.what!r}: {asked.failure}")
        return asked.lines

    def receive(self) -> None:
        """Take the answers that are there."""
        for line in self._requests.read():
            if not self._asked:
                continue
            verdict, _, why = line.partition(" ")
            if verdict in ("ok", "failed"):
                asked = self._asked.pop(0)
                asked.done, asked.lines = True, tuple(self._lines)
                asked.failure = why if verdict == "failed" else None
                self._lines = []
            elif len(self._lines) < _MAX_LINES:
                self._lines.append(line)

    def wait(self, seconds: float) -> None:
        """Wait until the guest says something, `seconds` at most."""
        waiting = [lines.connection for lines in (self._requests, self._words) if lines.open]
        if waiting:
            select.select(waiting, [], [], seconds)
        else:
            time.sleep(seconds)

    def words(self) -> list[str]:
        """What the guest has said."""
        return self._words.read() if self._words.open else []

    def close(self) -> None:
        """Hang up."""
        for lines in (self._requests, self._words):
            lines.connection.close()
