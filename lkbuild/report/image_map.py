"""A map of what is in a machine's root filesystem: by service, by segment, by directory, in unpacked and packed bytes.

It is made of what the cache holds: the step that put the segments together (`store.steps`), and their indexes.  Files
of a segment share its packed bytes as they share its unpacked ones, since they are compressed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lkbuild.archive.index import MAX_INDEX, parse_index
from lkbuild.archive.weight import Weight, weigh
from lkbuild.engine.history import State
from lkbuild.engine.parts import Part, parts
from lkbuild.errors import LkbuildError, StoreError
from lkbuild.frozen import frozen
from lkbuild.plan.recorded import RecordedStep
from lkbuild.store import Blob, Store
from lkbuild.store.steps import recorded_step

ROOTS = ("initrd", "tar", "docker", "container")
"""The first parts of the names of steps that put segments together, in the order in which one is chosen."""

_SMALL, _MANY = 2000, 80
"""What is less than the so many-th part of the machine, or beyond so many in one directory, is told in one."""

_DEEP = 40
"""Directories below so many others are not looked into."""


@frozen
class MapNode:
    """A part of the machine and its parts; `about`: more lines about it."""

    name: str
    unpacked: int
    packed: int
    files: int
    kids: tuple[MapNode, ...] = ()
    about: tuple[str, ...] = ()

    def plain(self) -> list[Any]:
        """The node as the page's script has it."""
        row: list[Any] = [self.name, self.unpacked, self.packed, self.files]
        if self.kids or self.about:
            row += [[kid.plain() for kid in self.kids], list(self.about)]
        return row


def image_map(name: str, state: State, store: Store) -> MapNode:
    """The map of the machine `name` that came to `state`; StoreError says why there is none."""
    root = _root(state, store)
    makers = _makers(state, store)
    inputs = {each.role: Blob(each.digest, each.size) for each in root.inputs}
    roles = {role: makers[blob] for role, blob in inputs.items() if blob in makers}
    found = list(parts(inputs, roles))
    for part in found:
        if not store.has(part.index):
            raise StoreError("what its segments hold is no longer in the cache; a build makes it again")
    weights = [(part, weigh(parse_index(store.read(part.index.digest, MAX_INDEX)))) for part in found]
    least = sum(weight.size for _, weight in weights) // _SMALL
    groups: dict[str, list[MapNode]] = {}
    for part, weight in weights:
        groups.setdefault(part.group, []).append(_segment(part, weight, least, _layers(part, state, store, makers)))
    named = ((_named(group, members), members) for group, members in groups.items())
    return _sum(name, (_sum(group, members) for group, members in named))


def _named(group: str, members: Iterable[MapNode]) -> str:
    """A group's name; that of an init image, which the spec gives but a number, with what its image is called."""
    lines = (line for member in members for line in member.about)
    image = next((line.rpartition(", ")[2].partition(":")[2] for line in lines), "")
    return f"{group} {image.rpartition('/')[2]}" if group.startswith("init/") and image else group


def _root(state: State, store: Store) -> RecordedStep:
    """The recorded step that put the segments together."""
    for wanted in ROOTS:
        for name, key in state.items():
            if name.partition(":")[0] == wanted:
                step = recorded_step(store, key)
                if step is None:
                    raise StoreError("how its root filesystem was put together is no longer in the cache")
                return step
    raise StoreError("nothing of it was put together yet")


def _makers(state: State, store: Store) -> dict[Blob, str]:
    """The step that made each blob, the first of them where several made the same."""
    found: dict[Blob, str] = {}
    for name, key in state.items():
        result = store.recorded(key)
        for _, blob in result.outputs if result else ():
            found.setdefault(blob, name)
    return found


def _layers(part: Part, state: State, store: Store, makers: Mapping[Blob, str]) -> Iterator[str]:
    """A line for each layer of the image that a segment was made of."""
    key = state.get(part.step)
    step = None if key is None else recorded_step(store, key)
    for each in step.inputs if step else ():
        if each.role.startswith("layer"):
            maker = makers.get(Blob(each.digest, each.size), "")
            yield f"{each.role}: {each.size / 1e6:.1f} MB packed, {each.digest.short}{f', {maker}' if maker else ''}"


def _segment(part: Part, weight: Weight, least: int, about: Iterable[str]) -> MapNode:
    rate = part.segment.size / weight.size if weight.size else 0.0
    kids = _directory(weight, rate, least)
    return MapNode(part.step, weight.size, part.segment.size, weight.files, kids, tuple(about))


def _directory(weight: Weight, rate: float, least: int, depth: int = 0) -> tuple[MapNode, ...]:
    """What is in a directory, the heaviest first, the light ones in one."""
    if depth == _DEEP:
        return ()
    items = sorted(weight.kids.items(), key=lambda item: (-item[1].size, item[0]))
    shown = [item for item in items[:_MANY] if item[1].size > least]
    nodes = [_path(name, kid, rate, (least, depth + 1)) for name, kid in shown]
    rest = [kid for _, kid in items[len(shown) :]]
    if rest:
        size, files = sum(kid.size for kid in rest), sum(kid.files for kid in rest)
        nodes.append(MapNode(f"{len(rest)} {'smaller' if shown else 'small'}", size, round(size * rate), files))
    return tuple(nodes)


def _path(name: bytes, weight: Weight, rate: float, bounds: tuple[int, int]) -> MapNode:
    """A directory or file; directories with nothing but one directory in them are told as one path."""
    while len(weight.kids) == 1:
        ((inner, kid),) = weight.kids.items()
        name, weight = b"%s/%s" % (name, inner), kid
    text = name.decode("utf-8", "replace")
    kids = _directory(weight, rate, *bounds) if weight.kids else ()
    return MapNode(text, weight.size, round(weight.size * rate), weight.files, kids)


def _sum(name: str, members: Iterable[MapNode]) -> MapNode:
    """Parts as one."""
    kids = tuple(sorted(members, key=lambda node: (-node.unpacked, node.name)))
    if len(kids) == 1 and kids[0].kids and kids[0].about:
        return MapNode(name, kids[0].unpacked, kids[0].packed, kids[0].files, kids[0].kids, kids[0].about)
    unpacked, packed, files = (sum(getattr(kid, each) for kid in kids) for each in ("unpacked", "packed", "files"))
    return MapNode(name, unpacked, packed, files, kids)


def map_or_reason(name: str, state: State | None, store: Store | None) -> tuple[MapNode | None, str]:
    """The map of a machine, or why there is none."""
    if state is None or store is None:
        return None, "what the machine came to is no longer on record"
    try:
        return image_map(name, state, store), ""
    except LkbuildError as error:
        return None, error.message
