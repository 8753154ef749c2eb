"""The critical path of a build: of all chains of steps that wait for each other, the one that takes longest."""

from __future__ import annotations

from collections.abc import Sequence

from lkbuild.engine.history import StepRun
from lkbuild.frozen import frozen


@frozen
class CriticalPath:
    """Steps, each needing the one before it, and microseconds they took together."""

    steps: tuple[str, ...]
    time: int


def critical_path(runs: Sequence[StepRun]) -> CriticalPath:
    """The longest chain.  `runs` may stand in any order, and need steps that are not among them, as a record may."""
    by_name = {run.name: run for run in runs}
    best: dict[str, tuple[int, str]] = {}
    for run in _ordered(by_name):
        before = max(((best[need][0], need) for need in run.needs if need in best), default=(0, ""))
        best[run.name] = (before[0] + max(0, run.end - run.start), before[1])
    if not best:
        return CriticalPath((), 0)
    name = max(best, key=lambda each: (best[each][0], each))
    time, chain = best[name][0], list[str]()
    while name:
        chain.append(name)
        name = best[name][1]
    return CriticalPath(tuple(reversed(chain)), time)


def _ordered(by_name: dict[str, StepRun]) -> list[StepRun]:
    """The runs, each after those it needs; a ring, which no build makes but a damaged record may hold, is cut open."""
    found: dict[str, StepRun] = {}
    seen: set[str] = set()
    for first in by_name:
        pending = [(first, False)]
        while pending:
            name, done = pending.pop()
            if done:
                found[name] = by_name[name]
            elif name in by_name and name not in seen:
                seen.add(name)
                pending.append((name, True))
                pending += [(need, False) for need in by_name[name].needs]
    return list(found.values())
