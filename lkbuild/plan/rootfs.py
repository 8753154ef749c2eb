"""The steps that put a machine's segments together."""

from __future__ import annotations

from lkbuild.plan.kinds import Rootfs
from lkbuild.plan.machine import MachinePlan, Placed
from lkbuild.plan.media_kinds import OciLayout
from lkbuild.plan.segments import segments
from lkbuild.plan.step import Input, Step


def initrd(machine: MachinePlan) -> str:
    """The step that makes the machine's initrd (output `recipe`)."""
    placed = segments(machine, "cpio")
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
    return _tar(machine, "tar", "tar", segments(machine, "tar"))


def docker(machine: MachinePlan) -> str:
    """The step that makes the same tar with a Dockerfile in it (output `recipe`)."""
    return _tar(machine, "docker", "docker", segments(machine, "tar"))


def _tar(machine: MachinePlan, name: str, kind: str, placed: list[Placed]) -> str:
    inputs = tuple(i for n, p in enumerate(placed) for i in _segment_inputs(n, p.step))
    params = Rootfs(tuple(p.owner for p in placed), "tar")
    return machine.add(Step(f"{name}:{machine.spec.name}", kind, params, inputs, None, machine.file_places()))


def container(machine: MachinePlan) -> str:
    """The step that makes the root filesystem without the machine's kernel and command line as a tar (`recipe`)."""
    placed = segments(machine, "tar")
    boot = {step.name for step in machine.steps if step.kind == "boot"}
    return _tar(machine, "container", "tar", [p for p in placed if p.step not in boot])


def oci_layout(machine: MachinePlan) -> str:
    """The step that makes the root filesystem, without kernel and command line, as an OCI image layout (`tree`)."""
    params = OciLayout(machine.spec.name, machine.style.architecture)
    inputs = (Input("tar", container(machine), "recipe"),)
    return machine.add(Step(f"oci:{machine.spec.name}", "oci-layout", params, inputs))
