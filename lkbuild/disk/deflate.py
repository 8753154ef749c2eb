"""DEFLATE at a price to choose: stored blocks, which are nearly a copy, or compressed ones (RFC 1950, 1951, 1952)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from isal import isal_zlib

from lkbuild.archive.compress import Compressor, open_compressed
from lkbuild.archive.entry import Buffer

DEFAULT_LEVEL = 1

_MAX_STORED = 65535


def zlib_stream(data: bytes, level: int) -> bytes:
    """`data` as one zlib stream."""
    if level:
        return zlib.compress(data, level)
    return b"\x78\x01" + stored_blocks(data) + b"\x01\0\0\xff\xff" + struct.pack(">I", zlib.adler32(data))


def stored_blocks(data: Buffer) -> bytes:
    """`data` in stored blocks, the last of which does not end the stream."""
    made, view = bytearray(), memoryview(data)
    for at in range(0, len(view), _MAX_STORED):
        piece = view[at : at + _MAX_STORED]
        made += struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF)
        made += piece
    return bytes(made)


def open_gzip(target: BinaryIO, level: int) -> Compressor:
    """A gzip stream into `target`, with neither name nor time in its header."""
    return open_compressed(target, "gzip", level) if level else _StoredGzip(target)


class _StoredGzip:
    """A gzip stream of stored blocks."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._checksum = self._size = 0
        target.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")

    def write(self, data: Buffer) -> None:
        self._checksum = isal_zlib.crc32(data, self._checksum)
        self._size += len(data)
        self._target.write(stored_blocks(data))

    def close(self) -> None:
        self._target.write(b"\x01\0\0\xff\xff" + struct.pack("<II", self._checksum, self._size & 0xFFFFFFFF))
