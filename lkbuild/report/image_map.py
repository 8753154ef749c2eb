"""A map of what is in a machine's root filesystem: by service, by layer or segment, by directory.

It is made of what the cache holds: the step that put the segments together (`store.steps`), their indexes, and the
layers they were made of.  Bytes are counted unpacked, each file once and only where it is in the finished machine;
packed, files sharing what their segment has, since they are compressed together; and hidden, those that a layer or a
segment carries and a later one takes away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

from lkbuild.archive.index import MAX_INDEX, IndexEntry, parse_index
from lkbuild.archive.overlay import standing
from lkbuild.engine.history import State
from lkbuild.engine.parts import Part, parts
from lkbuild.errors import LkbuildError, StoreError
from lkbuild.frozen import frozen
from lkbuild.plan.recorded import RecordedStep
from lkbuild.report.images import Images, LaidImage
from lkbuild.report.layers import LayerReader
from lkbuild.report.portions import OWN, Portion, portions
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
    """A part of the machine and its parts; sizes in bytes.  `about`: more lines about it."""

    name: str
    unpacked: int
    packed: int
    files: int
    hidden: int = 0
    kids: tuple[MapNode, ...] = ()
    about: tuple[str, ...] = ()

    def plain(self) -> list[Any]:
        """The node as the page's script has it."""
        row: list[Any] = [self.name, self.unpacked, self.packed, self.files, self.hidden]
        if self.kids or self.about:
            row += [[kid.plain() for kid in self.kids], list(self.about)]
        return row


def image_map(name: str, state: State, reader: LayerReader) -> MapNode:
    """The map of the machine `name` that came to `state`; StoreError says why there is none."""
    store = reader.store
    root, images = _root(state, store), Images(state, reader)
    inputs = {each.role: Blob(each.digest, each.size) for each in root.inputs}
    roles = {role: images.makers[blob] for role, blob in inputs.items() if blob in images.makers}
    found = list(parts(inputs, roles))
    for part in found:
        if not store.has(part.index):
            raise StoreError("what its segments hold is no longer in the cache; a build makes it again")
    rows = [parse_index(store.read(part.index.digest, MAX_INDEX)) for part in found]
    there = standing([(part.step, index) for part, index in zip(found, rows, strict=True)])
    least = sum(_size(index) for index in rows) // _SMALL
    groups: dict[str, list[MapNode]] = {}
    for part, index, paths in zip(found, rows, there, strict=True):
        image = images.of(part)
        shares = portions(index, paths, image.laid if image else None)
        note = image.note if image else images.elsewhere(part)
        nodes = _layers(part, shares, least, image) if image and image.laid else [_segment(part, shares, least, note)]
        group = f"{part.group} {image.title}".rstrip() if image and part.group.startswith("init/") else part.group
        groups.setdefault(group, []).extend(nodes)
    return _sum(name, (_sum(group, members) for group, members in groups.items()))


def _size(rows: Iterable[IndexEntry]) -> int:
    return sum(row.size for row in rows if row.kind == "file")


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


def _layers(part: Part, shares: Mapping[int, Portion], least: int, image: LaidImage) -> list[MapNode]:
    """A node for each layer of a segment's image, and one for what no layer has."""
    numbers = sorted(number for number, share in shares.items() if number != OWN or share.files or share.hidden)
    laid = [shares[number].laid for number in numbers]
    total = sum(laid)
    ends = [part.segment.size * sofar // total if total else part.segment.size for sofar in accumulate(laid)]
    rate = part.segment.size / total if total else 0.0
    found = []
    for number, start, end in zip(numbers, (0, *ends), ends, strict=False):
        share = shares[number]
        name, about = ("added by lkbuild", ()) if number == OWN else (image.name(number), image.about(number))
        kids = _directory(share, rate, least)
        found.append(MapNode(name, share.size, end - start, share.files, share.hidden, kids, about))
    return found


def _segment(part: Part, shares: Mapping[int, Portion], least: int, note: str) -> MapNode:
    """A node for a segment as a whole."""
    share = shares.get(OWN, Portion())
    kids = _directory(share, part.segment.size / share.laid if share.laid else 0.0, least)
    about = (note,) if note else ()
    return MapNode(part.step, share.size, part.segment.size, share.files, share.hidden, kids, about)


def _directory(share: Portion, rate: float, least: int, depth: int = 0) -> tuple[MapNode, ...]:
    """What is in a directory, the heaviest first, the light ones in one; `rate`: packed bytes for one unpacked."""
    if depth == _DEEP:
        return ()
    items = sorted(share.kids.items(), key=lambda item: (-item[1].size - item[1].hidden, item[0]))
    shown = [item for item in items[:_MANY] if item[1].size + item[1].hidden > least]
    nodes = [_path(name, kid, rate, (least, depth + 1)) for name, kid in shown]
    rest = [kid for _, kid in items[len(shown) :]]
    if rest:
        size, laid, files, hidden = (sum(getattr(kid, each) for kid in rest) for each in _SUMS)
        name = f"{len(rest)} {'smaller' if shown else 'small'}"
        nodes.append(MapNode(name, size, round(laid * rate), files, hidden))
    return tuple(nodes)


_SUMS = ("size", "laid", "files", "hidden")


def _path(name: bytes, share: Portion, rate: float, bounds: tuple[int, int]) -> MapNode:
    """A directory or file; directories with nothing but one directory in them are told as one path."""
    while len(share.kids) == 1:
        ((inner, kid),) = share.kids.items()
        name, share = b"%s/%s" % (name, inner), kid
    text = name.decode("utf-8", "replace")
    kids = _directory(share, rate, *bounds) if share.kids else ()
    about = (share.why,) if share.why else ()
    return MapNode(text, share.size, round(share.laid * rate), share.files, share.hidden, kids, about)


def _sum(name: str, members: Iterable[MapNode]) -> MapNode:
    """Parts as one; a single segment is what it is part of."""
    kids = tuple(sorted(members, key=lambda node: (-node.unpacked, -node.hidden, node.name)))
    if len(kids) == 1 and ":" in kids[0].name:
        return replace(kids[0], name=name)
    unpacked, packed, files, hidden = (sum(getattr(kid, each) for kid in kids) for each in _NODE_SUMS)
    return MapNode(name, unpacked, packed, files, hidden, kids)


_NODE_SUMS = ("unpacked", "packed", "files", "hidden")


def map_or_reason(name: str, state: State | None, reader: LayerReader | None) -> tuple[MapNode | None, str]:
    """The map of a machine, or why there is none."""
    if state is None or reader is None:
        return None, "what the machine came to is no longer on record"
    try:
        return image_map(name, state, reader), ""
    except LkbuildError as error:
        return None, error.message
