"""How the steps of a machine were in an earlier build, and how they are now: what `why` compares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol

from lkbuild.digest import Digest, plain
from lkbuild.engine.history import MachineSteps, State
from lkbuild.engine.session import Session
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.recorded import unkeyed
from lkbuild.plan.step import Step
from lkbuild.store import Store
from lkbuild.store.steps import recorded_step

AGAIN = "made again"
"""What an input holds that is not made yet."""


@frozen
class Source:
    """An input: what it holds (digest None: not made yet), and the steps and outputs it may come from.

    `file`: the path it will have, of an input that no step makes; empty where that is not told.
    """

    role: str
    digest: Digest | None
    size: int
    makers: tuple[tuple[str, str], ...] = ()
    file: str = ""

    @property
    def maker(self) -> str:
        """The step it comes from; empty where none makes it."""
        return self.makers[0][0] if self.makers else ""

    @property
    def contents(self) -> str:
        """What it holds, for people."""
        return f"{self.digest} ({self.size} bytes)" if self.digest else AGAIN

    @property
    def called(self) -> str:
        """What people call it."""
        if self.makers:
            return f"{self.role} ({self.maker})"
        return f"file {self.file}" if self.file else self.role


@frozen
class Made:
    """A step as it was or is; `params` and `unkeyed` are in plain form."""

    kind: str
    version: int
    params: Mapping[str, Any]
    unkeyed: Mapping[str, Any]
    sources: tuple[Source, ...]


class Side(Protocol):
    """How the steps of a machine were or are, by the names they have in it."""

    def made(self, name: str) -> Made | None:
        """The step; None where there is none, or where it is not known any more."""


class Now:
    """The steps of a build that is prepared."""

    def __init__(self, session: Session, machine: MachineSteps) -> None:
        self._session = session
        self._machine = machine
        self._own = {name: own for own, name in machine.names.items()}

    def step(self, name: str) -> Step | None:
        """The step as it is planned."""
        found = self._machine.names.get(name)
        return None if found is None else self._session.steps[found]

    def made(self, name: str) -> Made | None:
        """See Side."""
        step = self.step(name)
        if step is None:
            return None
        params = plain(step.params)
        sources = tuple(self._sources(step, _paths(step.kind, params)))
        return Made(step.kind, KINDS[step.kind].version, params, unkeyed(step.params), sources)

    def _sources(self, step: Step, paths: Mapping[str, str]) -> Iterator[Source]:
        for each in step.inputs:
            if each.step is None or each.output is None:
                yield Source(each.role, each.blob, each.size, file=paths.get(each.role, ""))
                continue
            makers = ((self._own.get(each.step, each.step), each.output),)
            result = self._session.results.get(each.step)
            blob = dict(result.outputs).get(each.output) if result else None
            yield Source(each.role, blob.digest if blob else None, blob.size if blob else 0, makers)


class Then:
    """The steps of a machine as an earlier build left them."""

    def __init__(self, store: Store, state: State) -> None:
        self._store = store
        self.state = state

    @cached_property
    def _makers(self) -> Mapping[Digest, tuple[tuple[str, str], ...]]:
        """The steps and outputs that held each digest; more than one where they made the same bytes."""
        found: dict[Digest, list[tuple[str, str]]] = {}
        for name, key in self.state.items():
            result = self._store.recorded(key)
            for output, blob in result.outputs if result else ():
                found.setdefault(blob.digest, []).append((name, output))
        return {digest: tuple(makers) for digest, makers in found.items()}

    def made(self, name: str) -> Made | None:
        """See Side."""
        try:
            step = recorded_step(self._store, self.state[name])
        except (KeyError, StoreError):
            return None
        if step is None:
            return None
        paths = _paths(step.kind, step.params)
        sources = (
            Source(i.role, i.digest, i.size, file=paths[i.role])
            if i.role in paths
            else Source(i.role, i.digest, i.size, self._makers.get(i.digest, ()))
            for i in step.inputs
        )
        return Made(step.kind, step.version, step.params, step.unkeyed, tuple(sources))


def _paths(kind: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Paths of the inputs `file<N>`: of `files`, that of the Nth entry; of a layer, of the Nth file without text."""
    entries = params.get("entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return {}
    empty = [
        (n, entry) for n, entry in enumerate(entries) if entry.get("kind") == "file" and entry.get("contents") is None
    ]
    if kind != "files":
        empty = list(enumerate(entry for _, entry in empty))
    return {f"file{n}": str(entry.get("path")) for n, entry in empty}
