"""A kernel module as every kernel can load it: without its compression."""

from __future__ import annotations

import lzma
import sys
import zlib

from lkbuild.errors import StepError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_MODULE = 256 << 20
"""The most bytes a module may have once decompressed; the largest of Debian's have some 20 MB."""


def unpacked_module(path: str, codec: str | None, data: bytes) -> bytes:
    """A module's bytes, decompressed where there is a codec (`xz`, `gz` or `zst`); StepError for what is damaged."""
    try:
        if codec == "xz":
            data = lzma.LZMADecompressor().decompress(data, MAX_MODULE + 1)
        elif codec == "gz":
            data = zlib.decompressobj(31).decompress(data, MAX_MODULE + 1)
        elif codec is not None:
            data = zstd.ZstdDecompressor().decompress(data, MAX_MODULE + 1)
    except (lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
        raise StepError(f"{path} cannot be decompressed: {error}") from error
    if len(data) > MAX_MODULE:
        raise StepError(f"{path} has over {MAX_MODULE} bytes, which no module has")
    return data
