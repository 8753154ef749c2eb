"""Taking a few files out of an image, without writing the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import BinaryIO

from lkbuild.archive.entry import Buffer, Entry, path_bytes, path_text
from lkbuild.archive.flatten import LayerSource, members
from lkbuild.archive.merge import Inode, Tree
from lkbuild.frozen import frozen


@frozen
class Found:
    """A file that was there: its path in the image (of the name that was asked for), and its entry."""

    path: str
    entry: Entry


def extract_files(layers: Sequence[LayerSource], wanted: Mapping[str, BinaryIO]) -> dict[str, Found]:
    """Write the files that `wanted` names into its files, and say which there were; the others are left empty.

    Names are looked up in the merged image, symbolic links followed within it; only regular files count.  In the last
    part of a name `*` stands for anything, and the first match in the order of bytes is taken.  Files of a layer that
    is read for the first time are written at once; the layer is read again only where a name turns out to mean another.
    """
    tree, written = Tree(), dict[str, tuple[int, int]]()
    for number, layer in enumerate(layers):
        with members(layer) as tar:
            for position, entry in enumerate(tar):
                path = tree.add(entry, number, position)
                name = path_text(path or b"")
                if name in wanted and entry.kind == "file":
                    _rewrite(wanted[name], tar.body())
                    written[name] = number, position
    found, missing = dict[str, Found](), list[dict[int, list[str]]]({} for _ in layers)
    for name, file in wanted.items():
        match = _find(tree, name)
        if match is None:
            _rewrite(file, ())
            continue
        inode = match[1]
        found[name] = Found(match[0], inode.entry)
        if written.get(name) != (inode.layer, inode.number):
            missing[inode.layer].setdefault(inode.number, []).append(name)
    for layer, positions in zip(layers, missing, strict=True):
        if positions:
            _read_again(layer, {at: [wanted[name] for name in names] for at, names in positions.items()})
    return found


def _read_again(layer: LayerSource, wanted: dict[int, list[BinaryIO]]) -> None:
    with members(layer) as tar:
        for position, _ in enumerate(tar):
            if files := wanted.pop(position, []):
                _rewrite(files[0], _copied(tar.body(), files[1:]))
                if not wanted:
                    return


def _copied(body: Iterable[Buffer], others: Sequence[BinaryIO]) -> Iterable[Buffer]:
    for file in others:
        _rewrite(file, ())
    for piece in body:
        for file in others:
            file.write(piece)
        yield piece


def _rewrite(file: BinaryIO, body: Iterable[Buffer]) -> None:
    file.seek(0)
    file.truncate()
    for piece in body:
        file.write(piece)


def _find(tree: Tree, name: str) -> tuple[str, Inode] | None:
    """The regular file a name means, and its path before links are followed."""
    path = name.strip("/")
    if "*" in path:
        head, _, pattern = path.rpartition("/")
        parent = tree.find(path_bytes(head), follow=True) if head else tree.root
        names = (
            sorted(path_text(n) for n in (parent.kids or {}) if fnmatchcase(path_text(n), pattern)) if parent else []
        )
        paths = [f"{head}/{n}" if head else n for n in names]
    else:
        paths = [path]
    for candidate in paths:
        node = tree.find(path_bytes(candidate), follow=True)
        if node is not None and node.inode.entry.kind == "file":
            return candidate, node.inode
    return None
