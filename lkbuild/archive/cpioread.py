"""Reading cpio in the format "newc" as a stream, one archive after the other as in an initrd, compressed ones too."""

from __future__ import annotations

import binascii
import io
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from lkbuild.archive.compress import decompressed, sniff
from lkbuild.archive.cpio import padding
from lkbuild.archive.entry import MAX_PATH, Buffer, Entry, Kind, shown
from lkbuild.errors import ArchiveError

MAGIC = (b"070701", b"070702")
"""Without and with a sum of each file's bytes, which Linux does not look at either."""

_FIELDS = struct.Struct(">13I")
_HEADER = 110
_TRAILER = b"TRAILER!!!"
_PIECE = 1 << 20
_KINDS: dict[int, Kind] = {
    0o100000: "file",
    0o040000: "directory",
    0o120000: "symlink",
    0o020000: "char",
    0o060000: "block",
    0o010000: "fifo",
}
_Inode = tuple[int, int, int]


class CpioReader:
    """The entries of all archives in these pieces of a file, their paths the names as they stand there.

    Iterate once; between two steps `body()` gives the contents of the current file, or may be left alone.  Names of one
    inode: the one that has the data is a file, the others are hard links to it and come after it, at the latest at
    their archive's end.  Everything wrong is an ArchiveError that says at which byte it is.
    """

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._bytes = self._stored = Pieces(iter(chunks))
        self._left = self._pad = 0
        self._waiting: dict[_Inode, list[Entry]] = {}
        self._named: dict[_Inode, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        count = 0
        while self._more():
            while (found := self._next()) is not None:
                yield from self._linked(*found)
            for names in self._waiting.values():
                yield from _names(names[0], names[1:])
            self._waiting, self._named = {}, {}
            count += 1
        if not count:
            raise self._failed("there is no archive")

    def body(self) -> Iterator[Buffer]:
        """The contents of the current file in pieces; to be read at once."""
        while self._left:
            piece = self._read(min(self._left, _PIECE))
            self._left -= len(piece)
            yield piece

    def _more(self) -> bool:
        """Whether another archive begins after zeros; what is compressed is decompressed up to its end."""
        while True:
            head = self._bytes.after_zeros(len(MAGIC[0]))
            if self._bytes is not self._stored:
                if head:
                    return True
                self._bytes = self._stored
            elif not head or sniff(head) == "none":
                return bool(head)
            else:
                self._bytes = Pieces(decompressed(cast(BinaryIO, self._stored), self._stored.put_back))

    def _next(self) -> tuple[Entry, _Inode, int] | None:
        """The next entry, its inode and the number of the inode's names; None at the archive's end."""
        for _ in self.body():
            pass
        self._read(self._pad)
        head = self._read(_HEADER)
        if head[:6] not in MAGIC:
            raise self._failed(f"no cpio header: {head[:6]!r}")
        try:
            ino, mode, uid, gid, links, mtime, size, major, minor, *device, length, _ = _FIELDS.unpack(
                binascii.unhexlify(head[6:])
            )
        except ValueError as error:
            raise self._failed("damaged cpio header") from error
        if not 1 < length <= MAX_PATH + 1:
            raise self._failed(f"a name of {length} bytes")
        name = self._read(length + len(padding(_HEADER + length)))[:length]
        if not name.endswith(b"\0"):
            raise self._failed("a name without an end")
        name = name[:-1]
        self._left, self._pad = size, len(padding(size))
        if name == _TRAILER:
            if size:
                raise self._failed("a trailer with data")
            return None
        kind = _KINDS.get(mode & 0o170000)
        if kind is None:
            raise self._failed(f"{shown(name)} is of no kind that is known ({mode:o})")
        target = self._target(name, size) if kind == "symlink" else b""
        numbers = (device[0], device[1]) if kind in ("char", "block") else (0, 0)
        held = size if kind == "file" else 0
        return Entry(name, kind, mode & 0o7777, uid, gid, mtime, held, target, numbers), (ino, major, minor), links

    def _target(self, name: bytes, size: int) -> bytes:
        if not 0 < size <= MAX_PATH:
            raise self._failed(f"{shown(name)} is a link to {size} bytes")
        return b"".join(map(bytes, self.body()))

    def _linked(self, entry: Entry, inode: _Inode, links: int) -> Iterator[Entry]:
        """What an entry comes to, when it may be one of several names of an inode."""
        if entry.kind != "file" or links < 2:
            yield entry
        elif entry.size:
            self._named[inode] = entry.path
            yield from _names(entry, self._waiting.pop(inode, []))
        elif inode in self._named:
            yield entry._replace(kind="hardlink", target=self._named[inode])
        else:
            self._waiting.setdefault(inode, []).append(entry)

    def _read(self, size: int) -> bytes:
        data = self._bytes.take(size)
        if len(data) < size:
            raise self._failed("the archive is cut short", "fetch or make it again")
        return data

    def _failed(self, what: str, hint: str | None = None) -> ArchiveError:
        inner = "" if self._bytes is self._stored else " of what was compressed"
        return ArchiveError(f"cpio, near byte {self._bytes.at}{inner}: {what}", hint)


def _names(file: Entry, others: list[Entry]) -> Iterator[Entry]:
    yield file
    for other in others:
        yield other._replace(kind="hardlink", target=file.path)


class Pieces(io.RawIOBase):
    """Pieces as a stream read forward, and how far."""

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")
        self.at = 0

    def readable(self) -> bool:
        return True

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer where the stream ends."""
        found: list[Buffer] = []
        while size and (self._held or self._fill()):
            piece, self._held = self._held[:size], self._held[size:]
            found.append(piece)
            size -= len(piece)
            self.at += len(piece)
        return b"".join(found)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._held and not self._fill():
            return 0
        data = self.take(min(len(buffer), len(self._held)))
        buffer[: len(data)] = data
        return len(data)

    def put_back(self, data: bytes) -> None:
        """Have these bytes, which were read last, read again."""
        self._held = memoryview(data + bytes(self._held))
        self.at -= len(data)

    def after_zeros(self, count: int) -> bytes:
        """Pass over zeros; the `count` bytes after them, which are still to be read."""
        while self._held or self._fill():
            rest = bytes(self._held).lstrip(b"\0")
            self.at += len(self._held) - len(rest)
            self._held = memoryview(rest)
            if rest:
                break
        while 0 < len(self._held) < count and (piece := next(self._pieces, b"")):
            self._held = memoryview(bytes(self._held) + bytes(piece))
        return bytes(self._held[:count])

    def _fill(self) -> bool:
        self._held = memoryview(next(self._pieces, b""))
        return bool(self._held)
