"""Compressed streams: reading gzip, zstd and plain ones by their magic, writing them with bytes that never vary.

gzip is RFC 1952, read by ISA-L and written by `archive.gzipwrite`; zstd is RFC 8878.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, Protocol, cast

from isal import isal_zlib

from lkbuild.archive.entry import Buffer
from lkbuild.errors import ArchiveError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Codec = Literal["gzip", "zstd", "none"]

_GZIP_ERROR = cast(type[Exception], isal_zlib.error)
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_OTHERS = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}

_READ = 256 << 10
"""Compressed bytes read at once; measured to be the best for ISA-L."""

_PIECE = 4 << 20
"""The most that comes out at once: what unpacks to zeros is a thousand times smaller than they are."""

_WINDOW_LOG = 27
"""The largest zstd window read, 128 MiB: the most that the zstd program and Linux accept unasked."""

_BLOCK = 256 << 10
"""Compressors are fed blocks of this size, however the bytes came: what gzip makes depends on how they are cut."""

_ZSTD_WORKERS = 2
"""Threads a zstd stream is compressed in, beside the one that writes into it.  None gives other bytes than one; one and
more give the same, whatever the machine has, so this is a constant for the sake of memory alone: 3 MB each."""

DEFAULT_LEVEL: dict[Codec, int] = {"gzip": 1, "zstd": 1, "none": 0}
"""Levels for every day: faster than most disks."""

RELEASE_LEVEL: dict[Codec, int] = {"gzip": 9, "zstd": 19, "none": 0}
"""Levels for what is fetched often.  NB: zstd's 20 and up need a window that not every reader grants."""


class Compressor(Protocol):
    """A compressed stream being written into a file, which stays open when the stream is closed."""

    def write(self, data: Buffer) -> object:
        """Take any number of bytes.  NB: the buffer may be kept until later, so it must not change."""

    def close(self) -> object:
        """End the compressed stream."""


class _Source:
    """Compressed input, and how far reading it came, for messages."""

    def __init__(self, file: BinaryIO, head: bytes, behind: Callable[[bytes], object] | None) -> None:
        self.file, self.codec, self.behind = file, sniff(head), behind
        self.read = self.made = 0
        self.head = head

    def pieces(self) -> Iterator[bytes]:
        piece = self.head
        while piece:
            self.read += len(piece)
            yield piece
            piece = self.file.read(_READ)

    def next_member(self, data: bytes) -> bytes:
        """What is to be decompressed next of `data`, which stand behind a member, zeros passed over."""
        data = data.lstrip(b"\0")
        if data and self.made and self.behind is not None:
            while len(data) < 4 and (more := self.file.read(4)):
                data += more
            if sniff(data) != self.codec:
                self.behind(data)
                self.file = io.BytesIO()
                return b""
        return data

    def failed(self, what: str) -> ArchiveError:
        return ArchiveError(
            f"{what}: {self.read} bytes of {self.codec} were read, which gave {self.made} bytes",
            "the file is damaged or was not fetched whole; fetch it again",
        )


def sniff(head: bytes) -> Codec:
    """The codec of a stream from its first bytes; what has no magic is taken to be plain.

    xz, bzip2 and lz4, which are no layer's compression, are ArchiveErrors.
    """
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    if head.startswith(_ZSTD_MAGIC) or (len(head) >= 4 and int.from_bytes(head[:4], "little") in _SKIPPABLE):
        return "zstd"
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise ArchiveError(f"the stream is compressed with {name}", "only gzip, zstd and plain streams are read")
    return "none"


