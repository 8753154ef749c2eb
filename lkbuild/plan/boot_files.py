"""The files that stand beside a machine's initrd: its kernel, its command line, its microcode."""

from __future__ import annotations

from lkbuild.plan.kinds import Text
from lkbuild.plan.machine import MachinePlan
from lkbuild.plan.step import Step


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
