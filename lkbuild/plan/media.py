"""Outputs that boot from a disk, a CD or firmware: the loader's files, the medium, and other formats of it."""

from __future__ import annotations

from lkbuild.errors import UsageError
from lkbuild.plan.boot_files import cmdline_file, kernel_file, ucode_file
from lkbuild.plan.machine import MachinePlan, short
from lkbuild.plan.media_kinds import (
    BIOS_DISK,
    BIOS_ISO,
    EFI,
    MENU,
    ROOT,
    Converted,
    FirecrackerConfig,
    Firmware,
    KernelInitrdTar,
    LoaderRole,
    Loaders,
    Medium,
    Rpi3,
    Unpacked,
)
from lkbuild.plan.possible import BIOS
from lkbuild.plan.rootfs import initrd
from lkbuild.plan.step import Input, Step

ROLES: dict[str, tuple[LoaderRole, ...]] = {
    "bios-disk": BIOS_DISK,
    "efi-disk": EFI,
    "hybrid-disk": (*BIOS_DISK, *MENU),
    "bios-iso": BIOS_ISO,
    "efi-iso": EFI,
    "hybrid-iso": (*BIOS_ISO, *EFI),
    "efi-initrd-iso": MENU,
    "uki": EFI,
    "root-initrd": ROOT,
}
"""What each medium needs of the boot loaders' image."""

DEFAULT_SIZE = 1024
"""MB of an `aws` or `qcow2-bios` disk, as LinuxKit has it."""


def medium(machine: MachinePlan, maker: str, format: str, size: int | None = None, unit: int = 1) -> str:
    """The step whose `recipe` is a medium that boots the machine; `format` is for messages, the rest as in `Medium`."""
    inputs = _boot_inputs(machine, format)
    if machine.style.architecture not in BIOS:
        inputs = (_program(machine, inputs[0]), *inputs[1:])
    inputs += loaders(machine, maker, format)
    params = Medium(maker, machine.spec.name, size, unit)
    return machine.add(Step(f"{maker}:{machine.spec.name}", "medium", params, inputs, machine.spec.origin("kernel")))


def loaders(machine: MachinePlan, maker: str, format: str) -> tuple[Input, ...]:
    """What a maker needs of the boot loaders' image, as inputs; `format` is for messages."""
    roles, image = ROLES[maker], machine.style.bootloader
    if image is None:
        raise UsageError(f"{format} needs boot loaders, and no image of them is known", "name one: bootloader=IMAGE")
    params = Loaders(machine.style.architecture, roles)
    step = machine.add(Step(f"loaders:{short(image)}/{maker}", "loaders", params, machine.image(image)))
    return tuple(Input(role, step, role) for role in roles)


def _program(machine: MachinePlan, kernel: Input) -> Input:
    """The kernel as UEFI firmware starts it: a bzImage is a program, where others' kernels may be compressed whole."""
    params = Unpacked(machine.style.architecture, program=True)
    name = f"program:{machine.spec.name}"
    step = machine.add(Step(name, "unpacked", params, (kernel,), machine.spec.origin("kernel")))
    return Input("kernel", step, "kernel")


def _boot_inputs(machine: MachinePlan, format: str) -> tuple[Input, ...]:
    """Kernel, initrd and, unless it is empty, the command line; ValueError where the spec has no kernel."""
    kernel, cmdline = kernel_file(machine), cmdline_file(machine)
    if kernel is None:
        raise ValueError(f"{format} without a kernel, which `plan.possible` refuses")
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


def rpi3(machine: MachinePlan) -> str:
    """The step whose `recipe` is a tar of a Raspberry Pi 3's first partition."""
    inputs = _boot_inputs(machine, "rpi3")
    loader = machine.style.bootloader
    if loader is None:
        raise UsageError("rpi3 needs a Raspberry Pi's firmware, and no image of it is known", "bootloader=IMAGE")
    brought, kernel = machine.image(loader), machine.kernel()
    if kernel is not None and machine.spec.kernel is not None and machine.spec.kernel.tar:
        brought += (Input("tar", kernel, "tar"),)
    step = machine.add(Step(f"firmware:{short(loader)}", "firmware", Firmware(), brought))
    inputs += tuple(Input(role, step, role) for role in ("image", "trees", "script"))
    return machine.add(Step(f"rpi3:{machine.spec.name}", "rpi3", Rpi3(), inputs, machine.spec.origin("kernel")))


def firecracker(machine: MachinePlan) -> tuple[str, str]:
    """The steps whose `kernel` is a kernel that Firecracker starts, and whose `config` is the machine for it."""
    roles = {item.role: item for item in _boot_inputs(machine, "firecracker")}
    origin = machine.spec.origin("kernel")
    params = Unpacked(machine.style.architecture)
    plain = Step(f"unpacked:{machine.spec.name}", "unpacked", params, (roles["kernel"],), origin)
    told = tuple(roles[role] for role in ("initrd", "cmdline") if role in roles)
    config = Step(f"firecracker-config:{machine.spec.name}", "firecracker-config", FirecrackerConfig(), told, origin)
    return machine.add(plain), machine.add(config)
