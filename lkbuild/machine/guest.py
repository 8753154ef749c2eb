"""A running machine: started, listened to, asked to power down, ended.

`run` gives it a terminal; tests and others that drive machines keep its console in a file.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lkbuild.errors import MachineError
from lkbuild.frozen import frozen
from lkbuild.machine import qemu
from lkbuild.machine.accel import Accelerator
from lkbuild.machine.checks import check, ports_free
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions
from lkbuild.machine.probe import accelerator_for
from lkbuild.machine.qmp import Monitor
from lkbuild.machine.state import State

GRACE = 10.0
"""Seconds a guest gets to power down."""

_QUIT_SECONDS, _POLL_SECONDS = 5.0, 0.05
_MAX_BODY = 64 << 20
_LINES = 20


@frozen
class Machine:
    """What is started: the options, the medium, the state directory, and how its instructions are run."""

    options: MachineOptions
    media: Media
    directory: Path
    accelerator: Accelerator

    @classmethod
    def of(cls, options: MachineOptions, media: Media, directory: Path | None = None) -> Machine:
        """With `media.state` as the directory unless told; finds the accelerator, which may try a guest first.

        MachineError where the files or the memory cannot do.
        """
        media = media.absolute()
        check(options, media)
        return cls(options, media, directory or media.state, accelerator_for(options, media, os.environ))


@frozen
class Console:
    """Descriptors for the guest's serial console, as subprocess takes them; `terminal` where a person sits at it."""

    input: int
    output: int
    terminal: bool = False


@frozen
class Port:
    """A virtio-serial port of the guest: what it is called there, and QEMU's end of the socket it leads to."""

    name: str
    socket: socket.socket


@frozen
class Answer:
    """What a web server in the guest answered."""

    status: int
    body: bytes


