"""Flattening an image: its layers merged and laid down as one tree, streaming, in one pass where that is possible.

A single layer is written while it is read.  As soon as a member changes what an earlier one made (a hard link, a name
given twice), writing stops and reading goes on for the headers alone; then the sink starts again, and a second pass
writes what survived.  Several layers are always read twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from lkbuild.archive.compress import decompressed
from lkbuild.archive.entry import MAX_PATH, directory, shown
from lkbuild.archive.merge import Inode, Node, Tree
from lkbuild.archive.sink import Sink
from lkbuild.archive.tar import TarReader
from lkbuild.archive.view import Placement, View
from lkbuild.errors import ArchiveError
from lkbuild.frozen import frozen


class LayerSource(Protocol):
    """A tar, compressed or not, that can be opened more than once; `name` is what messages call it."""

    @property
    def name(self) -> str: ...

    def open(self) -> BinaryIO:
        """Its bytes from the beginning."""


@frozen
class LayerFile:
    """A layer in a file."""

    path: Path
    name: str

    def open(self) -> BinaryIO:
        """Its bytes from the beginning."""
        return self.path.open("rb", buffering=0)


def flatten(layers: Sequence[LayerSource], sink: Sink, view: View) -> None:
    """Lay an image down in `sink`, which is not closed: its `layers`, the lowest first, merged by the OCI image-spec.

    ArchiveError, naming the layer, where one is damaged, leaves its root or contradicts itself.
    """
    _lay_down(layers, sink, view, Tree())


def lay_down(tar: LayerSource, sink: Sink, prefix: str = "") -> None:
    """Lay the contents of a plain tar down in `sink`: no name in it is a whiteout, nothing is left out or added."""
    _lay_down((tar,), sink, View(prefix), Tree(whiteouts=False))


@contextmanager
def members(layer: LayerSource) -> Iterator[TarReader]:
    """A layer opened; errors met while it is read name it."""
    try:
        with closing(layer.open()) as file:
            yield TarReader(decompressed(file))
    except ArchiveError as error:
        raise ArchiveError(f"{layer.name}: {error.message}", error.hint) from error


def _lay_down(layers: Sequence[LayerSource], sink: Sink, view: View, tree: Tree) -> None:
    if len(layers) == 1:
        if _in_one_pass(layers[0], sink, view, tree):
            return
        sink.restart()
    else:
        index(layers, tree)
    _in_second_pass(layers, Placement(sink, view), tree)


def index(layers: Sequence[LayerSource], tree: Tree) -> None:
    """Add all members of all layers to `tree`, bodies unread."""
    for number, layer in enumerate(layers):
        with members(layer) as tar:
            for position, entry in enumerate(tar):
                tree.add(entry, number, position)


def _in_one_pass(layer: LayerSource, sink: Sink, view: View, tree: Tree) -> bool:
    """Write a layer while reading it; False, with the tree whole, where that has come to nothing."""
    placement, begun = Placement(sink, view), False
    with members(layer) as tar:
        for position, entry in enumerate(tar):
            path = tree.add(entry, 0, position)
            if not tree.plain or path is None:
                continue
            if not begun:
                begun = True
                placement.begin(entry if not path else None)
            if any(map(placement.replaces, tree.made)) or (placement.replaces(path) and entry.kind == "directory"):
                tree.plain = False
                continue
            for made in tree.made:
                placement.put((made,), directory(made), implied=True)
            tree.made.clear()
            if path:
                placement.put((path,), entry, tar.body() if entry.size else ())
        if not tree.plain:
            return False
        if not begun:
            placement.begin(None)
        placement.finish()
    return True


def _in_second_pass(layers: Sequence[LayerSource], placement: Placement, tree: Tree) -> None:
    """Write the merged tree: directories, links and devices in the order of their names, then files as they come."""
    root = tree.root.inode
    placement.begin(root.entry if root.number >= 0 else None)
    wanted = _write_headers(placement, tree, len(layers))
    for layer, members_wanted in zip(layers, wanted, strict=True):
        if members_wanted:
            _write_bodies(layer, members_wanted, placement)
    placement.finish()


def _write_headers(placement: Placement, tree: Tree, layers: int) -> list[dict[int, list[bytes]]]:
    """Write all that has no contents; returns the paths of the files that have, by layer and member."""
    wanted: list[dict[int, list[bytes]]] = [{} for _ in range(layers)]
    linked: dict[int, tuple[Inode, list[bytes]]] = {}
    todo: list[tuple[bytes, Node]] = [(b"", tree.root)]
    while todo:
        path, node = todo.pop()
        inode = node.inode
        if len(path) > MAX_PATH:
            raise ArchiveError(f"a path of {len(path)} bytes: {shown(path)} (at most {MAX_PATH})")
        if node.kids is not None:
            if placement.replaces(path):
                continue
            if path:
                placement.put((path,), inode.entry, implied=inode.number < 0)
            before = path + b"/" if path else b""
            todo += ((before + name, node.kids[name]) for name in sorted(node.kids, reverse=True))
        elif inode.entry.kind == "file" and inode.entry.size:
            wanted[inode.layer].setdefault(inode.number, []).append(path)
        elif inode.names == 1:
            placement.put((path,), inode.entry)
        else:
            linked.setdefault(id(inode), (inode, []))[1].append(path)
    for inode, paths in linked.values():
        placement.put(paths, inode.entry)
    return wanted


def _write_bodies(layer: LayerSource, wanted: dict[int, list[bytes]], placement: Placement) -> None:
    with members(layer) as tar:
        for position, entry in enumerate(tar):
            paths = wanted.pop(position, None)
            if paths is not None:
                placement.put(paths, entry, tar.body())
                if not wanted:
                    return
        raise ArchiveError("the layer changed while it was read")
