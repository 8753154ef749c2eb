"""`plan`: what a build would do and why, what it would fetch and write, and how long that would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lkbuild.engine.estimates import Estimates, expected_size, side_by_side
from lkbuild.engine.execute import fixed_result
from lkbuild.engine.history import machines_of
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.outputs import file_is_current, size_of
from lkbuild.engine.report import Worded, seconds_words, size_words
from lkbuild.engine.session import Session
from lkbuild.engine.why import Why
from lkbuild.frozen import frozen
from lkbuild.plan.graph import OutputFile

_FEW = 3
"""Up to so many machines, each step is told; of more, each machine."""


@frozen
class PlannedStep:
    """A step that would run.  `size`: bytes it is about, `fetched`: those that come from outside; None: not known."""

    name: str
    kind: str
    why: str
    size: int | None
    fetched: int
    seconds: float | None


@frozen
class PlannedFile:
    """An output file that would be written."""

    output: str
    path: str
    size: int | None


@frozen
class PlannedMachine:
    """A machine: its steps, how many of them would run, and how many of its files would be written."""

    name: str
    steps: int
    to_run: int
    files: int


@frozen
class Forecast(Worded):
    """What a build would do.  `seconds`: how long it would take, what is `unknown` left out: kinds that never ran."""

    machines: tuple[PlannedMachine, ...]
    steps: tuple[PlannedStep, ...]
    files: tuple[PlannedFile, ...]
    fetched: int
    written: int
    seconds: float
    unknown: tuple[str, ...]
    jobs: int

    def words(self, verbose: bool) -> Iterator[str]:
        """See Worded."""
        for machine in self.machines:
            if machine.to_run or machine.files or len(self.machines) <= _FEW or verbose:
                yield (
                    f"{machine.name}: {machine.to_run} of {machine.steps} steps would run,"
                    f" {machine.files} file{'' if machine.files == 1 else 's'} would be written"
                )
        if len(self.machines) <= _FEW or verbose:
            yield from self._table()
        else:
            idle = sum(not machine.to_run and not machine.files for machine in self.machines)
            yield f"{len(self.machines)} machines, {idle} of them with nothing to do: {len(self.steps)} steps would run"
        if self.steps or self.files:
            yield self._total()

    def _table(self) -> Iterator[str]:
        rows = [
            (each.name, size_words(each.size) if each.size else "", _about(each.seconds), each.why)
            for each in self.steps
        ]
        rows += [
            (each.path, size_words(each.size) if each.size else "", "", f"written by {each.output}")
            for each in self.files
        ]
        if not rows:
            return
        widths = [max(len(row[n]) for row in (*rows, ("step or file", "bytes", "expected"))) for n in range(3)]
        for name, size, seconds, why in (("step or file", "bytes", "expected", "why"), *rows):
            yield f"  {name:{widths[0]}}  {size:>{widths[1]}}  {seconds:>{widths[2]}}  {why}".rstrip()

    def _total(self) -> str:
        written = size_words(self.written) if self.written else "an unknown size"
        if self.written and any(each.size is None for each in self.files):
            written = f"more than {written}"
        parts = [f"{size_words(self.fetched)} to fetch", f"{written if self.files else 'nothing'} to write"]
        known = any(each.seconds is not None for each in self.steps) or not self.steps
        if not known:
            return f"{', '.join(parts)}; how long it takes is unknown: no build like it is on record"
        expected = f"{', '.join(parts)}; expected {_about(self.seconds)} with {self.jobs} at a time"
        return (
            f"{expected}, besides steps of kinds never run here: {', '.join(self.unknown)}"
            if self.unknown
            else expected
        )


def _about(seconds: float | None) -> str:
    return "unknown" if seconds is None else "< 0.1 s" if seconds < 0.05 else seconds_words(seconds)


def forecast(session: Session, options: BuildOptions, jobs: int) -> Forecast:
    """What the build would do, by what is in the store and in the history of its cache."""
    history = HistoryFiles(options.cache)
    estimates, asking = Estimates.of(history), Why(session, options)
    steps = tuple(
        _planned(session, step.name, estimates, asking) for step in session.graph.steps if session.must_run(step.name)
    )
    stale = [(output, file) for output in session.graph.outputs for file in output.files if _is_stale(file, session)]
    files = tuple(PlannedFile(output.name, file.path, _size(session, file, estimates)) for output, file in stale)
    written = sum(file.size or 0 for file in files)
    tasks = {each.name: (each.seconds or 0.0, session.steps[each.name].needs) for each in steps}
    seconds = side_by_side(tasks, jobs) + (estimates.writing(written) or 0.0)
    return Forecast(
        machines=_machines(session, options, [output.machine for output, _ in stale]),
        steps=steps,
        files=files,
        fetched=_fetched(session, [each.name for each in steps]),
        written=written,
        seconds=seconds,
        unknown=tuple(dict.fromkeys(each.kind for each in steps if each.seconds is None)),
        jobs=jobs,
    )


def _planned(session: Session, name: str, estimates: Estimates, asking: Why) -> PlannedStep:
    step, size = session.steps[name], expected_size(session, name, estimates)
    seconds = estimates.step(name, step.kind, size)
    return PlannedStep(name, step.kind, asking.brief(name), size, _fetched(session, [name]), seconds)


def _fetched(session: Session, names: Iterable[str]) -> int:
    """Bytes that these steps would fetch, each blob once."""
    fixed = (fixed_result(session.steps[name]) for name in names)
    blobs = {blob for result in fixed if result is not None for blob in result.blobs}
    return sum(blob.size for blob in blobs if not session.place.store.has(blob))


def _size(session: Session, file: OutputFile, estimates: Estimates) -> int | None:
    if file.step in session.results and not session.must_run(file.step):
        return size_of(file, session)
    return estimates.file_size(file.path)


def _is_stale(file: OutputFile, session: Session) -> bool:
    return session.must_run(file.step) or not file_is_current(file, session)


def _machines(session: Session, options: BuildOptions, stale: list[str]) -> tuple[PlannedMachine, ...]:
    return tuple(
        PlannedMachine(each.name, len(each.names), sum(map(session.must_run, each.names.values())), files)
        for each, files in ((machine, stale.count(machine.name)) for machine in machines_of(session.graph, options))
    )
