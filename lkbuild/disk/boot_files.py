"""What bootable media are made of: kernel, initrd and command line, and the files of the loaders that start them."""

from __future__ import annotations

from lkbuild.disk.extents import Data, Extent
from lkbuild.disk.fat_tree import FatFile
from lkbuild.disk.layout import total
from lkbuild.disk.loader_config import Boot, check_cmdline, loader_config, loader_entry
from lkbuild.disk.uki import Section, Uki, fallback_name, uki
from lkbuild.frozen import frozen


@frozen
class Bootable:
    """A machine: where its kernel and initrd lie, and its command line.  `title` is what a boot menu shows."""

    kernel: tuple[Extent, ...]
    initrd: tuple[Extent, ...]
    cmdline: str
    title: str = "lkbuild"

    def parts(self) -> list[tuple[str, int]]:
        """Names and sizes, for messages."""
        return [("kernel", total(self.kernel)), ("initrd", total(self.initrd))]


@frozen
class BiosDiskFiles:
    """SYSLINUX: its installer (the program `syslinux`), `ldlinux.c32`, `mbr.bin` and `gptmbr.bin`."""

    installer: bytes
    module: bytes
    mbr: bytes
    gptmbr: bytes


@frozen
class BiosIsoFiles:
    """ISOLINUX: `isolinux.bin`, `ldlinux.c32` and `isohdpfx.bin`."""

    program: bytes
    module: bytes
    mbr: bytes


def payload(boot: Bootable) -> list[FatFile]:
    """Kernel and initrd in the root of a FAT."""
    return [FatFile("kernel", boot.kernel), FatFile("initrd.img", boot.initrd)]


def on_fat(boot: Bootable) -> Boot:
    """How a boot loader is told of `payload`."""
    return Boot("/kernel", ("/initrd.img",), boot.cmdline)


def systemd_boot(boot: Bootable, loader: bytes) -> list[FatFile]:
    """systemd-boot, where firmware looks for a program, and its configuration to boot `payload` at once."""
    return [
        fat_file(f"EFI/BOOT/{fallback_name(loader)}", loader),
        fat_file("loader/loader.conf", loader_config("linux.conf")),
        fat_file("loader/entries/linux.conf", loader_entry(boot.title, on_fat(boot))),
    ]


def fat_file(path: str, content: bytes) -> FatFile:
    """A small file of a FAT."""
    return FatFile(path, (Data(content),))


def unified(boot: Bootable, stub: bytes) -> Uki:
    """The machine as one UEFI program; StepError for a stub that is none and for 4 GiB or more."""
    check_cmdline(boot.cmdline)
    release = f"ID=lkbuild\nNAME=lkbuild\nPRETTY_NAME={boot.title}\n".encode()
    sections = [
        Section(".osrel", (Data(release),)),
        Section(".cmdline", (Data(boot.cmdline.encode("utf-8", "surrogateescape")),)),
        Section(".linux", boot.kernel),
        Section(".initrd", boot.initrd),
    ]
    return uki(stub, sections)
