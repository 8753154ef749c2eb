"""Outputs that boot from a disk, a CD or firmware: the loader's files, the medium, and other formats of it."""

from __future__ import annotations

from lkbuild.errors import Problem, SpecError, UsageError
from lkbuild.plan.machine import MachinePlan, short
from lkbuild.plan.media_kinds import (
    BIOS_DISK,
    BIOS_ISO,
    EFI,
    MENU,
    Converted,
    KernelInitrdTar,
    LoaderRole,
    Loaders,
    Medium,
)
from lkbuild.plan.rootfs import cmdline_file, initrd, kernel_file, ucode_file
from lkbuild.plan.step import Input, Step

ROLES: dict[str, tuple[LoaderRole, ...]] = {
    "bios-disk": BIOS_DISK,
    "efi-disk": EFI,
    "hybrid-disk": (*BIOS_DISK, *MENU),
    "bios-iso": BIOS_ISO,
    "efi-iso": EFI,
    "hybrid-iso": (*BIOS_ISO, *EFI),
    "uki": EFI,
}
"""What each medium needs of the boot loaders' image."""

DEFAULT_SIZE = 1024
"""MB of an `aws` or `qcow2-bios` disk, as LinuxKit has it."""


def medium(machine: MachinePlan, maker: str, format: str, size: int | None = None) -> str:
    """The step whose `recipe` is a medium that boots the machine; `format` is for messages."""
    inputs = _boot_inputs(machine, format)
    if maker.startswith(("bios", "hybrid")):
        _only_on_x86(machine, format)
    roles = ROLES[maker]
    loader = machine.style.bootloader
    if loader is None:
        raise UsageError(f"{format} needs boot loaders, and no image of them is known", "name one: bootloader=IMAGE")
    taken = Step(
        f"loaders:{short(loader)}/{maker}", "loaders", Loaders(machine.style.architecture, roles), machine.image(loader)
    )
    step = machine.add(taken)
    inputs += tuple(Input(role, step, role) for role in roles)
    params = Medium(maker, machine.spec.name, size)
    return machine.add(Step(f"{maker}:{machine.spec.name}", "medium", params, inputs, machine.spec.origin("kernel")))


def _boot_inputs(machine: MachinePlan, format: str) -> tuple[Input, ...]:
    """Kernel, initrd and, unless it is empty, the command line; SpecError where the spec has no kernel."""
    kernel, cmdline = kernel_file(machine), cmdline_file(machine)
    if kernel is None:
        problem = Problem(
            machine.spec.origin(), f"{format} boots, and the spec has no kernel", "add a kernel section; or format=tar"
        )
        raise SpecError([problem])
    inputs = (Input("kernel", *kernel), Input("initrd", initrd(machine), "recipe"))
    return inputs if cmdline is None else (*inputs, Input("cmdline", *cmdline))


def converted(machine: MachinePlan, raw: str, format: str, size: int | None = None) -> tuple[str, str]:
    """The step, and its output, that is the disk of step `raw` in another format."""
    step = Step(f"{format}:{raw}", "converted", Converted(format, size), (Input("raw", raw, "recipe"),))
    return machine.add(step), "file" if format in ("vmdk", "gcp") else "recipe"


def kernel_initrd_tar(machine: MachinePlan) -> str:
    """The step whose `recipe` is a tar of kernel, initrd and command line."""
    inputs, ucode = _boot_inputs(machine, "tar-kernel-initrd"), ucode_file(machine)
    if ucode is not None:
        inputs += (Input("ucode", *ucode),)
    return machine.add(Step(f"tar-kernel-initrd:{machine.spec.name}", "kernel-initrd-tar", KernelInitrdTar(), inputs))


def _only_on_x86(machine: MachinePlan, format: str) -> None:
    if machine.style.architecture != "amd64":
        raise UsageError(
            f"{format} boots by BIOS, which {machine.style.architecture} machines do not have",
            "use raw-efi, qcow2-efi, iso-efi or uki",
        )
