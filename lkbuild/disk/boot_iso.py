"""ISOs that boot by BIOS, by UEFI, or by both, as CD and as disk."""

from __future__ import annotations

from lkbuild.archive.entry import Entry
from lkbuild.disk import loader_config
from lkbuild.disk.boot_files import BiosIsoFiles, Bootable, payload, systemd_boot, unified
from lkbuild.disk.extents import Data, Extent
from lkbuild.disk.fat import Fat, FatOptions
from lkbuild.disk.fat_geometry import Bits
from lkbuild.disk.fat_tree import FatFile
from lkbuild.disk.iso import BiosBoot, EfiBoot, IsoOptions, iso
from lkbuild.disk.layout import MIB
from lkbuild.disk.tree import Member
from lkbuild.disk.uki import fallback_name

_SMALL = 28 * MIB

_KERNEL, _INITRD = b"boot/kernel", b"boot/initrd.img"


def bios_iso(boot: Bootable, loader: BiosIsoFiles, seed: bytes) -> list[Extent]:
    """An ISO that ISOLINUX boots by BIOS, from CD or disk."""
    return iso([*_isolinux(boot, loader), *_payload(boot)], IsoOptions(bios=_bios(loader)), seed)


def efi_iso(boot: Bootable, stub: bytes, seed: bytes) -> list[Extent]:
    """An ISO that UEFI boots, from CD or disk; kernel and initrd, which can be read from it, are in the image once."""
    return iso(_payload(boot), IsoOptions(efi=_efi(boot, stub, seed)), seed)


def efi_initrd_iso(boot: Bootable, loader: bytes, seed: bytes) -> list[Extent]:
    """An ISO that UEFI boots through systemd-boot (`loader`): kernel and initrd are files of their own in its root.

    Firmware and loader read them in the FAT image, everybody else in the ISO; they are there once.
    """
    ours = payload(boot)
    files = [*systemd_boot(boot, loader), *ours]
    fat = Fat(files, FatOptions(_bits(sum(file.size for file in files))), seed)
    shared = tuple((file.path.encode(), fat.place(file.path)) for file in ours)
    members = [Member(Entry(file.path.encode(), "file", 0o444), file.extents) for file in ours]
    return iso(members, IsoOptions(efi=EfiBoot(tuple(fat.write()), shared)), seed)


def hybrid_iso(boot: Bootable, loader: BiosIsoFiles, stub: bytes, seed: bytes) -> list[Extent]:
    """An ISO that boots by both, from CD or disk; kernel and initrd are in it once."""
    options = IsoOptions(bios=_bios(loader), efi=_efi(boot, stub, seed))
    return iso([*_isolinux(boot, loader), *_payload(boot)], options, seed)


def _payload(boot: Bootable) -> list[Member]:
    return [
        Member(Entry(_KERNEL, "file", 0o444), boot.kernel),
        Member(Entry(_INITRD, "file", 0o444), boot.initrd),
    ]


def _isolinux(boot: Bootable, loader: BiosIsoFiles) -> list[Member]:
    config = loader_config.Boot(f"/{_KERNEL.decode()}", (f"/{_INITRD.decode()}",), boot.cmdline)
    return [
        Member(Entry(b"isolinux/isolinux.cfg", "file", 0o444), (Data(loader_config.syslinux_config(config)),)),
        Member(Entry(b"isolinux/ldlinux.c32", "file", 0o444), (Data(loader.module),)),
    ]


def _bios(loader: BiosIsoFiles) -> BiosBoot:
    return BiosBoot(b"isolinux/isolinux.bin", loader.program, loader.mbr)


def _efi(boot: Bootable, stub: bytes, seed: bytes) -> EfiBoot:
    """The FAT image with the unified kernel image, in which the ISO's kernel and initrd lie."""
    program, path = unified(boot, stub), f"EFI/BOOT/{fallback_name(stub)}"
    fat = Fat([FatFile(path, program.extents)], FatOptions(_bits(program.size)), seed)
    at = fat.place(path)
    shared = ((_KERNEL, at + program.place(".linux")), (_INITRD, at + program.place(".initrd")))
    return EfiBoot(tuple(fat.write()), shared)


def _bits(size: int) -> Bits:
    """El Torito counts the sectors of up to 32 MiB, which no FAT32 is; a larger image is "the rest of the disc"."""
    return 16 if size < _SMALL else 32
