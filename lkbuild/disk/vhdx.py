"""VHDX, dynamic.  Microsoft's [MS-VHDX]: headers and region tables twice, metadata, block allocation table, blocks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from lkbuild.disk.crc32c import crc32c
from lkbuild.disk.extents import Extent
from lkbuild.disk.identity import derived_guid, guid, mixed_endian
from lkbuild.disk.layout import MIB, SECTOR, Layout, Ranges, round_up
from lkbuild.disk.limits import size_text
from lkbuild.errors import StepError

BLOCK = MIB
"""The smallest blocks there can be: Microsoft's advice for Linux guests."""

MAX_SIZE = 64 << 40
"""64 TiB (MS-VHDX 2.6.2.4)."""

_LOG, _METADATA, _TABLE = MIB, 2 * MIB, 3 * MIB
_KIB64 = 64 << 10
_PRESENT = 6
_CHUNK = (1 << 23) * SECTOR // BLOCK
"""Blocks after each of which an entry for a bitmap stands in the table; without a parent disk it stays empty."""

_BAT_REGION = guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA_REGION = guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_FILE_PARAMETERS = guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_DISK_SIZE = guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_DISK_ID = guid("beca12ab-b2e6-4523-93ef-c309e000c746")
_LOGICAL_SECTOR = guid("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL_SECTOR = guid("cda348c7-445d-4471-9cc9-e9885251c556")
_IS_DISK, _REQUIRED = 2, 4


def vhdx(extents: Sequence[Extent], size: int, seed: bytes) -> list[Extent]:
    """The dynamic VHDX of a raw disk of `size` bytes, rounded up to whole MiB; blocks of zeros are left out.

    StepError beyond 64 TiB.
    """
    if size > MAX_SIZE:
        raise StepError(f"a VHDX of {size_text(size)} (at most {size_text(MAX_SIZE)})", "give a smaller size")
    size = round_up(size, MIB)
    disk = Ranges(extents)
    count = size // BLOCK
    entries = [0] * max(count + (count - 1) // _CHUNK, 1)
    table_size = round_up(8 * len(entries), MIB)
    made = Layout()
    made.put(0, b"vhdxfile" + "lkbuild".encode("utf-16-le"))
    for copy in range(2):
        made.put(_KIB64 * (1 + copy), _header(copy, seed))
        made.put(_KIB64 * (3 + copy), _regions(table_size))
    made.put(_METADATA, _metadata(size, seed))
    at = _TABLE + table_size
    for first, length in disk.used(BLOCK):
        made.put(at, disk.cut(first * BLOCK, length * BLOCK))
        for number in range(first, first + length):
            entries[number + number // _CHUNK] = at | _PRESENT
            at += BLOCK
    made.put(_TABLE, struct.pack(f"<{len(entries)}Q", *entries))
    return made.extents(at)


def _checked(structure: bytes) -> bytes:
    """The structure with its checksum behind the signature, where zeros stood."""
    return structure[:4] + struct.pack("<I", ~crc32c(structure) & 0xFFFFFFFF) + structure[8:]


def _header(sequence: int, seed: bytes) -> bytes:
    file_write, data_write = (mixed_endian(derived_guid(seed, f"vhdx {what}")) for what in ("file", "data"))
    # A log GUID of zeros says that there is nothing in the log to be replayed.
    head = struct.pack("<4sIQ16s16s16s", b"head", 0, sequence, file_write, data_write, bytes(16))
    return _checked((head + struct.pack("<HHIQ", 0, 1, MIB, _LOG)).ljust(4096, b"\0"))


def _regions(table_size: int) -> bytes:
    head = struct.pack("<4sIII", b"regi", 0, 2, 0)
    table = mixed_endian(_BAT_REGION) + struct.pack("<QII", _TABLE, table_size, 1)
    metadata = mixed_endian(_METADATA_REGION) + struct.pack("<QII", _METADATA, MIB, 1)
    return _checked((head + table + metadata).ljust(_KIB64, b"\0"))


def _metadata(size: int, seed: bytes) -> bytes:
    items = (
        (_FILE_PARAMETERS, struct.pack("<II", BLOCK, 0), _REQUIRED),
        (_DISK_SIZE, struct.pack("<Q", size), _IS_DISK | _REQUIRED),
        (_DISK_ID, mixed_endian(derived_guid(seed, "vhdx disk")), _IS_DISK | _REQUIRED),
        (_LOGICAL_SECTOR, struct.pack("<I", SECTOR), _IS_DISK | _REQUIRED),
        (_PHYSICAL_SECTOR, struct.pack("<I", SECTOR), _IS_DISK | _REQUIRED),
    )
    head, body = struct.pack("<8sHH20x", b"metadata", 0, len(items)), b""
    for name, value, flags in items:
        head += mixed_endian(name) + struct.pack("<IIII", _KIB64 + len(body), len(value), flags, 0)
        body += value
    return head.ljust(_KIB64, b"\0") + body
