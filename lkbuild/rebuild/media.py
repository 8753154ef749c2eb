"""The bytes inside of media that do not hold them as they are: compressed ones, and disks cut into blocks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lkbuild.archive.compress import decompressed
from lkbuild.errors import ArchiveError

CHUNK = 1 << 20
MOST = 64 << 30
"""How many bytes of a compressed medium are unpacked at the most."""

_SECTOR, _GRAIN = 512, 64 << 10
_BLOCK = 2 << 20
_MAX_BLOCKS = 1 << 20

Piece = tuple[int, bytes]
"""Bytes, and where in the disk (or stream) they lie."""


def plain(path: Path) -> Iterator[Piece]:
    """A file's bytes as they are."""
    with path.open("rb") as file:
        at = 0
        while piece := file.read(CHUNK):
            yield at, piece
            at += len(piece)


def unpacked(path: Path) -> Iterator[Piece] | None:
    """What a medium holds, in pieces; None for what holds it as it is.  ArchiveError, while reading, for a damaged one.

    VMDK's grains and the blocks of a dynamic VHD are in the file's order, which for lkbuild's is the disk's.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"KDMV"):
        return _bounded(_vmdk(path))
    if head == b"conectix":
        return _bounded(_dynamic_vhd(path))
    return _bounded(_decompressed(path)) if head.startswith(b"\x1f\x8b") else None


def _bounded(pieces: Iterator[Piece]) -> Iterator[Piece]:
    done = 0
    for at, piece in pieces:
        done += len(piece)
        if done > MOST:
            raise ArchiveError(f"there is more than {MOST >> 30} GiB in it, which is not believable")
        yield at, piece


def _decompressed(path: Path) -> Iterator[Piece]:
    with path.open("rb") as file:
        at = 0
        for piece in decompressed(file):
            yield at, bytes(piece)
            at += len(piece)


def _vmdk(path: Path) -> Iterator[Piece]:
    """The grains of a stream-optimised VMDK (VMware's "Virtual Disk Format 5.0"), by their markers."""
    with path.open("rb") as file:
        (overhead,) = struct.unpack("<Q", _exactly(file, 72)[64:72])
        if overhead > 1 << 20:
            raise ArchiveError("a VMDK whose first grain lies beyond belief")
        file.seek(overhead * _SECTOR)
        while len(marker := file.read(12)) == 12:
            sector, size = struct.unpack("<QI", marker)
            if size:
                if size > 2 * _GRAIN:
                    raise ArchiveError(f"a VMDK grain of {size} bytes at byte {file.tell() - 12}")
                yield sector * _SECTOR, _inflated(_exactly(file, size), file.tell())
                file.seek(-file.tell() % _SECTOR, 1)
            else:
                # A marker: `sector` is the number of sectors of metadata behind it.
                file.seek(_SECTOR - 12 + min(sector, 1 << 20) * _SECTOR, 1)


def _inflated(data: bytes, at: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _GRAIN)
    except zlib.error as error:
        raise ArchiveError(f"a damaged VMDK grain before byte {at}: {error}") from error


def _dynamic_vhd(path: Path) -> Iterator[Piece]:
    """The blocks of a dynamic VHD that are there, by its table ("Virtual Hard Disk Image Format" 1.0)."""
    with path.open("rb") as file:
        file.seek(_SECTOR)
        magic, _, table, _, count, block = struct.unpack(">8sQQIII", _exactly(file, 36))
        if magic != b"cxsparse" or count > _MAX_BLOCKS or block != _BLOCK or table > 1 << 40:
            raise ArchiveError("the header of a dynamic VHD is damaged")
        file.seek(table)
        sectors = struct.unpack(f">{count}I", _exactly(file, 4 * count))
        for number, sector in enumerate(sectors):
            if sector != 0xFFFFFFFF:
                file.seek((sector + 1) * _SECTOR)
                yield number * _BLOCK, _exactly(file, _BLOCK)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ArchiveError(f"it ends {size - len(data)} bytes too early")
    return data
