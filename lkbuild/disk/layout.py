"""Putting extents at offsets, cutting ranges out of them, and reading them: what every writer here stands on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from lkbuild.digest import Digest
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen

SECTOR = 512
MIB = 1 << 20
PAGE = 4096
"""Large payloads stand at multiples of this in every image, so that a file system can share their blocks."""

Opener = Callable[[Digest], BinaryIO]
"""Opens a blob for reading, at its beginning; `Store.open_blob` is one."""

_CHUNK = 1 << 20


def round_up(value: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def total(extents: Iterable[Extent]) -> int:
    """Bytes of these extents together."""
    return sum(extent.length for extent in extents)


class Layout:
    """A file being laid out: extents at offsets, and zeros wherever nothing was put."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, int, tuple[Extent, ...]]] = []

    def put(self, offset: int, content: bytes | Iterable[Extent]) -> None:
        """Put bytes or extents at `offset`; what overlaps is found by `extents`."""
        pieces: tuple[Extent, ...] = (Data(content),) if isinstance(content, bytes) else tuple(content)
        length = total(pieces)
        if length:
            self._pieces.append((offset, length, pieces))

    def extents(self, size: int) -> list[Extent]:
        """All of it as a file of `size` bytes; ValueError where pieces overlap or go beyond the end."""
        self._pieces.sort(key=lambda piece: piece[:2])
        return joined(_filled(self._pieces, size))


def in_order(pieces: Iterable[tuple[int, bytes | Iterable[Extent]]], size: int) -> list[Extent]:
    """What `Layout` makes of pieces that come in the order of their offsets, of which none need be kept."""

    def measured() -> Iterator[tuple[int, int, tuple[Extent, ...]]]:
        for offset, content in pieces:
            extents = (Data(content),) if isinstance(content, bytes) else tuple(content)
            length = total(extents)
            if length:
                yield offset, length, extents

    return joined(_filled(measured(), size))


def _filled(pieces: Iterable[tuple[int, int, tuple[Extent, ...]]], size: int) -> Iterator[Extent]:
    """Pieces in their order, and zeros between them; ValueError where they overlap or go beyond the end."""
    end = 0
    for offset, length, extents in pieces:
        if offset < end or offset + length > size:
            raise ValueError(f"{length} bytes at {offset} do not fit: the last ended at {end}, the file at {size}")
        yield Zeros(offset - end)
        yield from extents
        end = offset + length
    yield Zeros(size - end)


def joined(extents: Iterable[Extent]) -> list[Extent]:
    """The same bytes in fewer extents: neighbouring zeros, literal bytes and slices joined, empty ones left out.

    Literal bytes that are all zero become zeros.
    """
    made: list[Extent] = []
    literal: list[bytes] = []
    for extent in extents:
        if isinstance(extent, Data) and any(extent.data):
            literal.append(extent.data)
            continue
        if not extent.length:
            continue
        if literal:
            made.append(Data(b"".join(literal)))
            literal = []
        match made[-1] if made else None, extent:
            case Zeros(before), (Zeros() | Data()):
                made[-1] = Zeros(before + extent.length)
            case Slice(digest, offset, before), Slice(other, at, length) if other == digest and offset + before == at:
                made[-1] = Slice(digest, offset, before + length)
            case _:
                made.append(Zeros(extent.length) if isinstance(extent, Data) else extent)
    if literal:
        made.append(Data(b"".join(literal)))
    return made


class Ranges:
    """Ranges of a long list of extents, found without going through all of it."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = joined(extents)
        self._starts: list[int] = []
        self.size = 0
        for extent in self._extents:
            self._starts.append(self.size)
            self.size += extent.length

    def cut(self, offset: int, length: int) -> list[Extent]:
        """The `length` bytes from `offset`; zeros beyond the end."""
        made: list[Extent] = []
        end = min(offset + length, self.size)
        number = max(bisect_right(self._starts, offset) - 1, 0)
        at = offset
        while at < end:
            skip = at - self._starts[number]
            count = min(self._extents[number].length - skip, end - at)
            made.append(part(self._extents[number], skip, count))
            at, number = at + count, number + 1
        return joined([*made, Zeros(length - (max(at, offset) - offset))])

    def used(self, unit: int) -> Iterator[tuple[int, int]]:
        """Runs of units of `unit` bytes that hold more than zeros: the first's number and how many follow each other.

        NB: slices count as more than zeros, without being looked at.
        """
        first = end = 0
        for start, extent in zip(self._starts, self._extents, strict=True):
            if isinstance(extent, Zeros):
                continue
            for low, high in _used(extent, start, unit):
                if low > end:
                    if end > first:
                        yield first, end - first
                    first = low
                end = max(end, high)
        if end > first:
            yield first, end - first


def _used(extent: Data | Slice, start: int, unit: int) -> Iterator[tuple[int, int]]:
    """The units, from and to, that this extent at `start` puts something into; bytes are looked at unit by unit."""
    low, high = start // unit, -(-(start + extent.length) // unit)
    if isinstance(extent, Slice):
        yield low, high
        return
    for number in range(low, high):
        if any(extent.data[max(number * unit - start, 0) : (number + 1) * unit - start]):
            yield number, number + 1


def part(extent: Extent, skip: int, count: int) -> Extent:
    """`count` bytes of an extent, from `skip` on."""
    match extent:
        case Data(data):
            return Data(data[skip : skip + count])
        case Zeros():
            return Zeros(count)
        case Slice(digest, offset, _):
            return Slice(digest, offset + skip, count)


def read(extents: Iterable[Extent], open_blob: Opener) -> Iterator[bytes]:
    """The bytes of these extents in pieces of at most a MiB; StoreError where a blob ends before its slice does."""
    for extent in extents:
        match extent:
            case Data(data):
                yield data
            case Zeros(length):
                for at in range(0, length, _CHUNK):
                    yield bytes(min(_CHUNK, length - at))
            case Slice(digest, offset, length):
                with open_blob(digest) as source:
                    source.seek(offset)
                    while length:
                        piece = source.read(min(_CHUNK, length))
                        if not piece:
                            raise StoreError(f"{digest}: ends {length} bytes too early")
                        yield piece
                        length -= len(piece)


@frozen
class Disk:
    """A raw disk of `size` bytes (not less than the extents have), and how the blobs in it are read."""

    extents: Sequence[Extent]
    size: int
    open_blob: Opener


def blocks(disk: Ranges, unit: int, open_blob: Opener) -> Iterator[tuple[int, bytes]]:
    """The blocks of `unit` bytes that hold more than zeros, with their numbers; the last is filled up with zeros."""
    empty = bytes(unit)
    for first, count in disk.used(unit):
        held, number = bytearray(), first
        for piece in read(disk.cut(first * unit, count * unit), open_blob):
            held += piece
            whole = len(held) // unit * unit
            for at in range(0, whole, unit):
                block = bytes(held[at : at + unit])
                if block != empty:
                    yield number, block
                number += 1
            del held[:whole]