class Guest:
    """A machine under QEMU.  As a context, it is ended, not asked, when the context is left."""

    def __init__(self, machine: Machine, console: Console | Path, ports: Sequence[Port] = ()) -> None:
        """Start it; a path is a file that gets all it says.  MachineError, ToolError where that cannot be.

        The sockets of the ports are closed here once QEMU has them.
        """
        self._file = console if isinstance(console, Path) else None
        self._ports = tuple(ports)
        self._state = State(machine.directory)
        try:
            ports_free(machine.options.publish)
            if isinstance(console, Path):
                with console.open("wb") as output:
                    self._process, self._monitor = self._start(machine, Console(subprocess.PIPE, output.fileno()))
            else:
                self._process, self._monitor = self._start(machine, console)
        except BaseException:
            self._state.close()
            raise
        finally:
            for port in self._ports:
                port.socket.close()

    def _start(self, machine: Machine, console: Console) -> tuple[subprocess.Popen[bytes], Monitor]:
        program = qemu.program(machine.options.arch)
        belongings = self._state.prepare(machine.options, machine.media)
        self._power_key = qemu.needs_power_key(machine.options, belongings)
        ours, theirs = socket.socketpair()
        ports = tuple((port.name, port.socket.fileno()) for port in self._ports)
        wiring = qemu.Wiring(theirs.fileno(), console.terminal, ports)
        argv = qemu.command(machine.options, machine.media, belongings, machine.accelerator, wiring)
        try:
            with theirs, self._log.open("wb") as log:
                log.write(os.fsencode(shlex.join([os.fspath(program), *argv])) + b"\n")
                log.flush()
                # The lock goes along: it lasts as long as QEMU does, whatever becomes of us.  A session of its own
                # keeps signals meant for us away from it, but a terminal is read only in the session it belongs to.
                process = subprocess.Popen(
                    [program, *argv],
                    stdin=console.input,
                    stdout=console.output,
                    stderr=log,
                    pass_fds=(theirs.fileno(), self._state.lock, *(descriptor for _, descriptor in ports)),
                    start_new_session=not console.terminal,
                )
        except OSError as error:
            ours.close()
            raise MachineError(f"{program} cannot be started: {error}", "install it anew") from error
        return process, Monitor(ours)

    @property
    def _log(self) -> Path:
        return self._state.directory / "qemu.log"

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._process.pid

    def ended(self, seconds: float = 0) -> bool:
        """Whether it has ended, after waiting `seconds` at most."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self, seconds: float) -> None:
        """Wait until the machine has powered off; MachineError where it does not in time, or QEMU fails."""
        if not self.ended(seconds):
            raise MachineError(f"the machine still runs after {seconds:g} s{self._tail()}")
        if self._process.returncode:
            words = _last_lines(self._log, skip=1) or " it said nothing"
            status = self._process.returncode
            raise MachineError(f"QEMU ended with status {status}:{words}", f"its command line is in {self._log}")

    def powerdown(self, grace: float = GRACE) -> bool:
        """Press the power button and wait; whether it powered off within `grace` seconds.  If not, it is ended."""
        self.press_power()
        if self.ended(grace):
            return True
        self.quit()
        return False

    def press_power(self) -> None:
        """Press the power button, or the key where the machine has one, and leave it at that."""
        if self._power_key:
            self._order("send-key", keys=[{"type": "qcode", "data": "power"}])
        self._order("system_powerdown")

    def quit(self) -> None:
        """End QEMU, which writes its disks' data out; what does not end is killed."""
        self._order("quit")
        if not self.ended(_QUIT_SECONDS):
            self.kill()

    def kill(self) -> None:
        """End QEMU's process at once, as a power failure would."""
        self._process.kill()
        self._process.wait()

    def _order(self, command: str, **arguments: object) -> None:
        """One that QEMU no longer hears is followed by sterner ones."""
        with contextlib.suppress(MachineError):
            self._monitor.execute(command, **arguments)

    def console(self) -> str:
        """All that the machine has said; empty where it says it to a terminal."""
        return self._file.read_text("utf-8", "replace") if self._file is not None else ""

    def send(self, text: str) -> None:
        """Type something at its console."""
        if self._process.stdin is None:
            raise MachineError("this machine's console is a terminal")
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except OSError as error:
            raise MachineError(f"the machine has ended{self._tail()}") from error

    def wait_for(self, text: str, seconds: float) -> str:
        """Wait until its console shows `text`, and return all it has said.  MachineError with the console's end."""
        deadline = time.monotonic() + seconds
        while True:
            over = self.ended()
            said = self.console()
            if text in said:
                return said
            if over:
                self.wait(0)
                raise MachineError(f"the machine ended without saying {text!r}{self._tail()}")
            if time.monotonic() > deadline:
                raise MachineError(f"the machine does not say {text!r} within {seconds:g} s{self._tail()}")
            time.sleep(_POLL_SECONDS)

    def http_get(self, port: int, path: str = "/", seconds: float = 60) -> Answer:
        """Ask the web server behind a published port until it answers; MachineError where it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            over = self.ended()
            try:
                return _ask(port, path, max(1.0, deadline - time.monotonic()))
            except (OSError, http.client.HTTPException) as error:
                if over or time.monotonic() > deadline:
                    why = "has ended" if over else f"gives no answer on port {port} within {seconds:g} s: {error!r}"
                    raise MachineError(f"the machine {why}{self._tail()}") from error
            time.sleep(_POLL_SECONDS * 4)

    def close(self) -> None:
        """End it if it runs, and let go of its state."""
        if not self.ended():
            self.quit()
        self._monitor.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._state.close()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _tail(self) -> str:
        lines = "" if self._file is None else _last_lines(self._file)
        return f"; its console ends:{lines}" if lines else ""


def _ask(port: int, path: str, seconds: float) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=min(seconds, 10.0))
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return Answer(response.status, response.read(_MAX_BODY))
    finally:
        connection.close()


def _last_lines(file: Path, skip: int = 0) -> str:
    """The last lines of a file, each on a line of its own and set apart; the first `skip` are left out."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()[skip:]
    except OSError:
        return ""
    kept = [line.rstrip() for line in lines if line.strip()][-_LINES:]
    return "".join(f"\n  | {line}" for line in kept)
