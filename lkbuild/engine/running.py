"""Tasks carried out by doit's runner, in threads; what it reports becomes values for whoever listens."""

from __future__ import annotations

import os
import queue
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.exceptions import BaseFail, InvalidCommand, InvalidDodoFile, InvalidTask, UnmetDependency
from doit.runner import MThreadRunner
from doit.task import Stream, Task

from lkbuild.engine.refusing import brief
from lkbuild.engine.report import Broke, Failed, Report, Skipped
from lkbuild.engine.specs import closest
from lkbuild.engine.tasks import BrokenError, MachineRefused, OurTask, Standing, StepFailed
from lkbuild.errors import LkbuildError, UsageError
from lkbuild.frozen import frozen

GOOD, USERS_FAULT, OUR_FAULT, INTERRUPTED = 0, 1, 2, 130
"""What a command exits with."""

VERBS = (
    *("affected", "audit", "cache", "diff", "rebuild", "run", "sbom", "schema"),
    *("sign", "verify", "verify-image", "version"),
)
"""What `lkbuild` does and no task."""


@frozen
class Manners:
    """How tasks are run: so many at once, on after a failure, also those that are up to date, without what they need.

    `theirs` is doit's reporter for tasks that are not ours, None for none.
    """

    jobs: int = 1
    keep_going: bool = False
    always: bool = False
    single: bool = False
    theirs: Any = None


class Reporting:
    """A reporter of doit's: our tasks become reports, other people's go to doit's own reporter.

    `seen`: the tasks whose turn came; `failed`: why those failed that did, in a line; `code`: what to exit with.
    """

    desc = "lkbuild"

    def __init__(self, ours: Mapping[str, OurTask], listen: Callable[[Report], None], theirs: Any) -> None:
        self._ours = ours
        self._listen = listen
        self._theirs = theirs
        self.seen: set[str] = set()
        self.failed: dict[str, str] = {}
        self.code = GOOD

    def initialize(self, tasks: Mapping[str, Task], selected: Sequence[str]) -> None:
        """See doit.reporter.ConsoleReporter, as for all methods here."""

    def get_status(self, task: Task) -> None:
        """A task's turn has come."""
        self.seen.add(task.name)
        self._forward("get_status", task)

    def execute_task(self, task: Task) -> None:
        """A task begins, in whatever thread."""
        self._forward("execute_task", task)

    def add_success(self, task: Task) -> None:
        """A task is done."""
        self._forward("add_success", task)

    def skip_uptodate(self, task: Task) -> None:
        """A task is up to date."""
        self._forward("skip_uptodate", task)

    def skip_ignore(self, task: Task) -> None:
        """A task is ignored."""
        self._forward("skip_ignore", task)

    def teardown_task(self, task: Task) -> None:
        """A task is cleaned up after."""
        self._forward("teardown_task", task)

    def _forward(self, method: str, task: Task) -> None:
        if task.name not in self._ours and self._theirs is not None:
            getattr(self._theirs, method)(task)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """A task failed, or was not done since another failed."""
        match fail:
            case StepFailed():
                self.failed[task.name] = brief(fail.error)
                self._fail(USERS_FAULT, Failed(fail.error, task.name))
            case BrokenError():
                self.failed[task.name] = f"{task.name}: this is a bug in lkbuild"
                self._fail(OUR_FAULT, Broke(fail.message, task.name))
            case MachineRefused():
                self.code = max(self.code, USERS_FAULT)
            case UnmetDependency() if task.has_subtask:
                self.code = max(self.code, USERS_FAULT)
            case UnmetDependency():
                self._fail(USERS_FAULT, Skipped(task.name, fail.message.replace(" ", ", ")))
            case _ if task.name in self._ours or self._theirs is None:
                self._fail(USERS_FAULT, Failed(LkbuildError(fail.get_msg()), task.name))
            case _:
                self.code = max(self.code, USERS_FAULT)
                self._theirs.add_failure(task, fail)

    def _fail(self, code: int, report: Report) -> None:
        self.code = max(self.code, code)
        self._listen(report)

    def cleanup_error(self, exception: BaseFail) -> None:
        """Cleaning up failed."""
        self._fail(USERS_FAULT, Failed(LkbuildError(exception.get_msg())))

    def runtime_error(self, message: str) -> None:
        """doit found the tasks themselves wrong."""
        self._fail(USERS_FAULT, Failed(LkbuildError(message)))

    def complete_run(self) -> None:
        """All is done."""
        if self._theirs is not None:
            self._theirs.complete_run()


_LOOK_SECONDS = 0.2


class _Queue(queue.Queue[Any]):
    """A queue whose reader wakes up now and then.

    A signal that comes just before the main thread falls asleep on a lock does not wake it: Python would see to it only
    when the next task ends.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """See queue.Queue."""
        while block and timeout is None:
            try:
                return super().get(True, _LOOK_SECONDS)
            except queue.Empty:
                continue
        return super().get(block, timeout)


class _Runner(MThreadRunner):  # type: ignore[misc]
    """doit's runner in threads, which can be interrupted at any moment."""

    Queue = staticmethod(_Queue)


def run_tasks(
    tasks: Sequence[Task], selection: Sequence[str], standing: Standing, reporting: Reporting, manners: Manners
) -> int:
    """Run the selected tasks and what they need; returns what to exit with.  UsageError for a name that is no task.

    KeyboardInterrupt leaves at once; threads at work go on until the process ends.
    """
    control = select(tasks, selection)
    if manners.single:
        for name in control.selected_tasks:
            for member in control.tasks[name].task_dep if control.tasks[name].has_subtask else (name,):
                control.tasks[member].task_dep = []
    stream = Stream(None)
    jobs = max(1, manners.jobs)
    runner = _Runner(standing, reporting, manners.keep_going, manners.always, stream, jobs)
    runner.run_all(control.task_dispatcher())
    return reporting.code


def select(tasks: Sequence[Task], selection: Sequence[str]) -> TaskControl:
    """doit's control with the tasks chosen; UsageError where one is unknown or the tasks are wrong."""
    try:
        control = TaskControl(list(tasks))
        paths = {name: os.path.abspath(name) for name in selection}  # noqa: PTH100 - as text, like our targets
        control.process([paths[n] if n not in control.tasks and paths[n] in control.targets else n for n in selection])
    except InvalidCommand as error:
        raise unknown(str(error.not_found or error), control.tasks) from error
    except (InvalidTask, InvalidDodoFile, CmdParseError) as error:
        raise UsageError(parse_words(error)) from error
    return control


def parse_words(error: Exception) -> str:
    """What doit says of options it does not know or whose values are none, without its list of all it does."""
    lines = str(error).splitlines()
    wrong = re.match("Error parsing parameter '(.+?)' <class 'int'>", lines[0]) if lines else None
    if wrong:
        return f"{wrong[1]}: {lines[-1].rpartition(': ')[2]} is no whole number"
    return str(error).partition(" (parsing options")[0]


def unknown(name: str, known: Iterable[str]) -> UsageError:
    """The error for a task that is none."""
    if Path(name).is_file():
        return UsageError(f"there is no task {name!r}", f"is it a spec? say spec={name}")
    if name in VERBS:
        return UsageError(
            f"there is no task {name!r}",
            f"say `lkbuild {name}`, which is beside doit: in .venv/bin/ where ./doit is used",
        )
    known = tuple(known)
    close = closest(name, known) or [n for n in known if n.startswith(f"build:{name}")][:1]
    return UsageError(
        f"there is no task {name!r}",
        (f"did you mean {close[0]}? " if close else "") + "`doit list --all spec=FILE` lists a spec's tasks",
    )
