"""Which layer of an image each of its files comes from, and what its layers have that a higher one takes away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lkbuild.archive.entry import components
from lkbuild.archive.flatten import LayerFile, LayerSource, members
from lkbuild.archive.merge import Tree
from lkbuild.digest import Digest
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen
from lkbuild.store import Blob, Store

_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"
_KEPT = 100_000
"""How many files the images that are remembered may have together: some 40 MB."""


class Place(NamedTuple):
    """A member of a layer, by their numbers."""

    layer: int
    member: int


class Carried(NamedTuple):
    """A file with contents that a layer has: its path in the image, and its bytes."""

    path: bytes
    size: int


@frozen
class Layered:
    """An image's layers and what becomes of them.

    `origins`: where what lies at a path comes from, for all but directories.  `carried`: the files of each layer by
    the member's number.  `removed`: the paths that each layer takes away from those below it.
    """

    origins: Mapping[bytes, Place]
    carried: tuple[Mapping[int, Carried], ...]
    removed: tuple[frozenset[bytes], ...]

    def why_hidden(self, place: Place) -> str:
        """Why a file of a layer is not in the machine."""
        path = self.carried[place.layer][place.member].path
        now = self.origins.get(path)
        if now == place:
            return "left out: machines have one of their own, or none"
        if now is not None and now.layer == place.layer:
            return "named again in the same layer"
        if now is not None:
            return f"replaced by layer {now.layer}"
        parts = path.split(b"/")
        above = {b"/".join(parts[:end]) for end in range(len(parts) + 1)}
        by = (n for n, gone in enumerate(self.removed) if n > place.layer and not gone.isdisjoint(above))
        number = next(by, None)
        return "replaced or removed later" if number is None else f"removed by layer {number}"


def layered(layers: Sequence[LayerSource]) -> Layered:
    """Read the layers' headers, the lowest first; ArchiveError as for `archive.flatten`."""
    tree = Tree()
    carried, removed = list[dict[int, Carried]](), list[frozenset[bytes]]()
    for number, layer in enumerate(layers):
        files, gone = dict[int, Carried](), set[bytes]()
        with members(layer) as tar:
            for position, entry in enumerate(tar):
                path = tree.add(entry, number, position)
                if path is None:
                    gone.add(_taken_away(entry.path))
                elif entry.kind == "file" and entry.size:
                    files[position] = Carried(path, entry.size)
        carried.append(files)
        removed.append(frozenset(gone))
    return Layered(dict(_origins(tree)), tuple(carried), tuple(removed))


def _taken_away(whiteout: bytes) -> bytes:
    """What a whiteout means; of one for all that is in a directory, the directory."""
    *parts, name = components(whiteout)
    return b"/".join(parts if name == _OPAQUE else [*parts, name.removeprefix(_WHITEOUT)])


def _origins(tree: Tree) -> Iterator[tuple[bytes, Place]]:
    todo = [(b"", tree.root)]
    while todo:
        path, node = todo.pop()
        if node.kids is None:
            yield path, Place(node.inode.layer, node.inode.number)
        else:
            before = path + b"/" if path else b""
            todo += ((before + name, kid) for name, kid in node.kids.items())


class LayerReader:
    """Reads the layers of images that are in `store`, those that several machines share once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[tuple[Digest, ...], Layered] = {}
        self._files = 0

    def read(self, layers: Sequence[Blob]) -> Layered:
        """An image by its layers, the lowest first; StoreError where one is not in the store any more."""
        digests = tuple(layer.digest for layer in layers)
        found = self._known.get(digests)
        if found is None:
            if not all(map(self.store.has, layers)):
                raise StoreError("its layers are no longer in the cache")
            found = layered([LayerFile(self.store.path(each), f"layer {each}") for each in digests])
            self._files += len(found.origins)
            if self._files > _KEPT:
                self._known, self._files = {}, len(found.origins)
            self._known[digests] = found
        return found
