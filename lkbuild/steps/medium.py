"""Boot media: a recipe of the kernel, the initrd's segments and a little metadata around them."""

from __future__ import annotations

from collections.abc import Callable

from lkbuild.digest import identity
from lkbuild.disk.boot_disk import bios_disk, efi_disk, hybrid_disk
from lkbuild.disk.boot_files import BiosDiskFiles, BiosIsoFiles, Bootable, unified
from lkbuild.disk.boot_iso import bios_iso, efi_initrd_iso, efi_iso, hybrid_iso
from lkbuild.disk.extents import Extent, Slice
from lkbuild.disk.layout import round_up, total
from lkbuild.plan.media_kinds import LoaderRole, Medium
from lkbuild.steps.rootfs import finish
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe

Loader = Callable[[LoaderRole], bytes]
Maker = Callable[[Bootable, Loader, int | None, bytes], list[Extent]]


def medium(params: Medium, work: Work) -> None:
    """Writes `recipe`.  What is random elsewhere (serials, GUIDs) follows from the contents."""
    kernel = work.inputs["kernel"].blob
    initrd = Recipe.decode(work.input("initrd").read_bytes())
    boot = Bootable((Slice(kernel.digest, 0, kernel.size),), initrd.extents, cmdline(work), params.title)
    seed = identity([params, [[role, item.blob.digest] for role, item in sorted(work.inputs.items())]])

    def loader(role: LoaderRole) -> bytes:
        return work.input(role).read_bytes()

    def made(size: int | None) -> list[Extent]:
        return MAKERS[params.maker](boot, loader, size, bytes.fromhex(seed.hex))

    extents = made(params.bytes)
    if total(extents) % (params.unit << 20) and params.unit > 1:
        extents = made(round_up(total(extents), params.unit << 20))
    finish(extents, work)


def cmdline(work: Work) -> str:
    """The input `cmdline`, empty where there is none; a final newline is no part of it."""
    if "cmdline" not in work.inputs:
        return ""
    return work.input("cmdline").read_text("utf-8", "surrogateescape").rstrip("\n")


def _bios_disk(loader: Loader) -> BiosDiskFiles:
    return BiosDiskFiles(loader("syslinux"), loader("syslinux.c32"), loader("mbr"), loader("gptmbr"))


def _bios_iso(loader: Loader) -> BiosIsoFiles:
    return BiosIsoFiles(loader("isolinux"), loader("syslinux.c32"), loader("isohdpfx"))


MAKERS: dict[str, Maker] = {
    "bios-disk": lambda boot, loader, size, seed: bios_disk(boot, _bios_disk(loader), size, seed),
    "efi-disk": lambda boot, loader, size, seed: efi_disk(boot, loader("stub"), size, seed),
    "hybrid-disk": lambda boot, loader, size, seed: hybrid_disk(
        boot, _bios_disk(loader), loader("systemd-boot"), size, seed
    ),
    "bios-iso": lambda boot, loader, size, seed: bios_iso(boot, _bios_iso(loader), seed),
    "efi-iso": lambda boot, loader, size, seed: efi_iso(boot, loader("stub"), seed),
    "hybrid-iso": lambda boot, loader, size, seed: hybrid_iso(boot, _bios_iso(loader), loader("stub"), seed),
    "efi-initrd-iso": lambda boot, loader, size, seed: efi_initrd_iso(boot, loader("systemd-boot"), seed),
    "uki": lambda boot, loader, size, seed: list(unified(boot, loader("stub")).extents),
}
