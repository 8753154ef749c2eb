"""Laying segments over each other in an initrd: where a later path would not simply win, put right or refused.

Linux unpacks one archive after the other into the same tree (init/initramfs.c), and differs from a tar that is
unpacked in this: a file over a file truncates it in place, so that its other names change too; something else over a
directory that is not empty is dropped, as is whatever has no parent; and a directory over a symbolic link takes the
link away.  Segments also hold directories nobody asked for (`implied`), which must not reset real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from lkbuild.archive.entry import Entry, directory, shown
from lkbuild.archive.index import Index, IndexEntry
from lkbuild.errors import ArchiveError
from lkbuild.frozen import frozen

_MAX_SYMLINKS = 40


@frozen
class Fixup:
    """A small segment that has to go before segment `before`, or to the end where that is their number."""

    before: int
    entries: tuple[Entry, ...]


def check(segments: Sequence[tuple[str, Sequence[IndexEntry]]]) -> list[Fixup]:
    """What must be laid down between `segments` (name and index, in order) so that in every place the last one counts.

    ArchiveError, naming the path and both segments, where nothing laid down between could achieve that.
    """
    return _fixups(_laid([(name, rows, b"") for name, rows in segments]))


def check_indexes(segments: Sequence[tuple[str, Index]]) -> list[Fixup]:
    """The same for indexes, without a look at the rows of directories that are one segment's alone.

    Such a segment is sound in itself (`archive.sink`: parents first, every path once).  Where another one comes to
    something in such a directory, all rows are looked at.
    """
    try:
        return _fixups(_laid([(name, index.head, index.closed) for name, index in segments]))
    except _OpenedError:
        return check([(name, index.rows) for name, index in segments])


def standing(segments: Sequence[tuple[str, Sequence[IndexEntry]]]) -> list[set[bytes]]:
    """For each segment the paths, as its index has them, of all but directories that are there in the end.

    Errors as for `check`.
    """
    found: list[set[bytes]] = [set() for _ in segments]
    for node in _laid([(name, rows, b"") for name, rows in segments]).nodes():
        if not node.is_directory:
            found[node.segment].add(node.row.path)
    return found


def _laid(segments: Sequence[tuple[str, Sequence[IndexEntry], bytes]]) -> _Machine:
    machine = _Machine([name for name, _, _ in segments])
    for number, (_, rows, closed) in enumerate(segments):
        machine.lay(number, rows, closed)
    return machine


def _fixups(machine: _Machine) -> list[Fixup]:
    return [Fixup(before, tuple(entries)) for before, entries in sorted(machine.fixups.items())]


class _OpenedError(Exception):
    """Somebody wants to know what is in a directory whose rows nobody looked at."""


class _File:
    """A file of one or more names."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names = 0


class _Node:
    """A path as it stands while segments are laid down; `path` has no symbolic links in it."""

    __slots__ = ("_kids", "file", "path", "row", "segment")

    def __init__(self, row: IndexEntry, path: bytes, segment: int, file: _File | None = None) -> None:
        self.row, self.path, self.segment, self.file = row, path, segment, file
        self._kids: dict[bytes, _Node] | None = {}
        if file is not None:
            file.names += 1

    @property
    def is_directory(self) -> bool:
        return self.row.kind == "directory"

    @property
    def kids(self) -> dict[bytes, _Node]:
        """What lies in it, if it is a directory."""
        if self._kids is None:
            raise _OpenedError
        return self._kids

    def close(self) -> None:
        """Something lies in it, and nothing else did so far; who asks for it is told to look at all rows."""
        if self.kids:
            raise _OpenedError
        self._kids = None


