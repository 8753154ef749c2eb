"""Running a machine with its serial console on the terminal, until it powers off or is told to."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lkbuild.machine.checks import silent
from lkbuild.machine.guest import GRACE, Console, Guest, Machine
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.2
_STANDARD = (0, 1, 2)


def run(
    options: MachineOptions, media: Media, state: Path | None, tell: Callable[[str], None], grace: float = GRACE
) -> int:
    """Run a machine; returns what to exit with: 0, or 128 and the signal that ended it.

    Its console is standard input and output.  `tell` gets what a person should know, a line at a time, before the
    machine starts and when a signal ends it.  SIGINT, SIGTERM and SIGHUP press the power button; after `grace`
    seconds, or the second of them, the machine is ended.  MachineError and ToolError where it cannot be run.
    """
    machine = Machine.of(options, media, state)
    console = _console()
    for line in _announcements(machine, console):
        tell(line)
    with _terminal_restored(), _signals_noted() as noted, Guest(machine, console) as guest:
        while not guest.ended(_POLL_SECONDS):
            if noted:
                return _end(guest, noted, tell, grace)
        guest.wait(0)
    return 0


def _announcements(machine: Machine, console: Console) -> Iterator[str]:
    if machine.options.accel == "auto" and machine.accelerator.name == "tcg":
        yield machine.accelerator.reason
    unseen = silent(machine.options, machine.media)
    if unseen is not None:
        yield unseen
    if console.terminal:
        yield "the machine's console: Ctrl-A X ends the machine, Ctrl-A H tells of other keys"


def _end(guest: Guest, noted: list[int], tell: Callable[[str], None], grace: float) -> int:
    tell(f"powering off; the machine is ended in {grace:g} s, or with the next signal")
    first = len(noted)
    guest.press_power()
    waited = 0.0
    while not guest.ended(_POLL_SECONDS):
        waited += _POLL_SECONDS
        if waited >= grace or len(noted) > first:
            guest.quit()
    return 128 + noted[0]


def _console() -> Console:
    """Standard input and output.  A terminal only where we are in its foreground: else reading would stop us."""
    try:
        foreground = os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        foreground = False
    background = os.isatty(0) and not foreground
    return Console(subprocess.DEVNULL if background or not _is_open(0) else 0, 1, foreground)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def _terminal_restored() -> Iterator[None]:
    """Put back what QEMU changes and, if it is killed, leaves: the terminal's settings, and O_NONBLOCK."""
    flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) for fd in _STANDARD if _is_open(fd)}
    settings = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        yield
    finally:
        if settings is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, settings)
        for fd, value in flags.items():
            fcntl.fcntl(fd, fcntl.F_SETFL, value)


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """A list that gets the signals that arrive.  Only the main thread can receive them; elsewhere it stays empty."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
