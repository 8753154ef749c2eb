"""Reading EROFS without compression: the counterpart of `erofs`.  What is not as that has it is a ValueError.

Linux, fs/erofs/erofs_fs.h and xattr.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lkbuild.archive.entry import MAX_PATH, Entry
from lkbuild.disk.rock_ridge import KINDS
from lkbuild.disk.view import MAX_READ, View, joined
from lkbuild.frozen import frozen

_SUPERBLOCK, _MAGIC = 1024, 0xE0F5E1E2
_SLOT, _DIRENT = 32, 12
_PLAIN, _INLINE = 0, 2
_NAMESPACES = {
    1: b"user.",
    2: b"system.posix_acl_access",
    3: b"system.posix_acl_default",
    4: b"trusted.",
    6: b"security.",
}
_MAX_XATTRS = 1 << 18


@frozen
class _Inode:
    """An inode: its entry without a path; where its attributes are and how long; its contents."""

    entry: Entry
    attributes: tuple[int, int]
    contents: View


class ErofsReader:
    """An EROFS; ValueError for what is none, here and below."""

    def __init__(self, disk: View) -> None:
        magic, bits, root, time, first, shared = disk.unpack("<I8xBxH8xQ8xII", _SUPERBLOCK)
        if magic != _MAGIC or not 9 <= bits <= 16:
            raise ValueError("no EROFS")
        self._disk, self._block, self._time, self._root = disk, 1 << bits, time, root
        self._inodes, self._shared = first << bits, shared << bits

    def members(self) -> Iterator[tuple[Entry, View]]:
        """Every path but the root's, a directory before what is in it; and files' contents.

        Directories are no larger together than the file: those of a loop, which have no end, are an error.
        """
        names: dict[int, bytes] = {}
        left, pending = self._disk.size, [(b"", self._inode(self._root))]
        while pending:
            above, directory = pending.pop()
            left -= max(directory.contents.size, _DIRENT)
            if left < 0:
                raise ValueError("directories that have no end")
            for name, number in self._listed(directory.contents):
                path, inode = b"%s/%s" % (above, name) if above else name, self._inode(number)
                if len(path) > MAX_PATH:
                    raise ValueError(f"a path of {len(path)} bytes")
                entry = inode.entry._replace(path=path)
                if entry.kind == "directory":
                    pending.append((path, inode))
                elif (first := names.setdefault(number, path)) != path:
                    yield entry._replace(kind="hardlink", target=first, size=0, device=(0, 0)), inode.contents
                    continue
                elif entry.kind == "symlink":
                    entry = entry._replace(target=inode.contents.read(0, min(inode.contents.size, MAX_PATH + 1)))
                yield entry._replace(xattrs=tuple(sorted(self._attributes(*inode.attributes)))), inode.contents

    def _inode(self, number: int) -> _Inode:
        at = self._inodes + number * _SLOT
        form, count, mode = self._disk.unpack("<HHH", at)
        if form & 1:
            size, place, owner, group, time = self._disk.unpack("<8xQI4xIIq", at)
            end = at + 64
        else:
            size, place, owner, group = self._disk.unpack("<8xI4xI4xHH", at)
            time, end = self._time, at + 32
        attributes = 12 + 4 * (count - 1) if count else 0
        kind = KINDS.get(mode & 0o170000)
        if kind is None:
            raise ValueError(f"an inode of no kind that is known ({mode:o})")
        held = size if kind == "file" else 0
        device = device_of(place) if kind in ("char", "block") else (0, 0)
        entry = Entry(b"", kind, mode & 0o7777, owner, group, time, held, b"", device)
        known = kind in ("file", "directory", "symlink")
        contents = self._contents(form >> 1 & 7, (place, size), end + attributes) if known else self._disk.part(0, 0)
        return _Inode(entry, (end, attributes), contents)

    def _contents(self, layout: int, where: tuple[int, int], inline: int) -> View:
        """What is in a file: in blocks, or its end behind the inode, at `inline`."""
        place, size = where
        if layout not in (_PLAIN, _INLINE):
            raise ValueError("an EROFS with compressed files or chunks, which is not read")
        end = (size - 1) % self._block + 1 if layout == _INLINE and size else 0
        parts = [self._disk.part(place * self._block, size - end)] if size > end else []
        return joined([*parts, self._disk.part(inline, end)])

    def _listed(self, directory: View) -> Iterator[tuple[bytes, int]]:
        """Names in a directory but `.` and `..`, and inodes' numbers; in each block, entries stand before names."""
        for start in range(0, directory.size, self._block):
            data = directory.read(start, min(self._block, directory.size - start))
            first = int.from_bytes(data[8:10], "little")
            if not _DIRENT <= first <= len(data) or first % _DIRENT:
                raise ValueError("a damaged directory")
            places = [int.from_bytes(data[at + 8 : at + 10], "little") for at in range(0, first, _DIRENT)]
            for at, begin, end in zip(range(0, first, _DIRENT), places, [*places[1:], len(data)], strict=True):
                name = data[begin:end].rstrip(b"\0")
                if not name or b"/" in name:
                    raise ValueError(f"a file called {name!r:.80}")
                if name not in (b".", b".."):
                    yield name, int.from_bytes(data[at : at + 8], "little")

    def _attributes(self, at: int, size: int) -> Iterator[tuple[bytes, bytes]]:
        """The extended attributes behind an inode, and those it shares with others."""
        if not size:
            return
        data = self._disk.read(at, min(size, _MAX_XATTRS))
        shared, at = data[4], 12
        for _ in range(shared):
            number = int.from_bytes(data[at : at + 4], "little")
            place = self._shared + 4 * number
            yield _attribute(self._disk.read(place, min(_MAX_XATTRS, self._disk.size - place, MAX_READ)))[0]
            at += 4
        while at + 4 <= len(data) and data[at : at + 4] != bytes(4):
            found, length = _attribute(data[at:])
            yield found
            at += length


def _attribute(data: bytes) -> tuple[tuple[bytes, bytes], int]:
    """The attribute at the beginning of `data`, and how many bytes it takes."""
    length, namespace, size = struct.unpack("<BBH", data[:4].ljust(4, b"\0"))
    if namespace not in _NAMESPACES or 4 + length + size > len(data):
        raise ValueError("an extended attribute that is damaged or not known")
    name = _NAMESPACES[namespace] + data[4 : 4 + length]
    return (name, data[4 + length : 4 + length + size]), (4 + length + size + 3) // 4 * 4


def device_of(number: int) -> tuple[int, int]:
    """Major and minor, as Linux decodes them (`new_decode_dev`)."""
    return number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