class _Machine:
    """The tree that Linux has so far, and the fix-ups that make it what it should be."""

    def __init__(self, names: Sequence[str]) -> None:
        self.fixups: dict[int, list[Entry]] = {}
        self._names = names
        self._root = _Node(_implied(b""), b"", -1)
        self._last: tuple[bytes, _Node] | None = None
        self._reset: dict[_Node, IndexEntry] = {}

    def lay(self, number: int, rows: Sequence[IndexEntry], closed: bytes = b"") -> None:
        """Lay a segment down: these rows, and below the directory `closed`, if there is one, others."""
        groups: dict[int, _File] = {}
        self._last, self._reset = None, {}
        for row in rows:
            if not row.path:
                continue
            head, _, name = row.path.rpartition(b"/")
            if self._last is None or self._last[0] != head:
                self._last = head, self._parent(row.path, number)
            parent = self._last[1]
            old = parent.kids.get(name)
            if old is not None and self._stays(old, row, number):
                continue
            file = None
            if row.kind == "file":
                file = groups.setdefault(row.group, _File()) if row.group else _File()
                if old is not None and old.file is not None and old.file.names > 1 and not file.names:
                    self._unlink(old, number)
            self._take_away(old)
            path = parent.path + b"/" + name if parent.path else name
            parent.kids[name] = _Node(row, path, number, file)
        if closed:
            self._parent(closed + b"/", number).close()
        for node, real in self._reset.items():
            entry = Entry(node.path, "directory", real.mode, real.uid, real.gid, real.mtime)
            self.fixups.setdefault(number + 1, []).append(entry)

    def nodes(self) -> Iterator[_Node]:
        """Everything that stands."""
        todo = [self._root]
        while todo:
            node = todo.pop()
            yield node
            todo += node.kids.values()

    def _stays(self, old: _Node, row: IndexEntry, number: int) -> bool:
        """Whether `row` leaves the node that stands at its path in its place; refused where the two cannot be had."""
        if row.kind == "directory" and old.is_directory:
            if not row.implied:
                old.row, old.segment = row, number
                self._reset.pop(old, None)
            elif _attributes(old.row) != _attributes(row):
                self._reset.setdefault(old, old.row)
            return True
        if old.segment == number:
            raise ArchiveError(f"{self._names[number]}: two of its entries come to one place, {shown(row.path)}")
        if row.kind == "directory" and old.row.kind == "symlink":
            self._refuse(
                row,
                (number, old),
                f"a symbolic link to {shown(old.row.target)}, which the directory would take away",
                f"put what is below it under {shown(old.row.target)} (a merged /usr has /lib as a link to usr/lib)",
            )
        if row.implied:
            self._refuse(row, (number, old), f"a {old.row.kind}", "what lies below the directory would be lost")
        if old.kids:
            self._refuse(
                row,
                (number, old),
                "a directory that is not empty, which Linux keeps",
                "with a merged /usr, everything must put its files under /usr/lib instead of /lib"
                if row.kind == "symlink"
                else None,
            )
        return False

    def _refuse(self, row: IndexEntry, place: tuple[int, _Node], what: str, hint: str | None) -> NoReturn:
        number, old = place
        raise ArchiveError(
            f"{shown(row.path)} is a {row.kind} in {self._names[number]}, "
            f"but {self._names[old.segment]} has {what} there",
            hint,
        )

    def _unlink(self, old: _Node, number: int) -> None:
        """Have a symbolic link take the place of a file's name, so that the file's other names do not change."""
        self.fixups.setdefault(number, []).append(Entry(old.path, "symlink", 0o777, target=b"."))

    def _take_away(self, old: _Node | None) -> None:
        if old is not None:
            self._last = None
            self._reset.pop(old, None)
            if old.file is not None:
                old.file.names -= 1

    def _parent(self, path: bytes, number: int) -> _Node:
        """The directory that `path` comes to lie in, links followed as Linux does; made where it is missing."""
        nodes, followed = [self._root], 0
        todo = path.split(b"/")[-2::-1]
        while todo:
            part = todo.pop()
            if part == b"..":
                del nodes[max(len(nodes) - 1, 1) :]
                continue
            kid = nodes[-1].kids.get(part)
            if kid is None:
                if followed:
                    raise ArchiveError(
                        f"{shown(path)} in {self._names[number]} lies behind a symbolic link that leads nowhere",
                        f"nothing makes {shown(nodes[-1].path + b'/' + part)}",
                    )
                kid = self._make(nodes[-1], part, number)
            if kid.row.kind == "symlink" and followed < _MAX_SYMLINKS:
                followed += 1
                if kid.row.target.startswith(b"/"):
                    del nodes[1:]
                todo += (step for step in reversed(kid.row.target.split(b"/")) if step not in (b"", b"."))
            elif not kid.is_directory:
                raise ArchiveError(
                    f"{shown(path)} in {self._names[number]} needs a directory {shown(kid.path)}, "
                    f"which in {self._names[kid.segment]} is a {kid.row.kind}"
                )
            else:
                nodes.append(kid)
        return nodes[-1]

    def _make(self, parent: _Node, name: bytes, number: int) -> _Node:
        """A directory that a segment lacks, laid down before it; refused where it would lie in one of the segment's."""
        path = parent.path + b"/" + name if parent.path else name
        if parent.segment == number and all(entry.path != parent.path for entry in self.fixups.get(number, ())):
            raise ArchiveError(f"{self._names[number]} needs a directory {shown(path)} and does not have it")
        node = parent.kids[name] = _Node(_implied(path), path, number)
        self.fixups.setdefault(number, []).append(directory(path))
        return node


def _implied(path: bytes) -> IndexEntry:
    made = directory(path)
    return IndexEntry(path, made.kind, made.mode, made.uid, made.gid, made.mtime, 0, b"", 0, True, False)


def _attributes(row: IndexEntry) -> tuple[int, int, int, int]:
    return row.mode, row.uid, row.gid, row.mtime
