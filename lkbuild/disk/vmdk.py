"""VMDK, stream-optimised: compressed grains with their tables behind them.  VMware's "Virtual Disk Format 5.0"."""

from __future__ import annotations

import struct
from typing import BinaryIO

from lkbuild.disk.deflate import DEFAULT_LEVEL, zlib_stream
from lkbuild.disk.identity import derived_number
from lkbuild.disk.layout import SECTOR, Disk, Ranges, blocks, round_up
from lkbuild.disk.limits import size_text
from lkbuild.errors import StepError

GRAIN = 64 << 10
MAX_SIZE = 2 << 40
"""2 TiB: sectors in the file have 32 bits."""

_GRAIN_SECTORS = GRAIN // SECTOR
_TABLE_ENTRIES = 512
_DESCRIPTOR_SECTORS, _FIRST_GRAIN = 20, 128
_AT_END = 0xFFFFFFFFFFFFFFFF
_TABLE, _DIRECTORY, _FOOTER = 1, 2, 3

_DESCRIPTOR = """\
# Disk DescriptorFile
version=1
CID={cid:08x}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY {sectors} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "6"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
"""
"""NB: the file's name is a fixed one, for the bytes must not depend on what the image is called; no reader minds."""


class _Out:
    """The file being written, counted in sectors."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.sector = 0

    def put(self, data: bytes) -> int:
        """Write `data`, filled up to whole sectors; returns the first one's number."""
        at = self.sector
        self._target.write(data + bytes(-len(data) % SECTOR))
        self.sector += -(-len(data) // SECTOR)
        return at

    def mark(self, kind: int, sectors: int) -> None:
        self.put(struct.pack("<QII", sectors, 0, kind))


def stream_vmdk(disk: Disk, seed: bytes, target: BinaryIO, level: int = DEFAULT_LEVEL) -> None:
    """Write the stream-optimised VMDK of a disk, its size rounded up to 64 KiB, to `target`.

    Grains of zeros are left out.  `level`: 0 stores, 1 to 9 compress.  StepError beyond 2 TiB.
    """
    if disk.size > MAX_SIZE:
        raise StepError(f"a VMDK of {size_text(disk.size)} (at most {size_text(MAX_SIZE)})", "give a smaller size")
    capacity = round_up(disk.size, GRAIN) // SECTOR
    out = _Out(target)
    out.put(_header(capacity, _AT_END))
    cylinders = min(max(capacity // (255 * 63), 1), 65535)
    cid = min(derived_number(seed, "vmdk"), 0xFFFFFFFD)
    descriptor = _DESCRIPTOR.format(cid=cid, sectors=capacity, cylinders=cylinders).encode("ascii")
    out.put(descriptor.ljust((_FIRST_GRAIN - 1) * SECTOR, b"\0"))
    directory = [0] * -(-capacity // (_GRAIN_SECTORS * _TABLE_ENTRIES))
    table: list[int] = []
    current = -1
    for number, grain in blocks(Ranges(disk.extents), GRAIN, disk.open_blob):
        if number // _TABLE_ENTRIES != current:
            _close(out, table, directory, current)
            table, current = [0] * _TABLE_ENTRIES, number // _TABLE_ENTRIES
        packed = zlib_stream(grain, level)
        table[number % _TABLE_ENTRIES] = out.put(struct.pack("<QI", number * _GRAIN_SECTORS, len(packed)) + packed)
    _close(out, table, directory, current)
    out.mark(_DIRECTORY, -(-4 * len(directory) // SECTOR))
    at = out.put(struct.pack(f"<{len(directory)}I", *directory))
    out.mark(_FOOTER, 1)
    out.put(_header(capacity, at))
    out.put(bytes(SECTOR))


def _close(out: _Out, table: list[int], directory: list[int], number: int) -> None:
    """Write a grain table that is full or the last, and enter it in the directory."""
    if table:
        out.mark(_TABLE, 4 * _TABLE_ENTRIES // SECTOR)
        directory[number] = out.put(struct.pack(f"<{_TABLE_ENTRIES}I", *table))


def _header(capacity: int, directory: int) -> bytes:
    head = struct.pack("<4sIIQQ", b"KDMV", 3, 0x30001, capacity, _GRAIN_SECTORS)
    place = struct.pack("<QQIQQQ", 1, _DESCRIPTOR_SECTORS, _TABLE_ENTRIES, 0, directory, _FIRST_GRAIN)
    return (head + place + struct.pack("<B4sH", 0, b"\n \r\n", 1)).ljust(SECTOR, b"\0")
