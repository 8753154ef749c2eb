"""Reading SquashFS 4.0, as mksquashfs makes it for `squashfs`.  What is not as the format has it is a ValueError.

Linux, fs/squashfs/squashfs_fs.h; Documentation/filesystems/squashfs.rst.
"""

from __future__ import annotations

import functools
import lzma
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from lkbuild.archive.entry import MAX_PATH, Entry, Kind
from lkbuild.disk.erofs_reading import device_of
from lkbuild.disk.view import MAX_READ, View, in_units
from lkbuild.frozen import frozen

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_META = 8192
"""Bytes of a block of metadata, unpacked."""
_NONE = 0xFFFFFFFF
_PLAIN = 1 << 24
"""This bit of a block's size says that it is not packed."""
_MAX_BLOCKS, _MAX_NAMES, _MAX_XATTRS = 1 << 20, 1 << 24, 1 << 18
_MEMORY = 128 << 20

_KINDS: dict[int, Kind] = {1: "directory", 2: "file", 3: "symlink", 4: "block", 5: "char", 6: "fifo"}
_EXTENDED = 7
"""What is added to the type of an inode that may have extended attributes."""
_NAMESPACES = {0: b"user.", 1: b"trusted.", 2: b"security."}
_ELSEWHERE = 0x100

_CODECS: dict[int, Callable[[bytes, int], bytes]] = {
    1: lambda data, most: zlib.decompressobj().decompress(data, most),
    4: lambda data, most: lzma.LZMADecompressor(memlimit=_MEMORY).decompress(data, most),
    6: lambda data, most: zstd.ZstdDecompressor().decompress(data, most),
}
_BROKEN = (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError)


@frozen
class _Inode:
    """An inode: its entry without a path, the number of its attributes, and a file's contents.

    `listed`: of a directory, the block and the byte in it where its list begins, and the list's bytes.
    """

    entry: Entry
    attributes: int
    contents: View
    listed: tuple[int, int, int] = (0, 0, 0)


class _Metadata:
    """A place in metadata, of which `block` gives the block at a byte of the file, and where the next one is."""

    def __init__(self, block: Callable[[int], tuple[bytes, int]], at: int, skip: int) -> None:
        self._block, self._at, self._skip = block, at, skip

    def read(self, size: int) -> bytes:
        """The next bytes."""
        made = bytearray()
        while len(made) < size:
            data, following = self._block(self._at)
            found = data[self._skip : self._skip + size - len(made)]
            made += found
            self._skip += len(found)
            if self._skip >= len(data):
                self._at, self._skip = following, self._skip - len(data)
        return bytes(made)

    def unpack(self, form: str) -> tuple[Any, ...]:
        """The next numbers."""
        return struct.unpack(form, self.read(struct.calcsize(form)))


