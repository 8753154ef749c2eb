"""Questions about a build that is not run: the graph is made, as for a build, and looked at."""

from __future__ import annotations

import fnmatch
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lkbuild.engine.arguments import Order
from lkbuild.engine.building import EVERYTHING, skip_fresh, store_writing
from lkbuild.engine.events import Event, Told
from lkbuild.engine.forecast import forecast
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.refusing import code, reports
from lkbuild.engine.report import Report
from lkbuild.engine.running import unknown
from lkbuild.engine.session import Session
from lkbuild.engine.tasks import OurTask, build_tasks
from lkbuild.engine.why import Explained, Why
from lkbuild.plan.graph import Output

if TYPE_CHECKING:
    from lkbuild.engine.building import Preparing
    from lkbuild.engine.prepare import Prepared

Tell = Callable[[Report], None]


@contextmanager
def prepared_for(order: Order, preparing: Preparing, tell: Tell) -> Iterator[Prepared]:
    """The build that the order asks for, prepared; of what happens meanwhile only what takes long is told.

    Machines that cannot be prepared are left out where others can, and that is told.
    """

    def listen(event: Event) -> None:
        if isinstance(event, Told):
            tell(event)

    prepared = preparing(order.options, listen, order.several)
    try:
        for report in reports(prepared.refused):
            tell(report)
        yield prepared
    finally:
        prepared.close()


def why(order: Order, tasks: Sequence[str], preparing: Preparing, tell: Tell) -> int:
    """Tell why each of the tasks would run, or ran; of all that is built where none is named.  Returns the exit code.

    UsageError where a name is no task.
    """
    with prepared_for(order, preparing, tell) as prepared:
        session = prepared.session
        ours = build_tasks(session, session.graph.outputs, store_writing())
        asking = Why(session, order.only(prepared.machines).options)
        outputs = {output.name: output for output in session.graph.outputs}
        for name in _named(tasks or EVERYTHING, ours, outputs):
            tell(_explained(name, asking, ours, outputs))
        return code(prepared.refused)


def plan(order: Order, jobs: int, preparing: Preparing, tell: Tell) -> int:
    """Tell what a build would do, `jobs` steps at a time.  Returns the exit code."""
    left = skip_fresh(order, tell, time.monotonic())
    if left.options.machines:
        with prepared_for(left, preparing, tell) as prepared:
            tell(forecast(prepared.session, left.only(prepared.machines).options, jobs))
            return code(prepared.refused)
    return 0


def with_causes(
    names: Iterable[str], ours: Mapping[str, OurTask], session: Session, options: BuildOptions
) -> dict[str, OurTask]:
    """The tasks of these names (groups aside), what changed since the last build told with the reason to run."""
    asking = Why(session, options)
    outputs = {output.name: output for output in session.graph.outputs}
    plain = dict(ours)

    def reason(name: str) -> str:
        said = plain[name].reason()
        if not said:
            return ""
        _, *lines = _explained(name, asking, plain, outputs).words(False)
        return "\n".join([said, *(f"  {line}" for line in lines if line.strip() != said)])

    mine = [name for name in names if name in plain and not plain[name].task.has_subtask]
    return {name: replace(plain[name], reason=functools.partial(reason, name)) for name in mine}


def _explained(name: str, asking: Why, ours: Mapping[str, OurTask], outputs: Mapping[str, Output]) -> Explained:
    if name in outputs:
        return asking.output(outputs[name], ours[name].reason())
    return asking.step(name)


def _named(tasks: Sequence[str], ours: Mapping[str, OurTask], outputs: Mapping[str, Output]) -> list[str]:
    """The steps and outputs that are meant: groups are their outputs, patterns what they match."""
    found: dict[str, None] = {}
    for task in tasks:
        matching = [name for name in ours if name == task] or fnmatch.filter(ours, task)
        if not matching:
            raise unknown(task, ours)
        for name in matching:
            members = [each for each in outputs if each == name or each.startswith(f"{name}:")]
            found.update(dict.fromkeys(members if ours[name].task.has_subtask else [name]))
    return list(found)
