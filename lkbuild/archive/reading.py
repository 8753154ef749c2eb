"""Reading small files of an image: those of some names, and all in some directories, as they are in the merged tree."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence

from lkbuild.archive.entry import Buffer, path_bytes
from lkbuild.archive.flatten import LayerSource, members
from lkbuild.archive.merge import Inode, Tree
from lkbuild.frozen import frozen

Place = tuple[int, int]
"""A layer and the number of a member there."""


@frozen
class Reading:
    """What was read: contents by path, None for a file that did not fit into the limit; and the image's whole tree."""

    files: dict[bytes, bytes | None]
    tree: Tree

    def there(self, paths: Iterable[str]) -> bool:
        """Whether one of these is a file of the image."""
        found = (self.tree.find(path_bytes(path), follow=True) for path in paths)
        return any(node is not None and node.inode.entry.kind == "file" for node in found)


def read_files(
    layers: Sequence[LayerSource], names: Collection[str], directories: Collection[str], limit: int
) -> Reading:
    """The files that `names` mean, symbolic links followed within the image, and those right in the `directories`.

    No more than `limit` bytes are read of all of them.  A layer is read a second time only where what a name means was
    not to be seen by that name, behind a link.
    """
    wanted, above = {path_bytes(name) for name in names}, {path_bytes(name) for name in directories}
    tree, held = Tree(), _Held(limit)
    for number, layer in enumerate(layers):
        with members(layer) as tar:
            for position, entry in enumerate(tar):
                path = tree.add(entry, number, position)
                if path and entry.kind == "file" and (path in wanted or path.rpartition(b"/")[0] in above):
                    held.keep(path, (number, position), entry.size, tar.body())
    found, missing, left = dict[bytes, bytes | None](), list[dict[int, list[bytes]]]({} for _ in layers), limit
    for path, inode in (*_named(tree, wanted), *_inside(tree, above)):
        if path in found:
            continue
        found[path] = None
        if inode.entry.size <= left:
            left -= inode.entry.size
            found[path] = held.at.get((inode.layer, inode.number))
            if found[path] is None:
                missing[inode.layer].setdefault(inode.number, []).append(path)
    for layer, positions in zip(layers, missing, strict=True):
        if positions:
            found.update(_read_again(layer, positions))
    return Reading(found, tree)


class _Held:
    """Contents read on the way, by their place; of each path the last that was read."""

    def __init__(self, limit: int) -> None:
        self.at: dict[Place, bytes] = {}
        self._places: dict[bytes, Place] = {}
        self._left = limit

    def keep(self, path: bytes, place: Place, size: int, body: Iterable[Buffer]) -> None:
        """Read a file, unless it does not fit."""
        before = self.at.pop(self._places.pop(path, (-1, -1)), b"")
        self._left += len(before)
        if size <= self._left:
            self._left -= size
            self._places[path] = place
            self.at[place] = b"".join(map(bytes, body))


def _named(tree: Tree, names: Iterable[bytes]) -> Iterator[tuple[bytes, Inode]]:
    for name in sorted(names):
        node = tree.find(name, follow=True)
        if node is not None and node.inode.entry.kind == "file":
            yield name, node.inode


def _inside(tree: Tree, directories: Iterable[bytes]) -> Iterator[tuple[bytes, Inode]]:
    for directory in sorted(directories):
        node = tree.find(directory, follow=True)
        for name, kid in sorted((node.kids or {}).items()) if node is not None else ():
            if kid.inode.entry.kind == "file":
                yield directory + b"/" + name, kid.inode


def _read_again(layer: LayerSource, wanted: dict[int, list[bytes]]) -> Iterator[tuple[bytes, bytes]]:
    with members(layer) as tar:
        for position, _ in enumerate(tar):
            if position in wanted:
                body = io.BytesIO()
                for piece in tar.body():
                    body.write(piece)
                yield from ((path, body.getvalue()) for path in wanted[position])
