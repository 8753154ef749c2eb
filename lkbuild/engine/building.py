"""A build from what was asked for to its end: stamps first, then doit's tasks, then stamps again.

`doit build` and `lkbuild build` are both this.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lkbuild.engine import stamp
from lkbuild.engine.arguments import Order
from lkbuild.engine.events import Finished, Wrote
from lkbuild.engine.report import Built, Nothing, Planned, Report, Resolving
from lkbuild.errors import LkbuildError, UsageError
from lkbuild.frozen import frozen

if TYPE_CHECKING:
    from doit.task import Task

    from lkbuild.engine.concluding import Started
    from lkbuild.engine.events import Listener
    from lkbuild.engine.history import Ended
    from lkbuild.engine.options import BuildOptions
    from lkbuild.engine.prepare import Prepared
    from lkbuild.engine.running import Manners
    from lkbuild.engine.session import Session
    from lkbuild.engine.tasks import OurTask, Writing
    from lkbuild.engine.timeline import Timeline
    from lkbuild.plan.graph import Output
    from lkbuild.trust.private import PrivateKey

    class Preparing(Protocol):
        """See lkbuild.engine.prepare.prepare."""

        def __call__(self, options: BuildOptions, listen: Listener, going_on: bool = False) -> Prepared:
            """Prepare; `going_on` without machines that cannot be prepared."""


Tell = Callable[[Report], None]

EVERYTHING = ("build",)


@frozen
class Others:
    """Tasks besides those of the graph: other people's, ours that need no spec; doit's manager for the former."""

    theirs: tuple[Task, ...] = ()
    ours: Mapping[str, OurTask] = field(default_factory=dict)
    dependencies: Callable[[], object] = object


@frozen
class Wish:
    """What is to be run: how, which tasks, what others there are; and how outputs are written, if not
    as always; and what reads a private key.
    """

    manners: Manners
    selection: tuple[str, ...] = EVERYTHING
    others: Others = Others()
    writing: Writing | None = None
    key: Callable[[Path], PrivateKey] | None = None


@dataclass(slots=True)
class Tally:
    """Listens to a build, counts, and tells whoever listens to it and the timeline, one report at a time."""

    tell: Tell
    timeline: Timeline
    built: set[str] = field(default_factory=set)
    how: dict[str, str] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, report: Report) -> None:
        with self.guard:
            if isinstance(report, Finished):
                self.how[report.step] = report.how
            elif isinstance(report, Wrote):
                self.written[report.output] = self.written.get(report.output, 0) + 1
            elif isinstance(report, Built):
                self.built.add(report.machine)
            self.timeline(report)
            self.tell(report)


def build(order: Order, wish: Wish, preparing: Preparing, tell: Tell) -> int:
    """Do what was wished for; returns what to exit with.  LkbuildError for what is wrong before the first step."""
    began = time.monotonic()
    stamp.code()
    left = order
    if wish.selection == EVERYTHING and not wish.manners.always:
        left = skip_fresh(order, tell, began)
        if not left.options.machines:
            return 0
    gc.disable()
    from lkbuild.engine.concluding import Started
    from lkbuild.engine.refusing import reports
    from lkbuild.engine.timeline import Timeline

    tally = Tally(tell, Timeline(began))
    # Now, and not when it is needed: what is asked for its passphrase must not stand in what moves on the screen.
    key = wish.key(order.options.key) if wish.key is not None and order.options.key is not None else None
    tell(Resolving(len(left.options.machines)))
    try:
        # One file is written to where `-o` says, not that of whichever machine is left.
        prepared = preparing(left.options, tally, wish.manners.keep_going and left.several and not left.target)
        try:
            for report in reports(prepared.refused):
                tally(report)
            started = Started(prepared, tally, began, key)
            return _recorded(left.only(prepared.machines), wish, started)
        finally:
            prepared.close()
    finally:
        gc.enable()


def _recorded(order: Order, wish: Wish, started: Started) -> int:
    """Run the build and leave a record of it, however it ends."""
    from lkbuild.engine.recording import Done, keep_record
    from lkbuild.engine.refusing import code as exit_code

    ended: Ended = "broke"
    began = time.time() - (time.monotonic() - started.began)
    try:
        code = max(_run(order, wish, started), exit_code(started.prepared.refused))
        ended = "broke" if code > 1 else "failed" if code else "done"
        return code
    except LkbuildError:
        ended = "failed"
        raise
    except KeyboardInterrupt:
        ended = "interrupted"
        raise
    finally:
        tally = started.tally
        done = Done(round(began * 1_000_000), wish.manners.jobs, ended, tally.built, started.prepared.refused)
        keep_record(started.prepared.session, order.options, tally.timeline, done)


def skip_fresh(order: Order, tell: Tell, began: float) -> Order:
    """What is left to do when the machines whose stamps say that nothing changed are left out, which is told.

    One that is called as another with something to do is not left out: whether they are at odds is seen with both.
    """
    if order.target == "-":
        return order
    checked = {files: stamp.check(request(order, files), still_holds(order)) for files in order.options.machines}
    stale = {files[0].stem for files, found in checked.items() if found is None}
    fresh = {files: found for files, found in checked.items() if found is not None and files[0].stem not in stale}
    for found in fresh.values():
        outputs = [(path, found.machine) for path in found.outputs]
        _refuse_shared_paths(order.fresh, outputs)
        order = replace(order, fresh=(*order.fresh, *outputs))
    if fresh:
        tell(Nothing(tuple(found.machine for found in fresh.values()), time.monotonic() - began))
    return order.only(files for files in checked if files not in fresh)


def _refuse_shared_paths(fresh: Iterable[tuple[str, str]], written: Iterable[tuple[str, str]]) -> None:
    """LkbuildError where a path (path, machine) is one of a machine left out; merging graphs cannot see that."""
    owner = dict(fresh)
    for path, machine in written:
        if path in owner:
            raise LkbuildError(
                f"build:{owner[path]} and build:{machine} would both write {path}",
                "give them other names (name=NAME) or other directories (dir=DIR), or build one format at a time",
            )


def request(order: Order, files: tuple[Path, ...]) -> stamp.Request:
    """The request for one machine of an order."""
    return stamp.Request(order.only([files]).options, order.target)


def still_holds(order: Order) -> stamp.StillHolds:
    """Whether fingerprints are what they were, for this order's places."""

    def holds(texts: Mapping[str, str]) -> bool:
        from lkbuild.engine.fingerprints import current

        return current(order.options, texts) == texts

    return holds


