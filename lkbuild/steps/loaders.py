"""Boot loaders' files from an image: Debian's places for them, and those of LinuxKit's mkimage images (Alpine)."""

from __future__ import annotations

from typing import BinaryIO

from lkbuild.archive.extract import extract_files
from lkbuild.errors import StepError
from lkbuild.plan.media_kinds import LoaderRole, Loaders
from lkbuild.steps.segment import layers
from lkbuild.steps.work import Work

PLACES: dict[LoaderRole, tuple[str, ...]] = {
    "syslinux": ("usr/bin/syslinux",),
    "syslinux.c32": ("usr/lib/syslinux/modules/bios/ldlinux.c32", "usr/share/syslinux/ldlinux.c32"),
    "mbr": ("usr/lib/syslinux/mbr/mbr.bin", "usr/share/syslinux/mbr.bin"),
    "gptmbr": ("usr/lib/syslinux/mbr/gptmbr.bin", "usr/share/syslinux/gptmbr.bin"),
    "isolinux": ("usr/lib/ISOLINUX/isolinux.bin", "usr/share/syslinux/isolinux.bin"),
    "isohdpfx": ("usr/lib/ISOLINUX/isohdpfx.bin", "usr/share/syslinux/isohdpfx.bin"),
    "stub": ("usr/lib/systemd/boot/efi/linux{efi}.efi.stub", "usr/lib/gummiboot/linux{efi}.efi.stub"),
    "systemd-boot": ("usr/lib/systemd/boot/efi/systemd-boot{efi}.efi", "usr/lib/gummiboot/gummiboot{efi}.efi"),
    "busybox": ("usr/bin/busybox", "bin/busybox.static"),
}
_EFI = {"amd64": "x64", "arm64": "aa64", "386": "ia32", "riscv64": "riscv64"}


def loaders(params: Loaders, work: Work) -> None:
    """Writes each role's file; StepError where the image has none in any of its places."""
    efi = _EFI.get(params.architecture, params.architecture)
    places = {role: tuple(place.format(efi=efi) for place in PLACES[role]) for role in params.roles}
    files: dict[str, BinaryIO] = {}
    try:
        for role, names in places.items():
            for number, name in enumerate(names):
                files[name] = work.output(f"{role}.{number}").open("w+b")
        found = extract_files(layers(work), files)
    finally:
        for file in files.values():
            file.close()
    for role, names in places.items():
        there = [number for number, name in enumerate(names) if name in found]
        if not there:
            raise StepError(
                f"the boot loader image has no {' and no '.join(names)}",
                "for this architecture perhaps there is none; another image can be named with bootloader=IMAGE",
            )
        work.output(f"{role}.{there[0]}").rename(work.output(role))
        for number in range(len(names)):
            work.output(f"{role}.{number}").unlink(missing_ok=True)
