"""A step as a value: what is to be made, by which kind of work, from what.

A Step can be written as JSON.  Whoever has this package and a store can carry it out.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from lkbuild.digest import Digest, identity
from lkbuild.errors import Origin
from lkbuild.frozen import frozen


@frozen
class Input:
    """A blob a step reads as `role`: output `output` of the step called `step`, or a blob known by its digest."""

    role: str
    step: str | None = None
    output: str | None = None
    blob: Digest | None = None
    size: int = field(default=0, compare=False)


@frozen
class Step:
    """One step of the graph.

    `name` is unique in a graph and what people type; `params` is a frozen dataclass with a canonical form
    (`digest.plain`).  `origin` is the place in the spec it comes from, `places` are those of parts of it: a message of
    the step that begins with `PART: ` is about that place.
    NB: neither the name, nor `origin` and `places`, nor the names of the steps that make its inputs enter the key: only
    bytes do.
    """

    name: str
    kind: str
    params: Any
    inputs: tuple[Input, ...] = ()
    origin: Origin | None = field(default=None, compare=False)
    places: tuple[tuple[str, Origin], ...] = field(default=(), compare=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the steps whose outputs this one reads, each once, in order."""
        return tuple(dict.fromkeys(i.step for i in self.inputs if i.step))


def located(step: Step, message: str) -> str:
    """A message of the step with the place it is about in front."""
    origin = dict(step.places).get(message.partition(": ")[0], step.origin)
    return f"{origin}: {step.name}: {message}" if origin else f"{step.name}: {message}"


def step_key(kind: str, version: int, params: Any, inputs: tuple[tuple[str, Digest], ...]) -> Digest:
    """The key of a result: kind, version, whole params, and the digest of every input under its role, in order."""
    return identity({"kind": kind, "version": version, "params": params, "inputs": inputs})
