"""The parts of a machine's root filesystem: its segments, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lkbuild.engine.history import base_name
from lkbuild.frozen import frozen
from lkbuild.store import Blob

_KERNEL = ("modules", "boot")


@frozen
class Part:
    """A segment: the step that made it, whose it is (`services/web`, `kernel`, …), its archive and its index."""

    step: str
    group: str
    segment: Blob
    index: Blob


def parts(inputs: Mapping[str, Blob], makers: Mapping[str, str]) -> Iterator[Part]:
    """The segments among the inputs of a step that puts them together, in order; `makers`: steps by role."""
    number = 0
    while (role := f"segment{number}") in inputs:
        maker = makers.get(role, role)
        yield Part(maker, group_of(maker), inputs[role], inputs[f"index{number}"])
        number += 1


def group_of(step: str) -> str:
    """Whose segment a step makes, by its name: a container, volume or init image, else what it is."""
    kind, _, whose = base_name(step).partition(":")
    kind = kind.removesuffix(".tar")
    if kind in _KERNEL:
        return "kernel"
    if kind == "apk":
        return "init"
    if kind == "volume":
        return f"volumes/{whose}"
    return whose if "/" in whose else kind
