"""Booting from an ISO: the catalogue of El Torito, ISOLINUX's table, and what makes the ISO a disk as well.

"El Torito" Bootable CD-ROM Format Specification 1.0; Syslinux 6, utils/isohybrid.c and doc/isolinux.txt.
"""

from __future__ import annotations

import struct

from lkbuild.disk.iso_records import SECTOR
from lkbuild.disk.partition import (
    EFI_SYSTEM,
    ISO_HIDDEN,
    Gpt,
    MbrEntry,
    Partition,
    disk_signature,
    gpt,
    mbr,
    protective,
)
from lkbuild.errors import StepError

_BIOS, _EFI = 0, 0xEF
_DISK_SECTOR = 512
_CODE = 432
"""isohdpfx.bin is code up to here; then comes, in 64 bits, the sector of isolinux.bin."""


def boot_record(catalogue: int) -> bytes:
    """The volume descriptor that says in which sector the catalogue is."""
    identity = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(32, b"\0") + bytes(32)
    return (identity + struct.pack("<I", catalogue)).ljust(SECTOR, b"\0")


def catalogue(bios: int | None, efi: tuple[int, int] | None) -> bytes:
    """The boot catalogue: `bios` is the sector of isolinux.bin, `efi` sector and bytes of the FAT image."""
    entries = []
    if bios is not None:
        entries.append((_BIOS, struct.pack("<BBHBBHI20x", 0x88, 0, 0, 0, 0, 4, bios)))
    if efi is not None:
        # The count has 16 bits.  For a larger image 0 stands there, which UEFI firmware takes for the rest of the disc.
        count = efi[1] // _DISK_SECTOR
        entries.append((_EFI, struct.pack("<BBHBBHI20x", 0x88, 0, 0, 0, 0, count if count < 1 << 16 else 0, efi[0])))
    platform, first = entries[0]
    validation = struct.pack("<BBH24sHBB", 1, platform, 0, b"lkbuild", 0, 0x55, 0xAA)
    total = sum(struct.unpack("<16H", validation))
    made = validation[:28] + struct.pack("<H", -total & 0xFFFF) + validation[30:] + first
    for platform, entry in entries[1:]:
        made += struct.pack("<BBH28x", 0x91, platform, 1) + entry
    return made.ljust(SECTOR, b"\0")


def with_boot_info(isolinux: bytes, sector: int) -> bytes:
    """isolinux.bin with the boot information table, which tells it where on the disc it lies, at bytes 8 to 63."""
    if len(isolinux) < 2048:
        raise StepError(f"isolinux.bin has {len(isolinux)} bytes, which it never has", "give ISOLINUX's isolinux.bin")
    padded = isolinux + bytes(-len(isolinux) % 4)
    total = sum(struct.unpack_from(f"<{(len(padded) - 64) // 4}I", padded, 64)) & 0xFFFFFFFF
    return isolinux[:8] + struct.pack("<IIII40x", 16, sector, len(isolinux), total) + isolinux[64:]


def hybrid(sectors: int, code: bytes, bios: int | None, efi: tuple[int, int] | None, seed: bytes) -> Gpt:
    """What goes to the beginning and the end of an ISO of so many sectors of 512, that makes it bootable as a disk.

    `code` is isohdpfx.bin, with `bios`; the FAT image becomes an EFI system partition.  Without `efi` there is an MBR
    alone.
    """
    if bios is not None:
        code = code[:_CODE].ljust(_CODE, b"\0") + struct.pack("<Q", bios * (SECTOR // _DISK_SECTOR))
    if efi is None:
        entry = MbrEntry(ISO_HIDDEN, 0, sectors, active=True)
        return Gpt(mbr([entry], code, disk_signature(seed)), b"")
    entries = [protective(sectors)]
    if bios is not None:
        # Some BIOSes boot from a disk with an active partition only; UEFI wants the protective one not to be it.
        entries.append(MbrEntry(0, 0, 1, active=True))
    sector, size = efi
    system = Partition(EFI_SYSTEM, sector * (SECTOR // _DISK_SECTOR), size // _DISK_SECTOR, "EFI System")
    return gpt(sectors, [system], mbr(entries, code, disk_signature(seed)), seed)
