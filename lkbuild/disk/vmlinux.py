"""The kernel inside a kernel's file: out of a bzImage, a gzip'd Image, or an EFI program that unpacks itself.

Documentation/arch/x86/boot.rst (payload_offset, payload_length), Documentation/arch/arm64/booting.rst and
Documentation/arch/riscv/boot-image-header.rst (the magic), and drivers/firmware/efi/libstub/zboot-header.S (`zimg`).
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from lkbuild.disk import lz4_legacy
from lkbuild.disk.bzimage import payload_offset
from lkbuild.errors import StepError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHUNK = 1 << 16
_PIECE = 1 << 22
_MAX_KERNEL = 1 << 30
_WINDOW_LOG = 27
"""zstd -22, with which kernels are compressed, has windows of 128 MiB."""

_HEAD = 64
_ZBOOT = b"zimg"
_PLAIN: dict[str, tuple[str, int, bytes]] = {
    "amd64": ("an ELF", 0, b"\x7fELF"),
    "arm64": ("an Image", 56, b"ARM\x64"),
    "riscv64": ("an Image", 56, b"RSC\x05"),
}


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decoder with the manners of the others."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)
        self._held = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._held

    def decompress(self, data: bytes, max_length: int) -> bytes:
        made = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        # A full piece may leave more inside zlib, with nothing left in `unconsumed_tail`.
        self._held = len(made) == max_length
        return made


def _zstd() -> _Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


_CODECS: tuple[tuple[bytes, str, Callable[[], _Decoder] | None], ...] = (
    (b"\x1f\x8b\x08", "gzip", _Gzip),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"\xfd7zXZ\x00", "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20)),
    (b"\x5d\x00\x00", "lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=256 << 20)),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (lz4_legacy.MAGIC, "lz4", lz4_legacy.Lz4Legacy),
    (b"\x89LZO", "lzo", None),
)
_BROKEN = (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError, OSError, ValueError)


def unpack(kernel: Path, architecture: str, target: BinaryIO) -> None:
    """Write the plain kernel of `architecture` that is in `kernel` to `target`, an empty file; a plain one as it is.

    StepError, naming the compression, where that is none we read, and where what comes out is no such kernel.
    """
    with kernel.open("rb") as file:
        head = file.read(_HEAD)
        if _is_plain(head, architecture):
            _write(_part(file, 0, kernel.stat().st_size), target)
            return
        start, length = _payload(file, head, kernel.stat().st_size)
        file.seek(start)
        name, decoder = _codec(file.read(8))
        _write(_decoded(_part(file, start, length), name, decoder), target)
    target.seek(0)
    if not _is_plain(target.read(_HEAD), architecture):
        what = _PLAIN[architecture][0] if architecture in _PLAIN else "a plain kernel"
        raise StepError(
            f"what is in the kernel, compressed with {name}, is not {what} for {architecture}",
            "is the kernel one for another architecture?",
        )


def is_zboot(kernel: Path) -> bool:
    """Whether the kernel is a UEFI program that unpacks itself (CONFIG_EFI_ZBOOT)."""
    with kernel.open("rb") as file:
        return file.read(8)[4:] == _ZBOOT


def is_program(kernel: Path) -> bool:
    """Whether UEFI firmware can start the kernel as it is (the EFI stub, CONFIG_EFI_STUB): a PE file."""
    with kernel.open("rb") as file:
        return file.read(2) == b"MZ"


def _is_plain(head: bytes, architecture: str) -> bool:
    _, at, magic = _PLAIN.get(architecture, _PLAIN["amd64"])
    return head[at : at + len(magic)] == magic


def _payload(file: BinaryIO, head: bytes, size: int) -> tuple[int, int]:
    """Where the compressed kernel lies and how long it is, or the whole file."""
    if head[4:8] == _ZBOOT:
        start, length = int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little")
    elif start := payload_offset(file):
        file.seek(0x24C)
        length = int.from_bytes(file.read(4), "little")
    else:
        return 0, size
    if start + length > size:
        raise StepError(
            f"the kernel says that {length} compressed bytes begin at {start}, and has {size} bytes",
            "the kernel was cut; get it anew",
        )
    return start, length


def _codec(magic: bytes) -> tuple[str, Callable[[], _Decoder]]:
    for mark, name, decoder in _CODECS:
        if magic.startswith(mark):
            if decoder is None:
                raise StepError(
                    f"the kernel is compressed with {name}, which is not read here",
                    "compress it with gzip, zstd, xz, lzma, lz4 or bzip2 (CONFIG_KERNEL_GZIP=y)",
                )
            return name, decoder
    raise StepError(
        f"the kernel is neither plain nor compressed in a known way (it begins with {magic.hex(' ')})",
        "is `kernel: binary:` the kernel's file?",
    )


def _part(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    file.seek(start)
    while length and (chunk := file.read(min(_CHUNK, length))):
        length -= len(chunk)
        yield chunk


def _decoded(chunks: Iterator[bytes], name: str, new: Callable[[], _Decoder]) -> Iterator[bytes]:
    """The first stream; a bzImage has four bytes after it."""
    decoder = new()
    try:
        while not decoder.eof:
            chunk = b""
            if decoder.needs_input and not (chunk := next(chunks, b"")):
                raise EOFError("it ends too early")
            yield decoder.decompress(chunk, _PIECE)
    except _BROKEN as error:
        raise StepError(f"the kernel's {name} data is damaged: {error}", "get the kernel anew") from error


def _write(pieces: Iterator[bytes], target: BinaryIO) -> None:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _MAX_KERNEL:
            raise StepError(f"the kernel has more than {_MAX_KERNEL >> 20} MB when unpacked", "is it a kernel?")
        target.write(piece)
