"""`why`: for a task, what is not as it was when its machine was last built; or what was not, the last time it ran."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from lkbuild.digest import Digest
from lkbuild.engine.causes import NONE, Cause, Change, cause, causes
from lkbuild.engine.history import MachineSteps, State, machines_of
from lkbuild.engine.history_files import HistoryFiles, Past
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.report import Worded
from lkbuild.engine.session import Session
from lkbuild.engine.sides import AGAIN, Now, Side, Then
from lkbuild.frozen import frozen
from lkbuild.plan.graph import Output
from lkbuild.store import Store

_DIGEST = re.compile(r"\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b")

Standing = Literal["would run", "up to date"]


@frozen
class Explained(Worded):
    """Why a step would run, or ran the last time: its own causes first, then those of what it reads, back to the roots.

    `since`: the build it is compared with, microseconds since 1970; `ran`: the build it ran in, where it is up to date;
    0 where there is none.
    """

    task: str
    standing: Standing
    since: int
    ran: int
    causes: tuple[Cause, ...]

    def words(self, verbose: bool) -> Iterator[str]:
        """See Worded."""
        yield f"{self.task}: {self._standing()}"
        told = {each.step: each for each in self.causes}
        for each in self.causes:
            indent = "  " if each.step == self.task else "    "
            if each.step != self.task:
                yield f"  {each.step}:"
            if each.note:
                yield f"{indent}{each.note}"
            yield from (f"{indent}{_change_words(change)}{_because(change, told)}" for change in each.changes)

    def _standing(self) -> str:
        since = f", compared with the build of {_date(self.since)}" if self.since else ""
        if self.standing == "would run":
            return f"would run{since}"
        if self.ran:
            return f"up to date; it became what it is in the build of {_date(self.ran)}{since}"
        return f"up to date: its result is in the cache{since}"


def _date(microseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds // 1_000_000))


def _change_words(change: Change) -> str:
    if change.step:
        verb = "is new" if change.old == NONE else "is made again" if change.new == AGAIN else "changed"
        return f"{change.what} {verb}"
    place = f" ({change.place})" if change.place else ""
    return f"{change.what}: {_short(change.old)} → {_short(change.new)}{place}"


def _because(change: Change, told: Mapping[str, Cause]) -> str:
    if change.step not in told:
        return ""
    reason = told[change.step]
    if change.old == NONE and not reason.changes:
        return ""
    return f", because {change.step} changed" if reason.changes else f": {reason.note}"


def _short(text: str) -> str:
    """Digests by as much of them as people look at."""
    return _DIGEST.sub(r"\1…", text)


class Why:
    """Explains the steps of a prepared build by the history of its cache."""

    def __init__(self, session: Session, options: BuildOptions) -> None:
        self._session = session
        self._files = HistoryFiles(options.cache)
        self._machines = machines_of(session.graph, options)
        self._owners = {known: (m, own) for m in reversed(self._machines) for own, known in m.names.items()}
        self._past: dict[str, list[Past]] = {}
        self._then: dict[str, Then | None] = {}

    def step(self, name: str) -> Explained:
        """A step, by its name in the graph, explained for the first machine that has it."""
        if name not in self._owners:
            return Explained(name, "up to date", 0, 0, (Cause(name, note="nothing that is asked for needs it"),))
        machine, own = self._owners[name]
        return self._would_run(machine, own) if self._session.must_run(name) else self._ran(machine, own)

    def brief(self, name: str) -> str:
        """Why a step would run, in a few words: the first of what changed, and how much more did."""
        explained = self._would_run(*self._owners[name], deep=False)
        found = explained.causes[0]
        if not found.changes:
            return found.note if explained.since else self._session.reason(name)
        first, count = found.changes[0], len(found.changes) - 1
        return _change_words(first) + (f" (and {count} more)" if count else "")

    def output(self, output: Output, reason: str) -> Explained:
        """An output, explained by the steps it is written from; `reason` says why it would be written, empty if not."""
        steps = [self.step(name) for name in output.needs]
        would = [each for each in steps if each.standing == "would run"]
        told = would or [each for each in steps if each.ran == max(step.ran for step in steps)]
        own = Cause(output.name, note=reason or "its files are as they should be")
        found = {known.step: known for each in told for known in each.causes}
        standing: Standing = "would run" if reason else "up to date"
        return Explained(output.name, standing, told[0].since, told[0].ran, (own, *found.values()))

    def _would_run(self, machine: MachineSteps, own: str, deep: bool = True) -> Explained:
        """Compared with the last build that had the step; `deep`: with the causes of what it reads."""
        found = next(((past, then) for past, then in self._states(machine) if own in then.state), None)
        if found is None:
            known = any(self._states(machine))
            note = "was never made here: no build on record has it" if known else "its machine was never built here"
            return Explained(own, "would run", 0, 0, (Cause(own, note=note),))
        past, then = found
        key = self._session.key(machine.names[own])
        if key is not None and then.state[own] == key:
            return Explained(own, "would run", _began(past), 0, (Cause(own, note=self._gone(key)),))
        causes = self._causes(own, (then, Now(self._session, machine)), machine, deep)
        return Explained(own, "would run", _began(past), 0, causes)

    def _gone(self, key: Digest) -> str:
        if self._store.recorded(key) is None:
            return "nothing changed, but its result was removed from the cache"
        return "nothing changed, but what it made was removed from the cache, or damaged there"

    def _ran(self, machine: MachineSteps, own: str) -> Explained:
        """What changed in the build that made it what it is: compared with the last build in which it was another."""
        newer: tuple[Past, Then] | None = None
        key = self._session.key(machine.names[own])
        for past, then in self._states(machine):
            if own not in then.state:
                continue
            if then.state[own] == key:
                newer = past, then
                continue
            new = newer[1] if newer else Now(self._session, machine)
            causes = self._causes(own, (then, new), machine)
            return Explained(own, "up to date", _began(past), _began(newer[0]) if newer else 0, causes)
        note = "it was never anything else here: no earlier build of this machine is on record"
        if newer is None:
            note = "what it makes is in the cache, and no build of this machine is on record"
        return Explained(own, "up to date", 0, _began(newer[0]) if newer else 0, (Cause(own, note=note),))

    @property
    def _store(self) -> Store:
        return self._session.place.store

    def _states(self, machine: MachineSteps) -> Iterator[tuple[Past, Then]]:
        """How earlier builds left a machine, the newest first; what is no longer known left out."""
        if machine.id not in self._past:
            self._past[machine.id] = self._files.machine(machine.id)
        for past in self._past[machine.id]:
            if past.state not in self._then:
                state = self._files.state(past.state)
                self._then[past.state] = None if state is None else Then(self._store, state)
            then = self._then[past.state]
            if then is not None:
                yield past, then

    def _causes(
        self, own: str, sides: tuple[Then, Side], machine: MachineSteps, deep: bool = True
    ) -> tuple[Cause, ...]:
        """The causes between an earlier side and a later one."""
        planned = {name: self._session.steps[known] for name, known in machine.names.items()}
        found = causes(own, *sides, planned) if deep else (cause(own, *sides, planned.get(own)),)
        return tuple(each if each.changes else self._unchanged(each, sides[0].state, machine) for each in found)

    def _unchanged(self, found: Cause, state: State, machine: MachineSteps) -> Cause:
        """A step of which nothing changed: it is new, or runs although it is as it was, since what it made is gone."""
        if found.step not in state:
            return replace(found, note="is new: that build did not have it")
        name = machine.names.get(found.step, "")
        key = self._session.key(name) if name and self._session.must_run(name) else None
        return replace(found, note=self._gone(key)) if key is not None and key == state[found.step] else found


def _began(past: Past) -> int:
    return int(past.build.partition("-")[0])
