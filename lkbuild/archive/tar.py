"""Reading tar as a stream: ustar, GNU and PAX, with long names, extended attributes and sparse files.

An archive ends with a zero block; one that ends without is cut.  What follows the end is read and ignored, so that the
checks of the compression below are made.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from lkbuild.archive.entry import Buffer, Entry, Kind, shown
from lkbuild.archive.fields import (
    MAX_EXTENTS,
    MAX_RECORDS,
    MAX_SIZE,
    Extents,
    common_number,
    decimal,
    decimals,
    expand,
    extents,
    number,
    records,
    seconds,
)
from lkbuild.errors import ArchiveError

BLOCK = 512

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s64x8s8s155s12x")
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
    b"D": "directory",
}
"""Type flags; those not here are regular files (POSIX), but for the ones that describe the next member."""

_EXTENDED = b"xXgLK"
_BODYLESS = b"123456"
_MAX_ID = 0xFFFFFFFF
_SMALL = 32 << 10
_XATTR = b"SCHILY.xattr."


class TarReader:
    """The members of a tar, each an Entry whose path is the name as it stands in the archive.

    Iterate once; between two steps `body()` gives the contents of the current file, or may be left alone.  Everything
    wrong with the archive is an ArchiveError that says at which byte it is.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._at = 0
        self._base = 0
        self._left = 0
        self._padding = 0
        self._extents: Extents | None = None
        self._size = 0
        self._global: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        local: dict[bytes, bytes] = {}
        try:
            while (raw := self._header()) is not None:
                flag = raw[156:157]
                if flag in _EXTENDED:
                    self._extend(flag, self._metadata(raw), local)
                elif flag == b"V":
                    self._left, self._padding = _stored(number(raw[124:136]))
                else:
                    yield self._member(raw, flag, {**self._global, **local} if self._global else local)
                    local = {}
        except ValueError as error:
            raise self._failed(str(error)) from error

    @property
    def position(self) -> int:
        """Where in the archive the contents of the current file begin, as long as they are not read."""
        return self._base + self._at

    def body(self) -> Iterable[Buffer]:
        """The contents of the current file in pieces, zeros for the holes of a sparse one; to be read at once."""
        if self._extents is not None:
            return self._checked(expand(self._take(), self._extents, self._size))
        left, at = self._left, self._at
        if left < _SMALL and left <= len(self._buffer) - at:
            self._at, self._left = at + left, 0
            return (self._buffer[at : at + left],)
        return self._take()

    def _checked(self, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
        try:
            yield from pieces
        except ValueError as error:
            raise self._failed(str(error)) from error

    # -- members -------------------------------------------------------------------------------------------------------

    def _member(self, raw: bytes, flag: bytes, pax: dict[bytes, bytes]) -> Entry:
        (name, mode, uid, gid, size, mtime, _, _, link, magic, _, major, minor, prefix) = _HEADER.unpack(raw)
        kind = _KINDS.get(flag, "file")
        path = name.partition(b"\0")[0]
        if prefix[0] and magic == b"ustar\0":
            path = prefix.partition(b"\0")[0] + b"/" + path
        target = link.partition(b"\0")[0] if link[0] else b""
        owner, group, time = common_number(uid), common_number(gid), common_number(mtime)
        stored = number(size)
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        if pax:
            path, target = pax.get(b"GNU.sparse.name") or pax.get(b"path") or path, pax.get(b"linkpath") or target
            owner, group, time, stored = _overridden(pax, (owner, group, time, stored))
            xattrs = tuple(sorted((k[len(_XATTR) :], v) for k, v in pax.items() if k.startswith(_XATTR)))
        if not (0 <= owner <= _MAX_ID and 0 <= group <= _MAX_ID):
            raise ValueError(f"{shown(path)} belongs to {owner}:{group}, which no Linux can store")
        if kind == "file" and path.endswith(b"/") and flag != b"S":
            kind = "directory"
        self._left, self._padding = (0, 0) if flag in _BODYLESS else _stored(stored)
        self._extents, length = None, stored if kind == "file" else 0
        if flag == b"S" or b"GNU.sparse.map" in pax or b"GNU.sparse.major" in pax:
            length = self._sparse(raw, flag, pax)
        elif kind in ("symlink", "hardlink") and not target:
            raise ValueError(f"{shown(path)} is a link to nothing")
        device = _device(major, minor) if kind in ("char", "block") else (0, 0)
        permissions = common_number(mode) & 0o7777
        return Entry(
            path, kind, permissions, owner, group, time, length, target if kind != "file" else b"", device, xattrs
        )

    def _sparse(self, raw: bytes, flag: bytes, pax: dict[bytes, bytes]) -> int:
        """Read the map of a sparse file; returns the file's real size."""
        if flag == b"S":
            values, size = self._old_map(raw), number(raw[483:495])
        else:
            size = decimal(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size") or b"")
            if b"GNU.sparse.map" in pax:
                values = decimals(pax[b"GNU.sparse.map"])
            elif (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor")) == (b"1", b"0"):
                values = self._map_in_data()
            else:
                raise ValueError("a sparse file in a format that is not known")
        self._size, self._extents = size, extents(values, size, self._left)
        return size

    def _old_map(self, raw: bytes) -> list[int]:
        """The map of an old GNU sparse header: four extents in it, 21 in every block that continues it."""
        values: list[int] = []
        block, start, stop, more = raw, 386, 482, raw[482]
        while True:
            for at in range(start, stop, 24):
                if block[at]:
                    values += (number(block[at : at + 12]), number(block[at + 12 : at + 24]))
            if not more:
                return values
            if len(values) > 2 * MAX_EXTENTS:
                raise ValueError("a sparse map that is too long")
            block, start, stop = self._bytes(BLOCK), 0, 504
            more = block[504]

    def _map_in_data(self) -> list[int]:
        """The map of sparse format 1.0: decimal lines, the first their number, padded to blocks before the data."""
        data, wanted = b"", 1
        while data.count(b"\n") < wanted:
            if self._left < BLOCK:
                raise ValueError("a sparse map longer than its file")
            data += self._bytes(BLOCK)
            self._left -= BLOCK
            first, newline, _ = data.partition(b"\n")
            if newline:
                wanted = 1 + 2 * decimal(first, MAX_EXTENTS)
            elif len(data) > BLOCK:
                raise ValueError("a sparse map without numbers")
        return [decimal(line) for line in data.split(b"\n")[1:wanted]]

    def _extend(self, flag: bytes, data: bytes, local: dict[bytes, bytes]) -> None:
        """Take in a header that describes the next member, or all that follow."""
        match flag:
            case b"L":
                local[b"path"] = data.partition(b"\0")[0]
            case b"K":
                local[b"linkpath"] = data.partition(b"\0")[0]
            case b"g":
                self._global |= records(data)
                if sum(map(len, self._global.values())) + sum(map(len, self._global)) > MAX_RECORDS:
                    raise ValueError("too many global PAX records")
            case _:
                local |= records(data)

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _header(self) -> bytes | None:
        """The next header block, its checksum right; None at the end of the archive, everything having been read."""
        if self._left or self._padding:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
        at = self._at
        raw = self._buffer[at : at + BLOCK]
        if len(raw) < BLOCK:
            raw = self._bytes(BLOCK)
        else:
            self._at = at + BLOCK
        # Adler-32 holds the plain sum of up to 256 bytes in its lower half, ten times as fast as sum() makes it.
        total = (zlib.adler32(raw[:256]) & 0xFFFF) + (zlib.adler32(raw[256:]) & 0xFFFF) - 2
        if not total:
            self._end()
            return None
        field = raw[148:156]
        unsigned = total - sum(field) + 8 * 0x20
        if unsigned != (wanted := common_number(field)) and unsigned - 256 * sum(b > 127 for b in raw) != wanted:
            raise ValueError("the checksum of a header is wrong")
        if raw[156:157] == b"M":
            raise ValueError("the rest of a file that began in another volume")
        return raw

    def _end(self) -> None:
        """Read what stands behind the first zero block: nothing, or another one and whatever else."""
        if not self._fill(BLOCK):
            self._at = len(self._buffer)
        elif any(self._buffer[self._at : self._at + BLOCK]):
            raise ValueError("a single zero block among the members")
        for _ in self._chunks:
            pass

    def _metadata(self, raw: bytes) -> bytes:
        size = number(raw[124:136])
        if not 0 <= size <= MAX_RECORDS:
            raise ValueError(f"an extended header of {size} bytes (at most {MAX_RECORDS})")
        data = self._bytes(size)
        self._skip(-size % BLOCK)
        return data

    def _fill(self, size: int) -> bool:
        """Have `size` bytes in the buffer; False where the archive ends before."""
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        self._base += self._at
        while have < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            have += len(chunk)
        self._buffer, self._at = b"".join(parts), 0
        return have >= size

    def _bytes(self, size: int) -> bytes:
        if len(self._buffer) - self._at < size and not self._fill(size):
            raise self._cut()
        data = self._buffer[self._at : self._at + size]
        self._at += size
        return data

    def _skip(self, count: int) -> None:
        have = len(self._buffer) - self._at
        while count > have:
            count -= have
            self._next_chunk()
            have = len(self._buffer)
        self._at += count

    def _take(self) -> Iterator[Buffer]:
        """The stored bytes of the current member, as they come."""
        while self._left:
            if self._at == len(self._buffer):
                self._next_chunk()
                continue
            piece = memoryview(self._buffer)[self._at : self._at + self._left]
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def _next_chunk(self) -> None:
        self._base += len(self._buffer)
        self._buffer, self._at = next(self._chunks, b""), 0
        if not self._buffer:
            raise self._cut()

    def _cut(self) -> ArchiveError:
        return self._failed("the archive is cut short", "fetch or make it again")

    def _failed(self, what: str, hint: str | None = None) -> ArchiveError:
        return ArchiveError(f"tar, near byte {self._base + self._at}: {what}", hint)


def _stored(size: int) -> tuple[int, int]:
    """A member's size checked, and the padding behind it."""
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"a member of {size} bytes")
    return size, -size % BLOCK


def _device(major: bytes, minor: bytes) -> tuple[int, int]:
    device = number(major), number(minor)
    if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):
        raise ValueError(f"a device {device[0]}:{device[1]}, which no Linux has")
    return device


def _overridden(pax: dict[bytes, bytes], values: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """uid, gid, mtime and size as PAX records say, else as the header does; an empty record says nothing."""
    uid, gid, mtime, size = values
    if text := pax.get(b"uid"):
        uid = decimal(text)
    if text := pax.get(b"gid"):
        gid = decimal(text)
    if text := pax.get(b"mtime"):
        mtime = seconds(text)
    if text := pax.get(b"size"):
        size = decimal(text)
    return uid, gid, mtime, size
