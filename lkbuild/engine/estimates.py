"""How long steps will take, by what they took in the last builds of this cache; and many of them, done side by side."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lkbuild.engine.execute import fixed_result
from lkbuild.engine.history import base_name
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.report import Expected
from lkbuild.engine.session import Session
from lkbuild.frozen import frozen

_RECORDS, _BYTES = 16, 8 << 20
"""The records that are looked at: so many of the newest, and as many as have so many bytes together."""
_RUNS = 3
"""The last runs of a step whose median counts."""
_COMPARABLE = 1 << 20
"""Bytes above which a step is taken to last the longer the more it reads."""


@frozen
class Run:
    """How long something took, and how many bytes it was about."""

    seconds: float
    bytes: int


@dataclass(slots=True)
class Estimates:
    """What is known of durations: runs by step and by kind, and the writing of files, the newest first."""

    steps: dict[str, list[Run]] = field(default_factory=dict)
    kinds: dict[str, list[Run]] = field(default_factory=dict)
    files: dict[str, list[Run]] = field(default_factory=dict)

    @classmethod
    def of(cls, history: HistoryFiles) -> Estimates:
        """From the newest records; what is not understood counts for nothing."""
        found = cls()
        for data in history.newest_texts(_RECORDS, _BYTES):
            found._add(data)
        return found

    def step(self, name: str, kind: str, size: int | None) -> float | None:
        """Seconds a step will take that is about `size` bytes (None: not known yet); None where nobody knows."""
        same = self.steps.get(base_name(name), [])[:_RUNS]
        if same:
            usual = _median(same)
            before = same[0].bytes
            return usual * size / before if size is not None and min(size, before) > _COMPARABLE else usual
        runs = self.kinds.get(kind)
        if not runs:
            return None
        if size is None:
            return _median(runs)
        return max(min(run.seconds for run in runs), _rate(runs) * size)

    def size(self, name: str) -> int | None:
        """Bytes the step was about the last time."""
        runs = self.steps.get(base_name(name))
        return runs[0].bytes if runs else None

    def file_size(self, path: str) -> int | None:
        """Bytes of an output file the last time it was written."""
        runs = self.files.get(path)
        return runs[0].bytes if runs else None

    def writing(self, size: int) -> float | None:
        """Seconds that writing so many bytes of output files takes."""
        runs = [run for each in self.files.values() for run in each]
        return _rate(runs) * size if runs else None

    def _add(self, data: bytes) -> None:
        try:
            build = json.loads(data)["build"]
            steps, files = list(_steps(build["steps"])), list(_files(build["written"]))
        except (ArithmeticError, ValueError, TypeError, KeyError, RecursionError):
            return
        for name, kind, run in steps:
            self.steps.setdefault(base_name(name), []).append(run)
            self.kinds.setdefault(kind, []).append(run)
        for path, run in files:
            self.files.setdefault(path, []).append(run)


def _median(runs: Sequence[Run]) -> float:
    """Seconds; of an even number of runs, those of the shorter of the two in the middle."""
    # As statistics.median_low, whose module takes longer to load than a build with nothing to do should last.
    return sorted(run.seconds for run in runs)[(len(runs) - 1) // 2]


def _rate(runs: Sequence[Run]) -> float:
    """Seconds per byte."""
    return sum(run.seconds for run in runs) / max(1, sum(run.bytes for run in runs))


def _steps(items: Iterable[object]) -> Iterator[tuple[str, str, Run]]:
    """NB: a record is not decoded whole, since this is done at the beginning of every build somebody looks at."""
    for item in items:
        match item:
            case {
                "name": str(name), "kind": str(kind), "how": "ran", "start": int(start), "end": int(end),
                "bytes_in": int(before), "bytes_out": int(after),
            }:  # fmt: skip
                yield name, kind, Run((end - start) / 1e6, before or after)


def _files(items: Iterable[object]) -> Iterator[tuple[str, Run]]:
    for item in items:
        match item:
            case {"path": str(path), "bytes": int(size), "start": int(start), "end": int(end)}:
                yield path, Run((end - start) / 1e6, size)


def side_by_side(tasks: Mapping[str, tuple[float, Sequence[str]]], jobs: int) -> float:
    """Seconds until all tasks are done, `jobs` at a time: each its seconds and those it needs, each after its needs."""
    waiting = {name: sum(need in tasks for need in needs) for name, (_, needs) in tasks.items()}
    after: dict[str, list[str]] = {}
    for name, (_, needs) in tasks.items():
        for need in needs:
            after.setdefault(need, []).append(name)
    order = {name: number for number, name in enumerate(tasks)}
    ready = [order[name] for name, count in waiting.items() if not count]
    names = list(tasks)
    running: list[tuple[float, int]] = []
    now = 0.0
    heapq.heapify(ready)
    while ready or running:
        while ready and len(running) < max(1, jobs):
            number = heapq.heappop(ready)
            heapq.heappush(running, (now + tasks[names[number]][0], number))
        now, number = heapq.heappop(running)
        for name in after.get(names[number], ()):
            waiting[name] -= 1
            if not waiting[name]:
                heapq.heappush(ready, order[name])
    return now


def expected_size(session: Session, name: str, estimates: Estimates) -> int | None:
    """Bytes a step is about: those it reads, or fetches; the last time's where they are not known yet."""
    step = session.steps[name]
    fixed, inputs = fixed_result(step), session.inputs(step)
    if fixed is not None:
        return sum(blob.size for blob in fixed.blobs)
    return estimates.size(name) if inputs is None else sum(blob.size for blob in inputs.values())


def expected(session: Session, history: HistoryFiles, jobs: int) -> Expected | None:
    """How long the steps that must run will take; None where that of one of them is not known."""
    estimates = Estimates.of(history)
    found: dict[str, tuple[float, Sequence[str]]] = {}
    for step in session.graph.steps:
        if session.must_run(step.name):
            seconds = estimates.step(step.name, step.kind, expected_size(session, step.name, estimates))
            if seconds is None:
                return None
            found[step.name] = seconds, step.needs
    return Expected(side_by_side(found, jobs), tuple((name, seconds) for name, (seconds, _) in found.items()))
