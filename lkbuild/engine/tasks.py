"""The graph as doit's tasks: a task for every step, one for every output, groups above them.

`build` -> `build:NAME` -> `build:NAME:FORMAT` -> the steps, by their own names.  Tasks depend by `task_dep` only;
whether one is up to date is told by the store (`Standing`), never by a file of doit's.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from doit.action import BaseAction
from doit.dependency import DependencyStatus
from doit.exceptions import TaskError, TaskFailed
from doit.task import Task

from lkbuild.engine.refused import environmental
from lkbuild.errors import LkbuildError, TrustError
from lkbuild.frozen import frozen

if TYPE_CHECKING:
    from lkbuild.engine.refusing import Refusal
    from lkbuild.engine.session import Session
    from lkbuild.plan.graph import Output

Reason = Callable[[], str]
"""Why a task must run; empty where it is up to date."""


@frozen
class OurTask:
    """A task of ours and how it stands."""

    task: Task
    reason: Reason


@frozen
class Writing:
    """How outputs are written, how one tells that they need not be, and what files are written besides theirs."""

    write: Callable[[Output, Session], int]
    is_current: Callable[[Output, Session], bool]
    more: Callable[[Output], tuple[str, ...]] = lambda _: ()


class StepFailed(TaskFailed):  # type: ignore[misc]
    """A task failed for a reason the user can put right."""

    def __init__(self, error: LkbuildError) -> None:
        super().__init__(str(error))
        self.error = error


class BrokenError(TaskError):  # type: ignore[misc]
    """A task failed because of a mistake in lkbuild; the message is the traceback."""


class MachineRefused(TaskFailed):  # type: ignore[misc]
    """The task of a machine that could not be prepared, which was told then."""


class Action(BaseAction):  # type: ignore[misc]
    """Work as doit carries it out, in whatever thread: nothing of sys.stdout is touched, no exception escapes."""

    def __init__(self, work: Callable[[], object], says: str) -> None:
        self.work = work
        self.says = says
        self.task: Task | None = None
        self.out = self.err = self.result = None
        self.values: dict[str, object] = {}

    def execute(self, out: TextIO | None = None, err: TextIO | None = None) -> StepFailed | BrokenError | None:
        """See doit.action.BaseAction."""
        try:
            self.work()
        except LkbuildError as error:
            return StepFailed(error)
        except Exception as error:
            if (known := environmental(error)) is not None:
                return StepFailed(known)
            return BrokenError(traceback.format_exc())
        return None

    def __str__(self) -> str:
        return self.says


class _Refusing(Action):
    """The action of a machine that could not be prepared: it fails, and so does what needs the machine."""

    def execute(self, out: TextIO | None = None, err: TextIO | None = None) -> MachineRefused:
        """See doit.action.BaseAction."""
        return MachineRefused(self.says)


def build_tasks(
    session: Session, outputs: Iterable[Output], writing: Writing, refused: Iterable[Refusal] = ()
) -> dict[str, OurTask]:
    """The tasks of a graph by name, those to be run first coming first; one that fails for each machine `refused`."""
    tasks = {step.name: _step_task(session, step.name) for step in session.graph.steps}
    machines: dict[str, list[str]] = {}
    formats: dict[str, list[str]] = {}
    for output in outputs:
        tasks[output.name] = _output_task(session, output, writing)
        machines.setdefault(output.machine, []).append(output.name)
        if not output.beside:
            formats.setdefault(output.machine, []).append(output.format)
    for machine, names in machines.items():
        forms = formats[machine]
        doc = f"{machine} in {len(forms)} formats" if len(forms) > 1 else f"{machine} as {forms[0]}"
        tasks[f"build:{machine}"] = _group(f"build:{machine}", names, doc, tasks, subtask_of="build")
    members = [f"build:{machine}" for machine in machines]
    for refusal in refused:
        plain = f"build:{refusal.name}"
        name = f"build:{refusal.spec}" if plain in tasks else plain
        action = _Refusing(lambda: None, f"{refusal.spec} cannot be prepared")
        tasks[name] = OurTask(
            _task(name, [action], subtask_of="build", doc=action.says), lambda: "it cannot be prepared"
        )
        members.append(name)
    tasks["build"] = _group("build", members, BUILD_DOC, tasks)
    return tasks


def _task(name: str, actions: list[Action] | None, **about: Any) -> Task:
    """A task of any name: doit refuses `=` in one, since no such task can be named where `name=value` is an option."""
    task = Task(name.replace("=", "-"), actions, **about)
    task.name = name
    return task


BUILD_DOC = "build machines: spec=FILE (files and globs), format=, arch=, name=, dir=, images=, ..."


def _step_task(session: Session, name: str) -> OurTask:
    step = session.steps[name]
    task = _task(
        name,
        [Action(lambda: session.make(name), f"{step.kind} step")],
        task_dep=list(step.needs),
        subtask_of=step.kind,
        doc=f"{step.kind}{f', {step.origin}' if step.origin else ''}",
        io={"capture": False},
    )

    def reason() -> str:
        return (session.reason(name) or "its result is wanted") if session.must_run(name) else ""

    return OurTask(task, reason)


def _output_task(session: Session, output: Output, writing: Writing) -> OurTask:
    paths = [file.path for file in output.files]
    task = _task(
        output.name,
        [Action(lambda: _write(writing, output, session), f"write {', '.join(paths)}")],
        targets=paths,
        task_dep=list(output.needs),
        subtask_of=f"build:{output.machine}",
        doc=f"writes {', '.join(Path(path).name for path in paths)}",
        io={"capture": False},
        clean=True,
    )

    def reason() -> str:
        behind = dict.fromkeys((*output.needs, *session.gates(output.needs)))
        waits = [name for name in behind if session.must_run(name)]
        if waits:
            return f"waits for {', '.join(waits)}"
        if writing.is_current(output, session):
            return ""
        missing = [file.path for file in output.files if not (file.optional or Path(file.path).exists())]
        return f"{', '.join(missing)} is not there" if missing else "its files are not as they would be written"

    return OurTask(task, reason)


def _write(writing: Writing, output: Output, session: Session) -> int:
    """NB: a task can be run without those before it (`doit run --single`); a verification cannot be left out so."""
    if not session.is_open(output.needs):
        gates = ", ".join(session.gates(output.needs))
        raise TrustError(
            f"{output.name} is not written: not all is verified ({gates})", f"run {output.name} with all it needs"
        )
    return writing.write(output, session)


def _group(
    name: str, members: list[str], doc: str, tasks: Mapping[str, OurTask], subtask_of: str | None = None
) -> OurTask:
    def reason() -> str:
        waiting = [member for member in members if tasks[member].reason()]
        return f"waits for {', '.join(waiting)}" if waiting else ""

    return OurTask(_task(name, None, task_dep=members, has_subtask=True, subtask_of=subtask_of, doc=doc), reason)


class Standing:
    """Stands in for doit's dependency manager: our tasks are as the store says, other people's as doit says.

    `others` makes doit's own manager, with its file; it is not called unless one of their tasks is looked at.
    """

    def __init__(self, ours: Mapping[str, OurTask], others: Callable[[], Any]) -> None:
        self._ours = ours
        self._make = others
        self._others: Any = None

    def _theirs(self) -> Any:
        if self._others is None:
            self._others = self._make()
        return self._others

    def get_status(self, task: Task, tasks_dict: Mapping[str, Task], get_log: bool = False) -> DependencyStatus:
        """See doit.dependency.Dependency."""
        ours = self._ours.get(task.name)
        if ours is None:
            return self._theirs().get_status(task, tasks_dict, get_log)
        status = DependencyStatus(get_log)
        task.dep_changed = []
        reason = ours.reason()
        if reason:
            status.add_reason("lkbuild", reason)
        return status

    def save_success(self, task: Task, result_hash: str | None = None) -> None:
        """See doit.dependency.Dependency."""
        if task.name not in self._ours:
            self._theirs().save_success(task, result_hash)

    def remove_success(self, task: Task) -> None:
        """See doit.dependency.Dependency."""
        if task.name not in self._ours:
            self._theirs().remove_success(task)

    def remove(self, name: str) -> None:
        """See doit.dependency.Dependency."""
        if name not in self._ours:
            self._theirs().remove(name)

    def status_is_ignore(self, task: Task) -> Any:
        """See doit.dependency.Dependency."""
        return None if task.name in self._ours else self._theirs().status_is_ignore(task)

    def get_values(self, name: str) -> Any:
        """See doit.dependency.Dependency."""
        return {} if name in self._ours else self._theirs().get_values(name)

    def get_value(self, name: str, key: str) -> Any:
        """See doit.dependency.Dependency."""
        return None if name in self._ours else self._theirs().get_value(name, key)

    def get_result(self, name: str) -> Any:
        """See doit.dependency.Dependency."""
        return None if name in self._ours else self._theirs().get_result(name)

    def close(self) -> None:
        """See doit.dependency.Dependency."""
        if self._others is not None:
            self._others.close()