class SquashfsReader:
    """A SquashFS; ValueError for what is none, here and below."""

    def __init__(self, disk: View) -> None:
        magic, self._unit, codec, version, root, *tables = disk.unpack("<4s8xI4xH6xH2xQ8x5Q", 0)
        if magic != b"hsqs" or version != 4 or not 0 < self._unit <= MAX_READ:
            raise ValueError("no SquashFS 4.0")
        if codec not in _CODECS:
            raise ValueError("a SquashFS packed with none of gzip, xz and zstd")
        self._disk, self._codec, self._root = disk, _CODECS[codec], root
        self._ids, self._xattrs, self._inodes, self._directories, self._fragments = tables
        self._block = functools.lru_cache(64)(self._read_block)
        self._data = functools.lru_cache(4)(self._read_data)

    def members(self) -> Iterator[tuple[Entry, View]]:
        """Every path but the root's, a directory before what is in it; and files' contents.

        A directory with several names, as one of a loop has, is an error.
        """
        names, count, pending = {self._root: b""}, 0, [(b"", self._inode(self._root))]
        while pending:
            above, directory = pending.pop()
            for name, reference in self._listed(*directory.listed):
                path, inode, count = b"%s/%s" % (above, name) if above else name, self._inode(reference), count + 1
                first = names.setdefault(reference, path)
                entry = inode.entry._replace(path=path)
                if len(path) > MAX_PATH or count > _MAX_NAMES or (first != path and entry.kind == "directory"):
                    raise ValueError("directories that have no end")
                if entry.kind == "directory":
                    pending.append((path, inode))
                if first != path:
                    entry = entry._replace(kind="hardlink", target=first, size=0, device=(0, 0))
                elif inode.attributes != _NONE:
                    entry = entry._replace(xattrs=tuple(sorted(self._attributes(inode.attributes))))
                yield entry, inode.contents

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _unpacked(self, data: bytes, most: int) -> bytes:
        try:
            return self._codec(data, most)
        except _BROKEN as error:
            raise ValueError(f"a damaged block ({error})") from error

    def _read_block(self, at: int) -> tuple[bytes, int]:
        """A block of metadata, and where the next one is."""
        (head,) = self._disk.unpack("<H", at)
        size = head & 0x7FFF
        data = self._disk.read(at + 2, size)
        data = data if head & 0x8000 else self._unpacked(data, _META)
        if not data:
            raise ValueError("a block with nothing in it")
        return data, at + 2 + size

    def _read_data(self, at: int, size: int) -> bytes:
        """A block of files' contents; `size` as the file system has it, 0 for zeros."""
        if not size:
            return bytes(self._unit)
        data = self._disk.read(at, size & ~_PLAIN)
        return data if size & _PLAIN else self._unpacked(data, self._unit)

    def _line(self, table: int, number: int, form: str) -> tuple[Any, ...]:
        """A line of a table whose blocks are listed at `table`."""
        block, skip = divmod(number * struct.calcsize(form), _META)
        (at,) = self._disk.unpack("<Q", table + 8 * block)
        return _Metadata(self._block, at, skip).unpack(form)

    # -- inodes --------------------------------------------------------------------------------------------------------

    def _inode(self, reference: int) -> _Inode:
        data = _Metadata(self._block, self._inodes + (reference >> 16), reference & 0xFFFF)
        type, mode, owner, group, time = data.unpack("<HHHHI4x")
        extended = type > _EXTENDED
        kind = _KINDS.get(type - _EXTENDED * extended)
        if kind is None:
            raise ValueError(f"an inode of no kind that is known ({type})")
        (user,), (team,) = self._line(self._ids, owner, "<I"), self._line(self._ids, group, "<I")
        entry = Entry(b"", kind, mode & 0o7777, user, team, time)
        if kind == "file":
            return self._file(entry, extended, data)
        contents = self._disk.part(0, 0)
        if kind == "directory":
            if extended:
                size, start, offset, attributes = data.unpack("<4xII6xHI")
            else:
                (start, size, offset), attributes = data.unpack("<I4xHH4x"), _NONE
            return _Inode(entry, attributes, contents, (start, offset, size))
        data.read(4)
        if kind == "symlink":
            (length,) = data.unpack("<I")
            if length > MAX_PATH:
                raise ValueError(f"a link to {length} bytes")
            entry = entry._replace(target=data.read(length))
        elif kind != "fifo":
            entry = entry._replace(device=device_of(data.unpack("<I")[0]))
        return _Inode(entry, data.unpack("<I")[0] if extended else _NONE, contents)

    def _file(self, entry: Entry, extended: bool, data: _Metadata) -> _Inode:
        if extended:
            start, size, fragment, offset, attributes = data.unpack("<QQ12xIII")
        else:
            (start, fragment, offset, size), attributes = data.unpack("<4I"), _NONE
        count = size // self._unit if fragment != _NONE else -(-size // self._unit)
        if count > _MAX_BLOCKS or start > self._disk.size:
            raise ValueError(f"a file of {size} bytes")
        sizes = array("I", struct.unpack(f"<{count}I", data.read(4 * count)))
        places = array("Q", accumulate((each & ~_PLAIN for each in sizes), initial=start))

        def piece(number: int, skip: int, length: int) -> bytes:
            if number < count:
                return self._data(places[number], sizes[number])[skip : skip + length]
            at, packed = self._line(self._fragments, fragment, "<QI4x")
            return self._data(at, packed)[offset + skip : offset + skip + length]

        return _Inode(entry._replace(size=size), attributes, in_units(self._unit, size, piece))

    def _listed(self, start: int, offset: int, size: int) -> Iterator[tuple[bytes, int]]:
        """Names in a directory, and the references of their inodes."""
        data, left = _Metadata(self._block, self._directories + start, offset), size - 3  # 3 for `.` and `..`
        while left > 0:
            count, block = data.unpack("<II4x")
            left -= 12
            for _ in range(count + 1):
                place, length = data.unpack("<H4xH")
                name = data.read(length + 1)
                left -= 9 + length
                if left < 0 or b"/" in name or name in (b".", b".."):
                    raise ValueError(f"a damaged directory, at {name!r:.80}")
                yield name, block << 16 | place

    def _attributes(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        """The extended attributes of this number."""
        (table,) = self._disk.unpack("<Q", self._xattrs)
        place, count = self._line(self._xattrs + 16, number, "<QI4x")
        data, left = _Metadata(self._block, table + (place >> 16), place & 0xFFFF), _MAX_XATTRS
        for _ in range(count):
            type, length = data.unpack("<HH")
            name, (size,) = data.read(length), data.unpack("<I")
            left -= length + size + 1
            if left < 0 or type & 0xFF not in _NAMESPACES:
                raise ValueError("extended attributes that are too many, or not known")
            value = data.read(size)
            if type & _ELSEWHERE:
                (there,) = struct.unpack("<Q", value.ljust(8, b"\0")[:8])
                other = _Metadata(self._block, table + (there >> 16), there & 0xFFFF)
                value = other.read(min(other.unpack("<I")[0], _MAX_XATTRS))
            yield _NAMESPACES[type & 0xFF] + name, value
