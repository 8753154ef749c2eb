"""How much of a segment lies in which directory, told from its index."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.archive.index import IndexEntry

PAGE = 4096
"""Bytes in which Linux keeps files in memory on most machines."""


class Weight:
    """A path and what lies below it: bytes of files (each inode's once), and how many.  `kids` by name."""

    __slots__ = ("files", "kids", "size")

    def __init__(self) -> None:
        self.size = 0
        self.files = 0
        self.kids: dict[bytes, Weight] = {}


def weigh(rows: Iterable[IndexEntry]) -> Weight:
    """The weight of a segment's root.  A file of several names counts where its first name is."""
    root = Weight()
    seen: set[int] = set()
    for row in rows:
        if row.kind == "directory" or row.group in seen:
            continue
        if row.group:
            seen.add(row.group)
        size = row.size if row.kind == "file" else 0
        at = root
        at.size, at.files = at.size + size, at.files + 1
        for part in row.path.split(b"/"):
            at = at.kids.setdefault(part, Weight())
            at.size, at.files = at.size + size, at.files + 1
    return root


def in_memory(rows: Iterable[IndexEntry]) -> int:
    """Bytes that the files of a segment take once they are unpacked into memory: whole pages, each inode's once."""
    seen: set[int] = set()
    total = 0
    for row in rows:
        if row.kind == "file" and row.group not in seen:
            total += -(-row.size // PAGE) * PAGE
        if row.group:
            seen.add(row.group)
    return total


def heaviest(weight: Weight, count: int, path: bytes = b"") -> list[tuple[bytes, int]]:
    """The directories and files that weigh most, at most `count`, none below another, and their bytes.

    A directory stands for itself where no one thing in it makes up more than half of it; else what is in it does.
    """
    found: list[tuple[bytes, int]] = []
    pending = [(path, weight)]
    while pending and len(found) < count:
        pending.sort(key=lambda item: (item[1].size, item[0]))
        name, at = pending.pop()
        inner = max((kid.size for kid in at.kids.values()), default=0)
        if at.kids and (not name or 2 * inner > at.size):
            pending += [(b"%s/%s" % (name, key) if name else key, kid) for key, kid in at.kids.items()]
        else:
            found.append((name, at.size))
    return found