def decompressed(file: BinaryIO, behind: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
    """The plain bytes of `file` in pieces of at most 4 MiB, by its magic, whatever a media type says.

    Reads on to the file's end: gzip members and zstd frames are joined, zeros after them skipped.  A damaged or cut
    stream, or a window of more than 128 MiB, is an ArchiveError that says how far reading came.  What follows a member
    and is of another codec is one too; but with `behind`, reading ends there, and `behind` is given what was read of
    it.
    """
    head = file.read(_READ)
    source = _Source(file, head, behind)
    match source.codec:
        case "gzip":
            return _gunzip(source)
        case "zstd":
            return _unzstd(source)
        case "none":
            return source.pieces()


def _gunzip(source: _Source) -> Iterator[bytes]:
    decoder: isal_zlib.Decompress | None = None
    for piece in source.pieces():
        data = piece
        while data:
            if decoder is None:
                data = source.next_member(data)
                if not data:
                    break
                decoder = isal_zlib.decompressobj(31)
            try:
                made = decoder.decompress(data, _PIECE)
            except (_GZIP_ERROR, EOFError, ValueError) as error:
                raise source.failed(f"damaged gzip stream ({error})") from error
            source.made += len(made)
            if made:
                yield made
            data, decoder = (decoder.unused_data, None) if decoder.eof else (decoder.unconsumed_tail, decoder)
    if decoder is not None:
        raise source.failed("the gzip stream ends too early")


def _unzstd(source: _Source) -> Iterator[bytes]:
    decoder: zstd.ZstdDecompressor | None = None
    for piece in source.pieces():
        data = piece
        while data or (decoder is not None and not decoder.needs_input):
            if decoder is None:
                data = source.next_member(data)
                if not data:
                    break
                decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
            try:
                made = decoder.decompress(data, _PIECE)
            except (zstd.ZstdError, EOFError, ValueError) as error:
                raise source.failed(f"damaged zstd stream ({error})") from error
            source.made += len(made)
            if made:
                yield made
            data, decoder = (decoder.unused_data, None) if decoder.eof else (b"", decoder)
    if decoder is not None:
        raise source.failed("the zstd stream ends too early")


class _Blocks:
    """A stream cut into blocks of one size before it is compressed; one of less than a block is compressed whole."""

    def __init__(self, raw: BinaryIO, codec: Codec, level: int) -> None:
        self._raw, self._codec, self._level = raw, codec, level
        self._encoder: _Encoder | None = None
        self._held: list[Buffer] = []
        self._have = 0

    def write(self, data: Buffer) -> None:
        size = len(data)
        if self._have + size < _BLOCK:
            self._held.append(data)
            self._have += size
            return
        if self._encoder is None:
            self._encoder = _encoder(self._codec, self._level)
        view, at = memoryview(data), 0
        if self._held:
            at = _BLOCK - self._have
            self._held.append(view[:at])
            self._raw.write(self._encoder.compress(b"".join(self._held)))
        while size - at >= _BLOCK:
            self._raw.write(self._encoder.compress(view[at : at + _BLOCK]))
            at += _BLOCK
        self._held, self._have = [view[at:]], size - at

    def close(self) -> None:
        rest = b"".join(self._held)
        if self._encoder is None and self._codec == "zstd":
            # Without threads, which take longer to start than most segments to compress.
            self._raw.write(zstd.compress(rest, self._level))
        else:
            encoder = self._encoder or _encoder(self._codec, self._level)
            self._raw.write(encoder.compress(rest))
            self._raw.write(encoder.flush())
        self._encoder, self._held, self._have = None, [], 0


class _Encoder(Protocol):
    def compress(self, data: Buffer, /) -> Buffer: ...
    def flush(self) -> bytes: ...


class _Plain:
    """What compresses nothing."""

    def compress(self, data: Buffer, /) -> Buffer:
        return data

    def flush(self) -> bytes:
        return b""


def open_compressed(raw: BinaryIO, codec: Codec, level: int | None = None) -> Compressor:
    """A stream compressed into `raw`; without `level` (gzip 0 to 9, zstd 1 to 19) at the codec's everyday level.

    What is written depends on the bytes and the level alone, not on how many threads compress it: gzip headers hold
    neither name nor time (RFC 1952 2.3), and zstd always works with threads of its own.
    """
    level = DEFAULT_LEVEL[codec] if level is None else level
    lowest, highest = (1, 19) if codec == "zstd" else (0, 9)
    if not lowest <= level <= highest:
        raise ValueError(f"{codec} level {level} (wanted {lowest} to {highest})")
    return _Blocks(raw, codec, level)


def _encoder(codec: Codec, level: int) -> _Encoder:
    match codec:
        case "gzip":
            from lkbuild.archive.gzipwrite import GzipEncoder  # loads pools of threads, and `logging` with them

            return GzipEncoder(level)
        case "zstd":
            named = zstd.CompressionParameter
            return zstd.ZstdCompressor(options={named.compression_level: level, named.nb_workers: _ZSTD_WORKERS})
        case "none":
            return _Plain()
