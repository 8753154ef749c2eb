"""Partition tables: MBR, and GPT with its two copies (UEFI specification 2.10, chapter 5).

Sectors have 512 bytes; cylinders, heads and sectors are those of the usual geometry of 255 heads and 63 sectors.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from lkbuild.disk.identity import derived_guid, derived_number, guid, mixed_endian
from lkbuild.disk.layout import SECTOR
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

EFI_SYSTEM = guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_DATA = guid("0fc63daf-8483-4772-8e79-3d69d8477de4")

FAT16_LBA, FAT32_LBA, ISO_HIDDEN, LINUX, EFI_FAT, PROTECTIVE = 0x0E, 0x0C, 0x17, 0x83, 0xEF, 0xEE
"""Types of MBR partitions."""

MAX_SECTORS = 0xFFFFFFFF
"""An MBR counts sectors in 32 bits: 2 TiB."""

BOOT_CODE = 440
"""The most bytes of code a boot sector may hold before the disk's signature."""

GPT_SECTORS = 34
"""Sectors at the beginning of a disk that MBR and GPT take; at its end GPT takes one less."""

_ENTRIES, _ENTRY = 128, 128
_TABLE_SECTORS = _ENTRIES * _ENTRY // SECTOR
_HEADS, _TRACK, _CYLINDERS = 255, 63, 1024


@frozen
class MbrEntry:
    """A line of an MBR: `kind` is the partition's type byte."""

    kind: int
    first: int
    sectors: int
    active: bool = False


@frozen
class Partition:
    """A GPT partition.  `legacy_boot` marks the one that a BIOS boots by way of syslinux's gptmbr.bin (attribute 2)."""

    kind: bytes
    first: int
    sectors: int
    name: str
    legacy_boot: bool = False


@frozen
class Gpt:
    """The two ends of a disk: `head` goes to its beginning, `tail` to its end."""

    head: bytes
    tail: bytes


def mbr(entries: Sequence[MbrEntry], code: bytes, signature: int) -> bytes:
    """The boot sector of a disk: up to 440 bytes of code, the disk's signature and up to four partitions.

    StepError for code that is too long and for partitions beyond 2 TiB.
    """
    if len(code.rstrip(b"\0")) > BOOT_CODE:
        raise StepError(
            f"boot code of {len(code)} bytes (a boot sector has room for {BOOT_CODE})",
            "give the loader's mbr.bin, gptmbr.bin or isohdpfx.bin",
        )
    for entry in entries:
        if entry.first + entry.sectors - 1 > MAX_SECTORS:
            raise StepError(
                f"a partition of {entry.sectors * SECTOR} bytes ends beyond 2 TiB, where an MBR cannot reach",
                "choose a smaller size, or a format with a GPT",
            )
    table = b"".join(map(_mbr_entry, entries)).ljust(64, b"\0")
    return code[:BOOT_CODE].ljust(BOOT_CODE, b"\0") + struct.pack("<IH", signature, 0) + table + b"\x55\xaa"


def _mbr_entry(entry: MbrEntry) -> bytes:
    # The protective entry ends at the last address there is, whatever the disk's size (UEFI 5.2.3).
    last = b"\xff\xff\xff" if entry.kind == PROTECTIVE else _chs(entry.first + entry.sectors - 1)
    head = struct.pack("<B3sB3s", 0x80 if entry.active else 0, _chs(entry.first), entry.kind, last)
    return head + struct.pack("<II", entry.first, min(entry.sectors, MAX_SECTORS))


def _chs(sector: int) -> bytes:
    """Cylinder, head and sector as the three bytes of an MBR; the highest there are where it lies beyond them."""
    track, number = divmod(sector, _TRACK)
    cylinder, head = divmod(track, _HEADS)
    if cylinder >= _CYLINDERS:
        return b"\xfe\xff\xff"
    return bytes((head, (number + 1) | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def protective(sectors: int, active: bool = False) -> MbrEntry:
    """The entry that keeps old programs from a GPT disk of so many sectors.

    Some old BIOSes boot only from a disk with an active partition; UEFI forbids the flag here but does not mind it.
    """
    return MbrEntry(PROTECTIVE, 1, min(sectors - 1, MAX_SECTORS), active)


def gpt(sectors: int, partitions: Sequence[Partition], boot_sector: bytes, seed: bytes) -> Gpt:
    """Both copies of the table of a disk with so many sectors, after the boot sector given (see `mbr`, `protective`).

    The disk's and the partitions' GUIDs are derived from `seed`.  ValueError for partitions outside the usable sectors.
    """
    first, last = GPT_SECTORS, sectors - GPT_SECTORS
    for entry in partitions:
        if entry.first < first or entry.first + entry.sectors - 1 > last:
            raise ValueError(f"partition {entry.name!r} lies outside the sectors {first} to {last}")
    table = b"".join(_gpt_entry(number, entry, seed) for number, entry in enumerate(partitions))
    table = table.ljust(_ENTRIES * _ENTRY, b"\0")
    disk = mixed_endian(derived_guid(seed, "disk"))

    def header(mine: int, other: int, entries: int) -> bytes:
        place = struct.pack("<QQQQ16sQ", mine, other, first, last, disk, entries)
        fields = place + struct.pack("<III", _ENTRIES, _ENTRY, zlib.crc32(table))
        checksum = zlib.crc32(struct.pack("<8sIIII", b"EFI PART", 0x10000, 92, 0, 0) + fields)
        return (struct.pack("<8sIIII", b"EFI PART", 0x10000, 92, checksum, 0) + fields).ljust(SECTOR, b"\0")

    end = sectors - 1
    return Gpt(boot_sector + header(1, end, 2) + table, table + header(end, 1, end - _TABLE_SECTORS))


def _gpt_entry(number: int, entry: Partition, seed: bytes) -> bytes:
    unique = mixed_endian(derived_guid(seed, f"partition {number}"))
    place = struct.pack("<QQQ", entry.first, entry.first + entry.sectors - 1, 4 if entry.legacy_boot else 0)
    return mixed_endian(entry.kind) + unique + place + entry.name.encode("utf-16-le").ljust(72, b"\0")


def disk_signature(seed: bytes) -> int:
    """The signature of an MBR, derived from `seed`."""
    return derived_number(seed, "disk signature")