def _run(order: Order, wish: Wish, started: Started) -> int:
    from lkbuild.engine.concluding import Concluding
    from lkbuild.engine.running import Reporting, run_tasks
    from lkbuild.engine.tasks import Standing, build_tasks

    session = started.prepared.session
    writing = wish.writing or store_writing()
    if started.key is not None:
        from lkbuild.engine.provenance_signing import signing

        writing = signing(writing, started.key)
    outputs = _redirected(session.graph.outputs, order.target)
    _refuse_shared_paths(order.fresh, [(file.path, output.machine) for output in outputs for file in output.files])
    if order.target:
        session.decide(outputs, writing.is_current)
    ours = {**wish.others.ours, **build_tasks(session, outputs, writing, started.prepared.refused)}
    _foretell(order, session, wish.manners.jobs, started.tally)
    gc.freeze()
    reporting = Reporting(ours, started.tally, wish.manners.theirs)
    standing = Standing(ours, wish.others.dependencies)
    tasks = [mine.task for mine in ours.values()] + [t for t in wish.others.theirs if t.name not in ours]
    code = run_tasks(tasks, wish.selection, standing, reporting, wish.manners)
    Concluding(order, started, reporting, writing).tell(outputs, wish.manners.keep_going)
    return code


def _foretell(order: Order, session: Session, jobs: int, tell: Tell) -> None:
    """Tell how much there is to do, and how long it will take if that is known; where asked for, find out why."""
    from lkbuild.engine.estimates import expected
    from lkbuild.engine.history_files import HistoryFiles

    to_run = [name for name in session.steps if session.must_run(name)]
    if order.verbose:
        from lkbuild.engine.why import Why

        asking = Why(session, order.options)
        for name in to_run:
            session.explain(name, asking.brief(name))
    tell(Planned(len(session.steps), len(to_run)))
    known = expected(session, HistoryFiles(order.options.cache), jobs) if to_run else None
    if known is not None:
        tell(known)


def store_writing() -> Writing:
    """Outputs written to where they belong."""
    from lkbuild.engine import outputs
    from lkbuild.engine.tasks import Writing

    return Writing(outputs.write, outputs.is_current)


def _redirected(outputs: Sequence[Output], target: str) -> tuple[Output, ...]:
    """The one output file written to `target` instead, where there is one, and nothing beside it."""
    if not target:
        return tuple(outputs)
    outputs = [output for output in outputs if not output.beside]
    files = [file for output in outputs for file in output.files]
    if len(files) != 1:
        names = ", ".join(file.path.rpartition("/")[2] for file in files)
        raise UsageError(
            f"-o takes one file, but this makes {len(files)}: {names}", "name one format, or use --dir DIR"
        )
    return (replace(outputs[0], files=(replace(files[0], path=target),)),)
