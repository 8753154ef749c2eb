"""Looking into an x86 kernel: the compressed payload of a bzImage, and the configuration a kernel may carry.

Documentation/arch/x86/boot.rst gives the header; scripts/extract-ikconfig and kernel/configs.c the configuration, which
lies gzip'd between the marks IKCFG_ST and IKCFG_ED.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from lkbuild.archive.compress import decompressed
from lkbuild.errors import ArchiveError

_CHUNK = 1 << 20
_PIECE = 4 << 20
"""The most that comes out at once: zeros compress to a thousandth, and less with xz."""
_MAX_CONFIG = 16 << 20
_MAX_KERNEL = 1 << 30
_START, _END = b"IKCFG_ST", b"IKCFG_ED"
_GZIP, _ZSTD, _XZ = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00"


def payload(kernel: Path, target: BinaryIO) -> int:
    """Write what is in a gzip'd kernel, or in a bzImage whose payload is gzip'd, to `target`; returns its bytes.

    0, and nothing written, where the kernel is compressed otherwise or not at all.
    """
    with kernel.open("rb") as file:
        start = payload_offset(file)
        file.seek(start)
        if file.read(3) != _GZIP:
            return 0
        file.seek(start)
        size = 0
        for chunk in _bounded(_gunzip(file)):
            target.write(chunk)
            size += len(chunk)
        return size


def embedded_config(kernel: Path) -> bytes:
    """The configuration a kernel carries (CONFIG_IKCONFIG), empty where it has none or is compressed in another way."""
    with kernel.open("rb") as file:
        found = _between_marks(_plain(file))
        if found:
            return found
        start = payload_offset(file)
        file.seek(start)
        magic = file.read(6)
        for mark, unpack in _READERS:
            if magic.startswith(mark):
                file.seek(start)
                return _between_marks(_bounded(unpack(file)))
    return b""


def payload_offset(file: BinaryIO) -> int:
    """Where the compressed kernel of a bzImage begins; 0 in a file that is none."""
    file.seek(0)
    head = file.read(0x250)
    if len(head) < 0x250 or head[0x202:0x206] != b"HdrS" or int.from_bytes(head[0x206:0x208], "little") < 0x208:
        return 0
    sectors = head[0x1F1] or 4
    return (sectors + 1) * 512 + int.from_bytes(head[0x248:0x24C], "little")


def _plain(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """The first gzip member; what follows it in a bzImage is not its business."""
    stream = zlib.decompressobj(31)
    while not stream.eof and (chunk := stream.unconsumed_tail or file.read(_CHUNK)):
        yield stream.decompress(chunk, _PIECE)
    while not stream.eof and (plain := stream.decompress(b"", _PIECE)):
        yield plain
    if not stream.eof:
        raise ArchiveError("the kernel's gzip data ends too early")


def _unxz(file: BinaryIO) -> Iterator[bytes]:
    """The first xz stream, as `_gunzip`."""
    stream = lzma.LZMADecompressor(memlimit=256 << 20)
    while not stream.eof:
        chunk = file.read(_CHUNK) if stream.needs_input else b""
        if stream.needs_input and not chunk:
            raise ArchiveError("the kernel's xz data ends too early")
        yield stream.decompress(chunk, _PIECE)


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, up to what a kernel may have."""
    total = 0
    for plain in pieces:
        total += len(plain)
        if total > _MAX_KERNEL:
            raise ArchiveError(f"the kernel has more than {_MAX_KERNEL >> 20} MB when decompressed")
        yield plain


_READERS: tuple[tuple[bytes, Callable[[BinaryIO], Iterator[bytes]]], ...] = (
    (_GZIP, _gunzip),
    (_ZSTD, decompressed),
    (_XZ, _unxz),
)


def _between_marks(chunks: Iterator[bytes]) -> bytes:
    """The unpacked bytes between the marks, wherever chunks are cut; empty where the marks do not both come."""
    held, inside = b"", False
    try:
        for chunk in chunks:
            held += chunk
            if not inside:
                at = held.find(_START)
                inside = at >= 0
                held = held[at + len(_START) :] if inside else held[-len(_START) :]
            if inside:
                end = held.find(_END)
                if end >= 0:
                    return zlib.decompressobj(31).decompress(held[:end], _MAX_CONFIG)
                if len(held) > _MAX_CONFIG:
                    return b""
    except (ArchiveError, zlib.error, lzma.LZMAError, EOFError):
        return b""
    return b""
