"""The steps that put a machine's segments together, and the files that stand beside its initrd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lkbuild.plan.kinds import Rootfs, Text
from lkbuild.plan.media_kinds import OciLayout
from lkbuild.plan.step import Input, Step

if TYPE_CHECKING:
    from lkbuild.plan.machine import MachinePlan, Placed


def initrd(machine: MachinePlan) -> str:
    """The step that makes the machine's initrd (output `recipe`)."""
    placed = machine.segments("cpio")
    kernel = machine.kernel()
    ucode = kernel is not None and machine.spec.kernel is not None and machine.spec.kernel.ucode is not None
    inputs = [i for n, p in enumerate(placed) for i in _segment_inputs(n, p.step)]
    if ucode:
        inputs.append(Input("ucode", kernel, "ucode"))
    params = Rootfs(tuple(p.owner for p in placed), "cpio", ucode)
    step = Step(f"initrd:{machine.spec.name}", "initrd", params, tuple(inputs), None, machine.file_places())
    return machine.add(step)


def _segment_inputs(number: int, step: str) -> tuple[Input, Input]:
    return Input(f"segment{number}", step, "segment"), Input(f"index{number}", step, "index")


def tar(machine: MachinePlan) -> str:
    """The step that makes the machine's root filesystem as a tar (output `recipe`)."""
    return _tar(machine, "tar", "tar", machine.segments("tar"))


def docker(machine: MachinePlan) -> str:
    """The step that makes the same tar with a Dockerfile in it (output `recipe`)."""
    return _tar(machine, "docker", "docker", machine.segments("tar"))


def _tar(machine: MachinePlan, name: str, kind: str, placed: list[Placed]) -> str:
    inputs = tuple(i for n, p in enumerate(placed) for i in _segment_inputs(n, p.step))
    params = Rootfs(tuple(p.owner for p in placed), "tar")
    return machine.add(Step(f"{name}:{machine.spec.name}", kind, params, inputs, None, machine.file_places()))


def container(machine: MachinePlan) -> str:
    """The step that makes the root filesystem without the machine's kernel and command line as a tar (`recipe`)."""
    placed = machine.segments("tar")
    boot = {step.name for step in machine.steps if step.kind == "boot"}
    return _tar(machine, "container", "tar", [p for p in placed if p.step not in boot])


def oci_layout(machine: MachinePlan) -> str:
    """The step that makes the root filesystem, without kernel and command line, as an OCI image layout (`tree`)."""
    params = OciLayout(machine.spec.name, machine.style.architecture)
    inputs = (Input("tar", container(machine), "recipe"),)
    return machine.add(Step(f"oci:{machine.spec.name}", "oci-layout", params, inputs))


def kernel_file(machine: MachinePlan) -> tuple[str, str] | None:
    """The step and output that is the machine's kernel: the image's, or what `files` puts at boot/kernel."""
    kernel = machine.kernel()
    if kernel is None:
        return None
    other = machine.override("boot/kernel")
    return (machine.add(other), "text") if other else (kernel, "kernel")


def cmdline_file(machine: MachinePlan) -> tuple[str, str] | None:
    """The step and output that is the command line, None where it is empty."""
    if machine.spec.kernel is None:
        return None
    cmdline = machine.spec.kernel.cmdline
    step = machine.override("boot/cmdline")
    if step is None and cmdline:
        step = Step(f"text:{machine.spec.name}/cmdline", "text", Text(cmdline))
    return (machine.add(step), "text") if step else None


def ucode_file(machine: MachinePlan) -> tuple[str, str] | None:
    """The step and output that is the microcode, None where the spec names none."""
    kernel = machine.kernel()
    wanted = kernel is not None and machine.spec.kernel is not None and machine.spec.kernel.ucode is not None
    return (kernel, "ucode") if kernel is not None and wanted else None
