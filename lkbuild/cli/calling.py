"""Calling a verb: what it was given, what shows its progress, and what every way of ending exits with."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from lkbuild.cli.dialect import InFlags
from lkbuild.cli.flags import Command, Given, help_text, parse
from lkbuild.cli.show import open_show
from lkbuild.engine.arguments import manner
from lkbuild.engine.project import Show, guarded
from lkbuild.engine.report import error_words
from lkbuild.engine.specs import closest
from lkbuild.errors import LkbuildError, UsageError

_LOOKS, _LOOK_SECONDS = 4, 0.02
_TASKS = {
    "boot": "say `lkbuild run qemu NAME` for what is built, or `doit boot spec=FILE`, which builds it first",
    "clean": "`lkbuild cache gc` makes the cache smaller, and `doit clean spec=FILE` removes what was written",
}
"""What does the work of doit's tasks and commands that are no verbs."""


def call(command: Command, argv: Sequence[str]) -> int:
    """Do a verb; returns what to exit with."""
    try:
        given = parse(command, argv)
    except UsageError as error:
        tell(error)
        return command.fault
    if ("help", "yes") in given.words:
        sys.stdout.write(help_text(command))
        return 0
    opened = open_show(manner(given.words), ("verbose", "yes") in given.words, ("o", "-") in given.words)
    show = InFlags(opened, command)
    return guarded(_work(command.work, given, show), show, leave, command.fault)


def _work(work: Callable[[Given, Show], int], given: Given, show: Show) -> Callable[[], int]:
    return lambda: work(given, show)


def tell(error: LkbuildError) -> int:
    """Print an error; returns what to exit with."""
    sys.stderr.write("".join(f"{line}\n" for line in error_words(error)))
    return 1


def complain(message: str, wanted: str, known: Sequence[str]) -> int:
    """Print that there is no such thing, and which there are; returns what to exit with."""
    if wanted in _TASKS:
        return tell(UsageError(message, _TASKS[wanted]))
    close = closest(wanted, known)
    return tell(UsageError(message, (f"did you mean {close[0]}? " if close else "") + f"there are {', '.join(known)}"))


def leave() -> NoReturn:
    """End the process after an interruption, with everything it started: at once, since threads are at work still.

    One of them may be starting a program just now, so that it takes a second look to see it.
    """
    for _ in range(_LOOKS):
        for child in _children():
            try:
                (os.killpg if os.getpgid(child) == child else os.kill)(child, signal.SIGTERM)
            except OSError:
                continue
        time.sleep(_LOOK_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(130)


def _children() -> list[int]:
    """The processes this one has started (proc(5), /proc/PID/task/TID/children)."""
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except (OSError, ValueError):
            continue
    return found
