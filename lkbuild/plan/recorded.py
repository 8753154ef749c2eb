"""A step written down: how a result was made, so that anybody with this package and a store can make it again.

Its JSON has the very members whose canonical form is hashed to the key of the result (`kind`, `version`, `params`,
`inputs`), and beside them what does not count: the sizes of the inputs, what the step was called, and those of its
params that enter no key (`unkeyed`: where an image is fetched from).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from lkbuild.digest import Digest, canonical_plain, plain
from lkbuild.frozen import frozen
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.step import Input, Step
from lkbuild.plan.typed import typed
from lkbuild.reference import Reference

_MEMBERS = {"kind": str, "version": int, "params": dict, "inputs": list, "sizes": list, "name": str, "unkeyed": dict}


@frozen
class RecordedInput:
    """What a step read as `role`."""

    role: str
    digest: Digest
    size: int


@frozen
class RecordedStep:
    """A step as it was carried out.  `params` and `unkeyed` are in plain form; `name` is what it was called then.

    Kind and version may be of another lkbuild: `step` alone needs them to be ours.
    """

    kind: str
    version: int
    params: Mapping[str, Any]
    inputs: tuple[RecordedInput, ...]
    name: str = ""
    unkeyed: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, step: Step, inputs: Mapping[str, tuple[Digest, int]]) -> RecordedStep:
        """The step, carried out with `inputs`: digest and size by role."""
        return cls(
            step.kind,
            KINDS[step.kind].version,
            plain(step.params),
            tuple(RecordedInput(i.role, *inputs[i.role]) for i in step.inputs),
            step.name,
            unkeyed(step.params),
        )

    @property
    def key(self) -> Digest:
        """The key of its result, from what is written here (see `plan.step.step_key`)."""
        inputs = [[each.role, str(each.digest)] for each in self.inputs]
        keyed = {"kind": self.kind, "version": self.version, "params": self.params, "inputs": inputs}
        return Digest.of(canonical_plain(keyed))

    def encode(self) -> bytes:
        """The step as JSON."""
        return canonical_plain(
            {
                "kind": self.kind,
                "version": self.version,
                "params": self.params,
                "inputs": [[each.role, str(each.digest)] for each in self.inputs],
                "sizes": [each.size for each in self.inputs],
                "name": self.name,
                "unkeyed": self.unkeyed,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> RecordedStep:
        """The step in `data`; ValueError says what is wrong with it."""
        try:
            document = json.loads(data.decode("utf-8", "surrogateescape"))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(document, dict) or document.keys() != _MEMBERS.keys():
            raise ValueError(f"a step has the members {', '.join(_MEMBERS)}, and nothing else")
        for name, wanted in _MEMBERS.items():
            if not isinstance(document[name], wanted) or isinstance(document[name], bool):
                raise ValueError(f"{name}: found {document[name]!r:.100}, wanted {wanted.__name__}")
        inputs = _inputs(document["inputs"], document["sizes"])
        return cls(
            document["kind"], document["version"], document["params"], inputs, document["name"], document["unkeyed"]
        )

    def step(self) -> Step:
        """The step, ready to be carried out; ValueError where this lkbuild does not know what it means.

        Its inputs are blobs: a step written down does not know which steps made them.
        """
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"this lkbuild knows no steps of kind {self.kind!r:.100}")
        if kind.version != self.version:
            raise ValueError(f"steps of kind {self.kind} have version {kind.version} here, and this one {self.version}")
        if twice := self.params.keys() & self.unkeyed.keys():
            raise ValueError(f"{', '.join(sorted(twice))} is given twice")
        keyed = {field.name for field in dataclasses.fields(kind.params) if field.compare}
        if not self.params.keys() <= keyed or self.unkeyed.keys() & keyed:
            raise ValueError(f"params: {self.kind} has the fields {', '.join(sorted(keyed)) or 'nothing'}")
        params: Any = typed(kind.params, {**self.params, **self.unkeyed}, "params")
        inputs = tuple(Input(each.role, blob=each.digest, size=each.size) for each in self.inputs)
        return Step(self.name or self.kind, self.kind, params, inputs)


def unkeyed(params: Any) -> dict[str, Any]:
    """The fields of params that enter no key, in plain form, references as text; empty ones are left out."""
    values = {each.name: getattr(params, each.name) for each in dataclasses.fields(params) if not each.compare}
    return {
        name: str(value) if isinstance(value, Reference) else plain(value)
        for name, value in values.items()
        if value != ()
    }


def _inputs(inputs: list[Any], sizes: list[Any]) -> tuple[RecordedInput, ...]:
    if len(inputs) != len(sizes):
        raise ValueError(f"{len(inputs)} inputs and {len(sizes)} sizes")
    found: dict[str, RecordedInput] = {}
    for item, size in zip(inputs, sizes, strict=True):
        match item:
            case [str(role), str(digest)] if type(size) is int and size >= 0 and role not in found:
                found[role] = RecordedInput(role, Digest.parse(digest), size)
            case _:
                raise ValueError(f"inputs: found {item!r:.100} of size {size!r:.20}")
    return tuple(found.values())
