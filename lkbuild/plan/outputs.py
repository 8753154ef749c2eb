"""The formats lkbuild writes, and the steps and files of each: a new format is a row here and a file in `steps/`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lkbuild.errors import UsageError
from lkbuild.plan.graph import Graph, Output, OutputFile
from lkbuild.plan.kinds import Rootfs, Text
from lkbuild.plan.machine import MachinePlan, Materials, Style
from lkbuild.plan.step import Input, Step
from lkbuild.spec.model import Spec

DEFAULT_FORMAT = "kernel+initrd"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a format: its name is the machine's name plus `ending`."""

    ending: str
    step: str
    output: str
    recipe: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A format: what it is for, and how its files are planned."""

    name: str
    summary: str
    files: Callable[[MachinePlan], list[File]]


def plan(spec: Spec, materials: Materials, style: Style, formats: Iterable[str], directory: Path) -> Graph:
    """The graph of one machine in these formats, its files in `directory` (absolute).  UsageError for a bad format."""
    machine = MachinePlan(spec, materials, style)
    outputs = []
    for name in dict.fromkeys(formats):
        files = tuple(
            OutputFile(str(directory / f"{spec.name}{file.ending}"), file.step, file.output, file.recipe)
            for file in known_format(name).files(machine)
        )
        outputs.append(Output(spec.name, name, files))
    return Graph(tuple(machine.steps.values()), tuple(outputs))


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


def _kernel_initrd(machine: MachinePlan) -> list[File]:
    files = []
    kernel = machine.kernel()
    if kernel is not None and machine.spec.kernel is not None:
        other = machine.override("boot/kernel")
        step, output = (machine.add(other), "text") if other else (kernel, "kernel")
        files.append(File("-kernel", step, output))
    files.append(File("-initrd.img", initrd(machine), "recipe", recipe=True))
    if machine.spec.kernel is not None:
        other = machine.override("boot/cmdline")
        cmdline = Step(f"text:{machine.spec.name}/cmdline", "text", Text(machine.spec.kernel.cmdline))
        if other or machine.spec.kernel.cmdline:
            files.append(File("-cmdline", machine.add(other or cmdline), "text"))
    return files


def _tar(machine: MachinePlan) -> list[File]:
    placed = machine.segments("tar")
    inputs = tuple(i for n, p in enumerate(placed) for i in _segment_inputs(n, p.step))
    params = Rootfs(tuple(p.owner for p in placed), "tar")
    step = Step(f"tar:{machine.spec.name}", "tar", params, inputs, None, machine.file_places())
    return [File(".tar", machine.add(step), "recipe", recipe=True)]


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("kernel+initrd", "kernel, initrd and command line, for QEMU, PXE or a boot loader", _kernel_initrd),
        Format("tar", "the root filesystem as a tar, with kernel and command line in boot/", _tar),
    )
}
