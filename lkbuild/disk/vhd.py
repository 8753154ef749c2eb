"""VHD, fixed and dynamic.  Microsoft's "Virtual Hard Disk Image Format Specification" 1.0."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from lkbuild.disk.extents import Extent
from lkbuild.disk.identity import derived_guid
from lkbuild.disk.layout import MIB, PAGE, SECTOR, Layout, Ranges, round_up
from lkbuild.disk.limits import size_text
from lkbuild.errors import StepError

BLOCK = 2 * MIB
MAX_SIZE = 2040 << 30
"""2040 GiB, the most that the format's readers take."""

_TABLE = 1536
"""Where the block allocation table begins: after the copy of the footer and the dynamic header."""

_NONE = 0xFFFFFFFFFFFFFFFF
_FIXED, _DYNAMIC = 2, 3
_EPOCH = 946684800
"""2000-01-01, from which VHD counts seconds."""


def fixed_vhd(extents: Sequence[Extent], size: int, seed: bytes, time: int = _EPOCH) -> list[Extent]:
    """The fixed VHD of a raw disk: its bytes, zeros to whole MiB (Azure takes no other), and a footer.

    `size` is the disk's, not less than the extents have; StepError beyond 2040 GiB.
    """
    size = _whole(size)
    made = Layout()
    made.put(0, extents)
    made.put(size, _footer(size, _FIXED, seed, time))
    return made.extents(size + SECTOR)


def dynamic_vhd(extents: Sequence[Extent], size: int, seed: bytes, time: int = _EPOCH) -> list[Extent]:
    """The dynamic VHD of a raw disk: blocks of 2 MiB, those of zeros left out.

    Each block's data begins at a multiple of 4096, its bitmap in the sector before.
    """
    size = _whole(size)
    disk = Ranges(extents)
    footer = _footer(size, _DYNAMIC, seed, time)
    count = -(-size // BLOCK)
    made = Layout()
    table = [0xFFFFFFFF] * count
    at = _TABLE + round_up(4 * count, SECTOR)
    for first, length in disk.used(BLOCK):
        for number in range(first, first + length):
            at = round_up(at + SECTOR, PAGE)
            table[number] = at // SECTOR - 1
            made.put(at - SECTOR, b"\xff" * SECTOR)
            made.put(at, disk.cut(number * BLOCK, BLOCK))
            at += BLOCK
    made.put(0, footer + _header(count))
    made.put(_TABLE, struct.pack(f">{count}I", *table) + b"\xff" * (-4 * count % SECTOR))
    made.put(at, footer)
    return made.extents(at + SECTOR)


def _whole(size: int) -> int:
    if size > MAX_SIZE:
        raise StepError(
            f"a VHD of {size_text(size)} (at most {size_text(MAX_SIZE)})", "choose vhdx, or give a smaller size"
        )
    return round_up(size, MIB)


def _summed(structure: bytes, at: int) -> bytes:
    """The structure with the complement of its bytes' sum at `at`, where zeros stood."""
    return structure[:at] + struct.pack(">I", ~sum(structure) & 0xFFFFFFFF) + structure[at + 4 :]


def _footer(size: int, kind: int, seed: bytes, time: int) -> bytes:
    cylinders, heads, sectors = _geometry(size // SECTOR)
    header = 512 if kind == _DYNAMIC else _NONE
    # QEMU takes a disk's size from the field for it where the creator is Windows ("win "), else from the geometry.
    head = struct.pack(
        ">8sIIQI4sI4s", b"conectix", 2, 0x10000, header, max(time - _EPOCH, 0), b"win ", 0xA0000, b"Wi2k"
    )
    place = struct.pack(">QQHBBII", size, size, cylinders, heads, sectors, kind, 0)
    return _summed((head + place + derived_guid(seed, "vhd")).ljust(SECTOR, b"\0"), 64)


def _header(count: int) -> bytes:
    fields = struct.pack(">8sQQIIII", b"cxsparse", _NONE, _TABLE, 0x10000, count, BLOCK, 0)
    return _summed(fields.ljust(1024, b"\0"), 36)


def _geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads, sectors per track, by the specification's appendix."""
    sectors = min(sectors, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    tracks = sectors // 17
    heads = max((tracks + 1023) // 1024, 4)
    if tracks < heads * 1024 and heads <= 16:
        return tracks // heads, heads, 17
    tracks = sectors // 31
    if tracks < 16 * 1024:
        return tracks // 16, 16, 31
    return sectors // 63 // 16, 16, 63
