"""The tree of a file system that is being made: entries by path become inodes with names, links and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from lkbuild.archive.entry import Entry, components, directory, shown
from lkbuild.disk.extents import Extent
from lkbuild.disk.layout import total
from lkbuild.errors import StepError


class Member(NamedTuple):
    """An entry, and a file's contents; their length is the file's size, whatever the entry says."""

    entry: Entry
    extents: tuple[Extent, ...] = ()


@dataclass(slots=True, eq=False)
class Inode:
    """A file, directory or other thing; `links` counts its names (for a directory, as Linux does).

    `number` counts from 1 in the order of `inodes`, the root being 1.
    """

    entry: Entry
    parent: Inode | None = None
    extents: tuple[Extent, ...] = ()
    children: dict[bytes, Inode] = field(default_factory=dict)
    size: int = 0
    links: int = 0
    number: int = 0

    @property
    def is_directory(self) -> bool:
        return self.entry.kind == "directory"


_CHILDLESS: dict[bytes, Inode] = {}
"""The children of all that are no directories, which is always empty: of files there are a hundred thousand."""


def tree(members: Iterable[Member]) -> Inode:
    """The root of the tree that these members make; children are sorted by name.

    Directories that are missing are made.  What comes later takes the place of a file with its path, a directory that
    is there already gets its attributes.  StepError for a hard link to nothing and for a file where a directory is.
    """
    root = Inode(directory(b""))
    for member in members:
        _add(root, member)
    for inode in [each for each in inodes(root) if each.is_directory]:
        _finish(inode)
    for number, inode in enumerate(inodes(root), 1):
        inode.number = number
    return root


def inodes(root: Inode) -> Iterator[Inode]:
    """Every inode once: a directory, then what is in it by name, then its subdirectories' contents."""
    seen: set[Inode] = {root}
    waiting = [root]
    yield root
    while waiting:
        found = waiting.pop()
        below = []
        for child in found.children.values():
            if child not in seen:
                seen.add(child)
                yield child
                if child.is_directory:
                    below.append(child)
        waiting.extend(reversed(below))


def paths(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Every path below the root by name, a directory before what is in it; an inode comes with each of its names."""
    waiting = [(b"", root)]
    while waiting:
        path, inode = waiting.pop()
        if path:
            yield path, inode
        before = path + b"/" if path else b""
        waiting.extend((before + name, child) for name, child in reversed(inode.children.items()))


def _finish(inode: Inode) -> None:
    """Sort a directory's children by name and count the links that it gives."""
    inode.children = dict(sorted(inode.children.items()))
    inode.links += 2
    for child in inode.children.values():
        if child.is_directory:
            inode.links += 1
        else:
            child.links += 1


def _add(root: Inode, member: Member) -> None:
    entry = member.entry
    parts = components(entry.path)
    if not parts:
        if entry.kind != "directory":
            raise StepError(f"the root of a file system is a {entry.kind}", "it must be a directory")
        root.entry = entry
        return
    parent = root
    for depth, part in enumerate(parts[:-1], 1):
        below = parent.children.get(part)
        if below is None:
            below = parent.children[part] = Inode(directory(b"/".join(parts[:depth])), parent)
        elif not below.is_directory:
            raise StepError(f"{shown(entry.path)}: {shown(below.entry.path)} is no directory", "leave one of them out")
        parent = below
    _place(root, parent, parts[-1], member)


def _place(root: Inode, parent: Inode, name: bytes, member: Member) -> None:
    entry, there = member.entry, parent.children.get(name)
    if there is not None and there.is_directory:
        if entry.kind != "directory":
            raise StepError(f"{shown(entry.path)} is a directory and a {entry.kind}", "leave one of them out")
        there.entry = entry
    elif entry.kind == "hardlink":
        parent.children[name] = _target(root, entry)
    elif entry.kind == "file":
        parent.children[name] = Inode(entry, parent, member.extents, _CHILDLESS, total(member.extents))
    else:
        children = {} if entry.kind == "directory" else _CHILDLESS
        parent.children[name] = Inode(entry, parent, children=children, size=len(entry.target))


def _target(root: Inode, entry: Entry) -> Inode:
    found: Inode | None = root
    for part in components(entry.target):
        found = found.children.get(part) if found else None
    if found is None or found.is_directory:
        raise StepError(
            f"{shown(entry.path)} is a hard link to {shown(entry.target)}, which is no file here",
            "the file must come before its links",
        )
    return found
