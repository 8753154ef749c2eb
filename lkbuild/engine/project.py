"""What makes a dodo.py one of lkbuild's, and how a command of doit's finds out."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lkbuild.engine.arguments import Manner, Option, Order, Word
from lkbuild.engine.refused import environmental
from lkbuild.engine.report import Broke, Failed, Interrupted, Report
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen

if TYPE_CHECKING:
    from lkbuild.engine.building import Preparing
    from lkbuild.trust.private import PrivateKey

MARKER = "LKBUILD"
"""The name in a dodo.py that holds its Project; `from lkbuild.dodo import *` brings it."""

VARIABLES = "LKBUILD_VARIABLES"
"""The name in a dodo.py that holds the names of `name=value` words which its own tasks take."""


class Show(Protocol):
    """Whoever shows what happens."""

    def __call__(self, report: Report) -> None:
        """Show a report; from any thread, one at a time."""

    def close(self) -> None:
        """Nothing more comes."""


@frozen
class Project:
    """What the commands need besides the engine, and may not know of themselves.

    `show`: opens a display.  `leave`: ends the process after an interruption.  `prepare`, `lock`: from options to a
    session, or to lock files.  `check_boot`: UsageError for words by which no machine can be run.  `boot`: runs the
    machine that was built; `dev`: builds and runs it, and goes on doing so; `private_key`: reads a key to sign with;
    `report`: writes what a build was like; `boot_options` and so on: the words for them.
    """

    show: Callable[[Manner, bool], Show]
    leave: Callable[[], int]
    prepare: Preparing
    lock: Callable[[Order, Show, bool], int]
    check_boot: Callable[[Order], None]
    boot: Callable[[Order, Show], int]
    dev: Callable[[Order, Show], int]
    private_key: Callable[[Path], PrivateKey]
    report: Callable[[Order, Show], int]
    boot_options: Callable[[], tuple[Option, ...]]
    dev_options: Callable[[], tuple[Option, ...]]
    report_options: Callable[[], tuple[Option, ...]]


def project_of(loader: Any) -> Project | None:
    """The project of a loader of doit's that has loaded its dodo.py; None where it is somebody else's."""
    found = (getattr(loader, "namespace", None) or {}).get(MARKER)
    return found if isinstance(found, Project) else None


def said(argv: Sequence[str], variables: Mapping[str, str]) -> tuple[Word, ...]:
    """The `name=value` words of a command line, all of them: doit itself keeps the last of each name.

    `variables` is what doit kept, and is right where `argv` is not the command line (doit called as a library).
    """
    pairs = (argument.partition("=") for argument in argv if argument[:1] != "-" and "=" in argument)
    words = tuple((name, value) for name, _, value in pairs)
    return words if dict(words) == dict(variables) else tuple(variables.items())


def guarded(work: Callable[[], int], show: Show, leave: Callable[[], int], fault: int = 1) -> int:
    """`work`, every way it can end told in words; what to exit with: 0, 1 the user's fault, 2 ours, 130 interrupted.

    `fault` in place of 1 is for work that has another use for it.  SIGTERM is an interruption too.  To be called in the
    main thread.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return work()
    except LkbuildError as error:
        show(Failed(error))
        return fault
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        show(Interrupted())
        return leave()
    except BrokenPipeError:
        nobody_reads()
        return 0
    except Exception as error:
        known = environmental(error)
        if known is None:
            import traceback

            show(Broke(traceback.format_exc()))
            return 2
        show(Failed(known))
        return fault
    finally:
        show.close()
        signal.signal(signal.SIGTERM, before)


def nobody_reads() -> None:
    """Go on after a BrokenPipeError: whoever read standard output has seen enough, `| head` for instance.

    Python would complain again when it flushes, were it not sent elsewhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def where(loader_directory: str | None) -> Path:
    """The directory that paths on the command line are relative to: where doit was called, not where dodo.py lies."""
    here = Path.cwd()
    called = Path(loader_directory) if loader_directory else here
    return Path() if called == here else called
