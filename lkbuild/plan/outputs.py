"""The formats lkbuild writes, and the steps and files of each: a new format is a row here and a file in `steps/`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from lkbuild.errors import UsageError
from lkbuild.frozen import frozen
from lkbuild.plan import media
from lkbuild.plan.beside import beside
from lkbuild.plan.boot_files import cmdline_file, kernel_file
from lkbuild.plan.budget import budget_of
from lkbuild.plan.graph import Graph, Output, OutputFile, StepSet
from lkbuild.plan.machine import MachinePlan
from lkbuild.plan.materials import Materials, Style
from lkbuild.plan.possible import BIOS, sized
from lkbuild.plan.root_disk import root_disk, root_initrd
from lkbuild.plan.root_kinds import RootType
from lkbuild.plan.rootfs import docker, initrd, oci_layout, tar
from lkbuild.spec.model import Spec

DEFAULT_FORMAT = "kernel+initrd"


@frozen
class File:
    """A file of a format: its name is the machine's name plus `ending`."""

    ending: str
    step: str
    output: str
    recipe: bool = False
    tree: bool = False
    optional: bool = False


@frozen
class Format:
    """A format: what it is for, how its files are planned, and whether it needs boot loaders and mksquashfs."""

    name: str
    summary: str
    files: Callable[[MachinePlan], list[File]]
    loaders: bool = False
    mksquashfs: bool = False


def plan(spec: Spec, materials: Materials, style: Style, formats: Iterable[str], directory: Path) -> Graph:
    """The graph of one machine in these formats, its files in `directory` (absolute).

    UsageError for an unknown format; `plan.possible` says beforehand which cannot be made of this spec.
    """
    steps = StepSet()
    machine = MachinePlan(spec, materials, style, steps)
    outputs = list[Output]()
    for name in dict.fromkeys(formats):
        format = known_format(name)
        files = tuple(
            OutputFile(str(directory / f"{spec.name}{f.ending}"), f.step, f.output, f.recipe, f.tree, f.optional)
            for f in format.files(MachinePlan(spec, materials, _own_style(style, format), steps))
        )
        outputs.append(Output(spec.name, name, files, budget=budget_of(spec)))
    outputs += beside(machine, tuple(outputs), str(directory / spec.name))
    return Graph(machine.steps, tuple(outputs))


def _own_style(style: Style, format: Format) -> Style:
    """The style with nothing in it that this format does not depend on.

    For the machine carries the style: building an ISO too would make another initrd.
    """
    return replace(
        style,
        bootloader=style.bootloader if format.loaders else None,
        size=style.size if sized([format.name]) else None,
        mksquashfs=style.mksquashfs if format.mksquashfs else "",
    )


def known_format(name: str) -> Format:
    """The format called `name`; UsageError, with what is meant perhaps, where there is none."""
    found = FORMATS.get(name)
    if found is None:
        close = difflib.get_close_matches(name, FORMATS, 1)
        raise UsageError(
            f"unknown output format {name!r}",
            (f"did you mean {close[0]!r}? " if close else "") + f"formats: {', '.join(FORMATS)}",
        )
    return found


def _kernel_initrd(machine: MachinePlan) -> list[File]:
    files = []
    kernel, cmdline = kernel_file(machine), cmdline_file(machine)
    if kernel is not None:
        files.append(File("-kernel", *kernel))
    files.append(_recipe("-initrd.img", initrd(machine)))
    if cmdline is not None:
        files.append(File("-cmdline", *cmdline))
    return files


def _root_on(type: RootType, ending: str) -> Callable[[MachinePlan], list[File]]:
    def files(machine: MachinePlan) -> list[File]:
        kernel, cmdline, initrd = kernel_file(machine), cmdline_file(machine), root_initrd(machine, type)
        step, output = root_disk(machine, type)
        made = [File(ending, step, output, recipe=output == "recipe")]
        if kernel is not None:
            made.append(File("-kernel", *kernel))
        if initrd is not None:
            made.append(File("-initrd.img", *initrd, optional=True))
        if cmdline is not None:
            made.append(File("-cmdline", *cmdline))
        return made

    return files


def _kernel_initrd_tar(machine: MachinePlan) -> list[File]:
    return [_recipe("-initrd.tar", media.kernel_initrd_tar(machine))]


def _recipe(ending: str, step: str) -> File:
    return File(ending, step, "recipe", recipe=True)


def _tar(machine: MachinePlan) -> list[File]:
    return [_recipe(".tar", tar(machine))]


def _docker(machine: MachinePlan) -> list[File]:
    return [_recipe(".docker", docker(machine))]


def _oci(machine: MachinePlan) -> list[File]:
    return [File("-oci", oci_layout(machine), "tree", tree=True)]


def _firecracker(machine: MachinePlan) -> list[File]:
    kernel, config = media.firecracker(machine)
    return [
        File("-firecracker/vmlinux", kernel, "kernel"),
        _recipe("-firecracker/initrd.img", initrd(machine)),
        File("-firecracker/config.json", config, "config"),
    ]


