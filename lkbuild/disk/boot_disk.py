"""Disks that boot by BIOS, by UEFI, or by both: a partition table and one FAT partition, from 1 MiB on."""

from __future__ import annotations

from lkbuild.disk import loader_config
from lkbuild.disk import partition as table
from lkbuild.disk.boot_files import BiosDiskFiles, Bootable, fat_file, on_fat, payload, systemd_boot, unified
from lkbuild.disk.extents import Extent
from lkbuild.disk.fat import Fat, FatOptions
from lkbuild.disk.fat_tree import FatFile
from lkbuild.disk.layout import MIB, SECTOR, Layout
from lkbuild.disk.limits import size_text, too_large
from lkbuild.disk.syslinux import core_file, from_installer, install
from lkbuild.disk.uki import fallback_name

_START = MIB


def bios_disk(boot: Bootable, loader: BiosDiskFiles, size: int | None, seed: bytes) -> list[Extent]:
    """A disk with an MBR that SYSLINUX boots by BIOS; `size` in bytes, without it as small as can be.

    StepError for what does not fit, here and below, with the numbers.
    """
    syslinux = from_installer(loader.installer)
    fat = Fat([core_file(syslinux), *_syslinux(boot, loader), *payload(boot)], _options(boot, size, 0), seed)
    entry = table.MbrEntry(table.FAT32_LBA, _START // SECTOR, fat.size // SECTOR, active=True)
    made = Layout()
    made.put(0, table.mbr([entry], loader.mbr, table.disk_signature(seed)))
    made.put(_START, install(fat, syslinux))
    return made.extents(_START + fat.size)


def efi_disk(boot: Bootable, stub: bytes, size: int | None, seed: bytes) -> list[Extent]:
    """A disk with a GPT whose system partition holds a unified kernel image, for UEFI."""
    program = FatFile(f"EFI/BOOT/{fallback_name(stub)}", unified(boot, stub).extents)
    fat = Fat([program], _options(boot, size, MIB), seed)
    return _gpt(fat, fat.write(), b"", seed)


def program_disk(program: Extent, head: bytes) -> list[Extent]:
    """As small a disk as can be for UEFI to start a program from; `head` is the program's beginning, with its headers.

    StepError where that is no UEFI program.
    """
    fat = Fat([FatFile(f"EFI/BOOT/{fallback_name(head)}", (program,))], FatOptions(hidden=_START // SECTOR), head)
    return _gpt(fat, fat.write(), b"", head)


def hybrid_disk(boot: Bootable, loader: BiosDiskFiles, efi: bytes, size: int | None, seed: bytes) -> list[Extent]:
    """A disk with a GPT that boots by both: SYSLINUX and systemd-boot (`efi`) start the same kernel and initrd."""
    syslinux = from_installer(loader.installer)
    files = [core_file(syslinux), *_syslinux(boot, loader), *systemd_boot(boot, efi), *payload(boot)]
    fat = Fat(files, _options(boot, size, MIB), seed)
    return _gpt(fat, install(fat, syslinux), loader.gptmbr, seed)


def _syslinux(boot: Bootable, loader: BiosDiskFiles) -> list[FatFile]:
    config = loader_config.syslinux_config(on_fat(boot))
    return [fat_file("ldlinux.c32", loader.module), fat_file("syslinux.cfg", config)]


def _options(boot: Bootable, size: int | None, behind: int) -> FatOptions:
    """The FAT on a disk of `size` bytes, of which those before the partition and `behind` it are taken."""
    if size is not None and size <= _START + behind:
        raise too_large(f"a disk of {size_text(size)} has no room for a partition", boot.parts(), "give a larger size")
    return FatOptions(size=None if size is None else size - _START - behind, hidden=_START // SECTOR)


def _gpt(fat: Fat, content: list[Extent], code: bytes, seed: bytes) -> list[Extent]:
    """The disk with its partition table, the copy of which has the last MiB.

    Some BIOSes boot from a disk with an active partition only, so with boot code the protective one is active.
    """
    sectors = (_START + fat.size + MIB) // SECTOR
    first = table.mbr([table.protective(sectors, bool(code))], code, table.disk_signature(seed))
    system = table.Partition(table.EFI_SYSTEM, _START // SECTOR, fat.size // SECTOR, "EFI System", bool(code))
    ends = table.gpt(sectors, [system], first, seed)
    made = Layout()
    made.put(0, ends.head)
    made.put(_START, content)
    made.put(sectors * SECTOR - len(ends.tail), ends.tail)
    return made.extents(sectors * SECTOR)
