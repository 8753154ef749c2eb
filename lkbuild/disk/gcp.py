"""Google Compute Engine's image: a gzip'd tar with one sparse file, `disk.raw`, of whole GiB.

GNU tar's old sparse format ("Old GNU Format" in tar's manual), which Google's documentation asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from lkbuild.archive.entry import FIXED_TIME
from lkbuild.disk.deflate import DEFAULT_LEVEL, open_gzip
from lkbuild.disk.extents import Extent
from lkbuild.disk.layout import Disk, Ranges, read, round_up

GIB = 1 << 30
UNIT = 64 << 10
"""Zeros of at least this size, so aligned, are holes."""

_BLOCK, _RECORD = 512, 10240
_IN_HEADER, _IN_BLOCK = 4, 21


def gcp(disk: Disk, target: BinaryIO, level: int = DEFAULT_LEVEL) -> None:
    """Write the image of a disk, its size rounded up to whole GiB, to `target`.  `level`: 0 stores, 1 to 9 compress."""
    size = round_up(disk.size, GIB)
    ranges = Ranges(disk.extents)
    runs = _runs(ranges)
    out = open_gzip(target, level)
    head = _headers(size, [*runs, (size, 0)])
    out.write(head)
    written = len(head)
    for offset, length in runs:
        for piece in read(ranges.cut(offset, length), disk.open_blob):
            out.write(piece)
        written += length
    written += _BLOCK * 2 + -written % _BLOCK
    out.write(bytes(_BLOCK * 2 + -sum(length for _, length in runs) % _BLOCK + -written % _RECORD))
    out.close()


def place_in_disk(extents: Sequence[Extent], size: int, at: int) -> int | None:
    """The byte of the disk that is byte `at` of the image's tar; None for one of the tar's own."""
    runs = _runs(Ranges(extents))
    start = len(_headers(round_up(size, GIB), [*runs, (round_up(size, GIB), 0)]))
    for offset, length in runs:
        if start <= at < start + length:
            return offset + at - start
        start += length
    return None


def _runs(ranges: Ranges) -> list[tuple[int, int]]:
    """What of a disk is no hole: offsets and lengths."""
    return [(first * UNIT, min(count * UNIT, ranges.size - first * UNIT)) for first, count in ranges.used(UNIT)]


def _headers(size: int, runs: list[tuple[int, int]]) -> bytes:
    """The member's header, and the blocks that continue its list of what is no hole."""
    stored = sum(length for _, length in runs)
    fields = b"disk.raw".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2
    fields += _number(stored) + _number(FIXED_TIME) + b" " * 8 + b"S" + bytes(100) + b"ustar  \0" + bytes(121)
    fields += _map(runs[:_IN_HEADER]).ljust(24 * _IN_HEADER, b"\0") + bytes((len(runs) > _IN_HEADER,)) + _number(size)
    header = fields.ljust(_BLOCK, b"\0")
    made = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    for at in range(_IN_HEADER, len(runs), _IN_BLOCK):
        block = _map(runs[at : at + _IN_BLOCK]).ljust(24 * _IN_BLOCK, b"\0")
        made += (block + bytes((len(runs) > at + _IN_BLOCK,))).ljust(_BLOCK, b"\0")
    return made


def _map(runs: list[tuple[int, int]]) -> bytes:
    return b"".join(_number(offset) + _number(length) for offset, length in runs)


def _number(value: int) -> bytes:
    """Twelve bytes: octal, or from 8 GiB on GNU's base 256."""
    return b"%011o\0" % value if value < 8**11 else b"\x80" + value.to_bytes(11, "big")
