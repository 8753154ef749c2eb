"""What can be asked of each format: refused here, before anything is looked for, is what can never be made."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.disk.room import GPT, MAX_DISK, MBR, least_disk
from lkbuild.disk.vhd import MAX_SIZE as MAX_VHD
from lkbuild.errors import Origin, Problem
from lkbuild.frozen import frozen
from lkbuild.spec.model import Spec


@frozen
class Sizes:
    """What `size=` may be, in MB, both included."""

    least: int
    most: int


@frozen
class Rule:
    """What a format wants.

    `kernel`: the spec has one.  `on`: the machine is of one of these architectures, `why` it is of no other.  `sizes`:
    what `size=` may be, None where the format has no size.  `brings`: what the image that `bootloader=` names must
    bring, because lkbuild's own has it not.  `instead`: the format that boots by UEFI in its place.
    """

    kernel: bool = True
    on: tuple[str, ...] = ()
    why: str = ""
    sizes: Sizes | None = None
    brings: str = ""
    instead: str = ""


@frozen
class Asked:
    """Formats by name, each with the place that asks for it; for which machines; `size` in MB.

    `bootloader`: whether the user named an image of boot loaders.
    """

    formats: tuple[tuple[str, Origin], ...]
    architecture: str
    size: int | None = None
    bootloader: bool = False


BIOS = ("amd64",)
"""The machines that boot by BIOS."""

_BIOS_WHY = "boots by BIOS, which {} machines do not have"
_UEFI, _UEFI_WHY = ("amd64", "arm64", "riscv64"), "boots by UEFI, which {} machines do not have"
_FIRMWARE_WHY = "boots by BIOS or UEFI, and {} machines have neither"

_MOST = MAX_DISK >> 20
_MBR_SIZES = Sizes(least_disk(MBR) >> 20, _MOST)
_GPT_SIZES = Sizes(least_disk(GPT) >> 20, _MOST)
_VHD_SIZES = Sizes(_MBR_SIZES.least, MAX_VHD >> 20)


def _bios(instead: str, sizes: Sizes | None = None) -> Rule:
    return Rule(on=BIOS, why=_BIOS_WHY, sizes=sizes, instead=instead)


def _uefi(sizes: Sizes | None = None) -> Rule:
    return Rule(on=_UEFI, why=_UEFI_WHY, sizes=sizes)


def _cloud(sizes: Sizes) -> Rule:
    """By BIOS where there is one, else by UEFI."""
    return Rule(on=_UEFI, why=_FIRMWARE_WHY, sizes=sizes)


RULES: dict[str, Rule] = {
    "kernel+initrd": Rule(kernel=False),
    "tar": Rule(kernel=False),
    "docker": Rule(kernel=False),
    "oci": Rule(kernel=False),
    "kernel+squashfs": Rule(kernel=False),
    "kernel+erofs": Rule(kernel=False),
    "kernel+iso": Rule(kernel=False),
    "tar-kernel-initrd": Rule(),
    "iso-bios": _bios("iso-efi"),
    "iso-efi": _uefi(),
    "iso-efi-initrd": _uefi(),
    "iso-hybrid": _bios("iso-efi"),
    "raw-bios": _bios("raw-efi", _MBR_SIZES),
    "raw-efi": _uefi(_GPT_SIZES),
    "raw-hybrid": _bios("raw-efi", _GPT_SIZES),
    "qcow2-bios": _bios("qcow2-efi", _MBR_SIZES),
    "qcow2-efi": _uefi(_GPT_SIZES),
    "qcow2-hybrid": _bios("qcow2-efi", _GPT_SIZES),
    "aws": _cloud(_MBR_SIZES),
    "gcp": _cloud(_MBR_SIZES),
    "vhd": _cloud(_VHD_SIZES),
    "dynamic-vhd": _cloud(_VHD_SIZES),
    "vhdx": _cloud(_GPT_SIZES),
    "vmdk": _cloud(_MBR_SIZES),
    "uki": _uefi(),
    "firecracker": Rule(on=("amd64", "arm64"), why="is for Firecracker, which does not run on {} machines"),
    "rpi3": Rule(on=("arm64",), why="is for arm64, and this build is for {}", brings="a Raspberry Pi's firmware"),
}
"""A rule for each of `plan.outputs.FORMATS`."""


def problems(spec: Spec, asked: Asked) -> list[Problem]:
    """Why these formats of `spec` can never be made, as far as that is to be seen without its images."""
    found = []
    for name, origin in asked.formats:
        rule = RULES[name]
        found += [Problem(origin, f"{name} {message}", hint) for message, hint in _refusals(rule, asked)]
        if rule.kernel and spec.kernel is None:
            message = f"{name} boots, and the spec has no kernel"
            found.append(Problem(spec.origin(), message, "add a kernel section; or format=tar"))
    return found


def sized(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these formats that have a size."""
    return tuple(name for name in names if RULES[name].sizes is not None)


def _refusals(rule: Rule, asked: Asked) -> list[tuple[str, str]]:
    """What is wrong, and what to do about it."""
    found = []
    architecture, size = asked.architecture, asked.size
    if rule.on and architecture not in rule.on:
        found.append((rule.why.format(architecture), _instead(rule, architecture)))
    elif rule.brings and not asked.bootloader:
        found.append((f"needs {rule.brings}, which lkbuild does not have", "name an image with it: bootloader=IMAGE"))
    if rule.sizes is not None and size is not None:
        # Disks that boot by UEFI alone have a GPT.
        least = max(rule.sizes.least, 0 if architecture in BIOS else _GPT_SIZES.least)
        if not least <= size <= rule.sizes.most:
            found.append((f"cannot have size={size}M", f"it can be from {least}M to {rule.sizes.most}M"))
    return found


def _instead(rule: Rule, architecture: str) -> str:
    """The same by UEFI where machines have that, else the architectures."""
    others = f"build with arch={' or arch='.join(rule.on)}"
    return f"use {rule.instead}, or {others}" if rule.instead and architecture in _UEFI else others