def _rpi3(machine: MachinePlan) -> list[File]:
    return [_recipe(".tar", media.rpi3(machine))]


def _medium(maker: str, ending: str, format: str) -> Callable[[MachinePlan], list[File]]:
    def files(machine: MachinePlan) -> list[File]:
        size = machine.style.size if maker.endswith("disk") else None
        return [_recipe(ending, media.medium(machine, maker, format, size))]

    return files


def _converted(maker: str, format: str, ending: str, size: int | None = None) -> Callable[[MachinePlan], list[File]]:
    """A disk in another format: that of `maker`, or the UEFI disk where machines have no BIOS."""

    def files(machine: MachinePlan) -> list[File]:
        wanted = machine.style.size if machine.style.size is not None else size
        disk = maker if machine.style.architecture in BIOS else "efi-disk"
        # Google's disks have whole GiB, and a GPT has its copy at the end.
        unit = 1024 if format == "gcp" and disk == "efi-disk" else 1
        raw = media.medium(machine, disk, format, wanted, unit)
        step, output = media.converted(machine, raw, format, wanted if format == "raw" else None)
        return [File(ending, step, output, recipe=output == "recipe")]

    return files


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("kernel+initrd", "kernel, initrd and command line, for QEMU, PXE or a boot loader", _kernel_initrd),
        Format("tar", "the root filesystem as a tar, with kernel and command line in boot/", _tar),
        Format("docker", "the same tar with a Dockerfile, for docker build", _docker),
        Format("oci", "the root filesystem as an OCI image layout, ready to be pushed", _oci),
        Format(
            "kernel+squashfs",
            "kernel, command line, and the root filesystem as SquashFS",
            _root_on("squashfs", "-squashfs.img"),
            loaders=True,
            mksquashfs=True,
        ),
        Format(
            "kernel+erofs",
            "kernel, command line, and the root filesystem as EROFS",
            _root_on("erofs", "-erofs.img"),
            True,
        ),
        Format(
            "kernel+iso", "kernel, command line, and the root filesystem as an ISO", _root_on("iso9660", ".iso"), True
        ),
        Format("tar-kernel-initrd", "kernel, initrd and command line in a tar", _kernel_initrd_tar),
        Format("iso-bios", "an ISO that boots by BIOS", _medium("bios-iso", ".iso", "iso-bios"), True),
        Format("iso-efi", "an ISO that boots by UEFI", _medium("efi-iso", "-efi.iso", "iso-efi"), True),
        Format(
            "iso-efi-initrd",
            "an ISO that boots by UEFI, kernel and initrd in it as files",
            _medium("efi-initrd-iso", "-efi-initrd.iso", "iso-efi-initrd"),
            True,
        ),
        Format(
            "iso-hybrid", "an ISO that boots by BIOS and UEFI", _medium("hybrid-iso", "-hybrid.iso", "iso-hybrid"), True
        ),
        Format("raw-bios", "a disk that boots by BIOS", _medium("bios-disk", "-bios.img", "raw-bios"), True),
        Format("raw-efi", "a disk that boots by UEFI", _medium("efi-disk", "-efi.img", "raw-efi"), True),
        Format("raw-hybrid", "a disk that boots by both", _medium("hybrid-disk", "-hybrid.img", "raw-hybrid"), True),
        Format("qcow2-bios", "raw-bios for QEMU", _converted("bios-disk", "qcow2", ".qcow2", media.DEFAULT_SIZE), True),
        Format("qcow2-efi", "raw-efi for QEMU", _converted("efi-disk", "qcow2", "-efi.qcow2"), True),
        Format("qcow2-hybrid", "raw-hybrid for QEMU", _converted("hybrid-disk", "qcow2", "-hybrid.qcow2"), True),
        Format("aws", "a disk for Amazon EC2", _converted("bios-disk", "raw", ".raw", media.DEFAULT_SIZE), True),
        Format("gcp", "a disk for Google Compute Engine", _converted("bios-disk", "gcp", ".img.tar.gz"), True),
        Format("vhd", "a fixed disk for Azure and Hyper-V", _converted("bios-disk", "vhd", ".vhd"), True),
        Format("dynamic-vhd", "a growing disk for Hyper-V", _converted("bios-disk", "dynamic-vhd", ".vhd"), True),
        Format("vhdx", "a disk for Hyper-V, BIOS and UEFI", _converted("hybrid-disk", "vhdx", ".vhdx"), True),
        Format("vmdk", "a disk for VMware", _converted("bios-disk", "vmdk", ".vmdk"), True),
        Format("uki", "one UEFI program, ready to be signed", _medium("uki", ".efi", "uki"), True),
        Format("firecracker", "plain kernel, initrd and configuration for Firecracker", _firecracker),
        Format("rpi3", "a Raspberry Pi 3's first partition in a tar", _rpi3, True),
    )
}
