"""U-Boot's legacy images, as `mkimage` makes them: 64 bytes before a kernel, an initrd or a script (include/image.h).

The time in the header is 0, so that the same contents make the same image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from lkbuild.archive.entry import Buffer
from lkbuild.disk.extents import Data, Extent
from lkbuild.disk.layout import Opener, read, total
from lkbuild.disk.limits import size_text
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

_MAGIC, _LINUX, _ARM64 = 0x27051956, 5, 22
_TYPES = {"kernel": 2, "ramdisk": 3, "script": 6}
_HEADER = ">7I4B32s"
_MAX = (1 << 32) - 1
_MAX_NAME = 32


@frozen
class UImage:
    """What the header says: the kind, whether U-Boot is to gunzip it, where it goes and begins, and a name."""

    type: Literal["kernel", "ramdisk", "script"]
    gzip: bool = False
    address: int = 0
    name: str = ""


def uimage(about: UImage, contents: Sequence[Extent], open_blob: Opener) -> list[Extent]:
    """Contents for Linux on arm64 with their header; they are read once, for their CRC.  StepError for over 4 GiB."""
    size = total(contents)
    if size > _MAX:
        raise StepError(
            f"the {about.type} has {size_text(size)}; U-Boot takes at most {size_text(_MAX)}", "make it smaller"
        )
    crc = 0
    for piece in read(contents, open_blob):
        crc = zlib.crc32(piece, crc)
    kind = (_LINUX, _ARM64, _TYPES[about.type], int(about.gzip))
    name = about.name.encode("ascii", "replace")[:_MAX_NAME]

    def packed(header_crc: int) -> bytes:
        return struct.pack(_HEADER, _MAGIC, header_crc, 0, size, about.address, about.address, crc, *kind, name)

    return [Data(packed(zlib.crc32(packed(0)))), *contents]


def contents(image: Iterable[Buffer]) -> Iterator[Buffer]:
    """What an image holds, from the image's pieces; ValueError for no image, and, at the end, for a damaged one."""
    pieces, head = iter(image), b""
    size = struct.calcsize(_HEADER)
    while len(head) < size and (piece := next(pieces, b"")):
        head += bytes(piece)
    if len(head) < size:
        raise ValueError(f"{len(head)} bytes, which are no U-Boot image")
    magic, _, _, left, _, _, wanted, *_ = struct.unpack(_HEADER, head[:size])
    if magic != _MAGIC:
        raise ValueError("no U-Boot image")
    crc, piece = 0, memoryview(head)[size:]
    while left:
        piece = memoryview(piece)[:left]
        crc, left = zlib.crc32(piece, crc), left - len(piece)
        yield piece
        if left and not (piece := memoryview(next(pieces, b""))):
            raise ValueError(f"a U-Boot image that ends {left} bytes too early")
    if crc != wanted:
        raise ValueError("a U-Boot image whose sum is wrong")


def script(text: bytes) -> bytes:
    """A script as it stands in an image: the list of its lengths, ended by 0, and the text."""
    return struct.pack(">II", len(text), 0) + text
