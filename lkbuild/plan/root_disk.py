"""A root filesystem on a disk of its own, for a kernel that mounts it (`root=`); the small initrd some need for it."""

from __future__ import annotations

from lkbuild.plan.machine import MachinePlan
from lkbuild.plan.media import loaders
from lkbuild.plan.root_kinds import RootDisk, RootInitrd, RootType, SquashedRoot
from lkbuild.plan.rootfs import container
from lkbuild.plan.step import Input, Step


def root_disk(machine: MachinePlan, type: RootType) -> tuple[str, str]:
    """The step and output that is the root filesystem: everything but what lies under boot/, as LinuxKit has it."""
    inputs: tuple[Input, ...] = (Input("tar", container(machine), "recipe"),)
    kernel = machine.kernel()
    if type != "squashfs":
        params = RootDisk(type, kernel is not None)
        return machine.add(Step(f"{type}:{machine.spec.name}", "root-disk", params, inputs)), "recipe"
    # Of a kernel that `files` puts in the place of the image's nobody knows what it reads beside gzip.
    if kernel is not None and machine.override("boot/kernel") is None:
        inputs += (Input("compressor", kernel, "squashfs"),)
    squashed = SquashedRoot(kernel is not None, machine.style.mksquashfs, machine.style.profile == "release")
    return machine.add(Step(f"squashfs:{machine.spec.name}", "squashed-root", squashed, inputs)), "file"


def root_initrd(machine: MachinePlan, type: RootType) -> tuple[str, str] | None:
    """The step and output that is the small initrd, empty where the kernel needs none; None where it has no modules."""
    kernel = machine.kernel()
    if kernel is None or machine.spec.kernel is None or not machine.spec.kernel.tar:
        return None
    inputs = (Input("tar", kernel, "tar"), *loaders(machine, "root-initrd", f"a root on {type}"))
    origin = machine.spec.origin("kernel")
    step = Step(f"root-initrd:{machine.spec.name}/{type}", "root-initrd", RootInitrd(type), inputs, origin)
    return machine.add(step), "file"
