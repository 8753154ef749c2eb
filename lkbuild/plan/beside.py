"""What lies beside a machine's outputs: what is in it, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild import __version__
from lkbuild.contents.provenance import Made
from lkbuild.digest import Digest
from lkbuild.plan.contents import document, places, used_images
from lkbuild.plan.contents_kinds import Hashes, Provenance
from lkbuild.plan.graph import Output, OutputFile
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.machine import MachinePlan
from lkbuild.plan.step import Input, Step
from lkbuild.spec.metadata import metadata_json

SPDX, CYCLONEDX, PROVENANCE = ".spdx.json", ".cdx.json", ".provenance.json"


def beside(machine: MachinePlan, outputs: tuple[Output, ...], stem: str) -> tuple[Output, ...]:
    """The outputs that tell of `outputs`, all of them those of one machine; `stem` is what their paths begin with."""
    found: list[Output] = []
    name, style = machine.spec.name, machine.style
    if style.sbom != "no":
        files = [OutputFile(f"{stem}{SPDX}", document(machine, "spdx"), "document")]
        if style.sbom == "cyclonedx":
            files.append(OutputFile(f"{stem}{CYCLONEDX}", document(machine, "cyclonedx"), "document"))
        found.append(Output(name, "sbom", tuple(files), beside=True))
    if style.recorded is not None:
        file = OutputFile(f"{stem}{PROVENANCE}", _provenance(machine, (*outputs, *found), stem), "statement")
        found.append(Output(name, "provenance", (file,), beside=True))
    return tuple(found)


def _provenance(machine: MachinePlan, outputs: Iterable[Output], stem: str) -> str:
    """The step that writes where the files of `outputs` come from."""
    outputs = tuple(outputs)
    files = dict.fromkeys(file for output in outputs for file in output.files)
    inputs = tuple(Input(f"hashes{n}", _hashes(machine, file), "hashes") for n, file in enumerate(files))
    images = list(places(machine))
    loaders = machine.style.bootloader
    if any(step.kind in ("loaders", "firmware") for step in machine.steps) and loaders is not None:
        images.append((machine.materials.images[loaders], "bootloader"))
    used, contents = used_images(images, machine)
    start = len(stem) - len(machine.spec.name)
    kinds = sorted({step.kind for step in machine.steps} | {"provenance"})
    made = Made(
        spec=(machine.spec.name, Digest.of(metadata_json(machine.spec).encode("utf-8", "surrogateescape"))),
        lock=machine.materials.lock,
        files=machine.materials.sources,
        formats=tuple(output.format for output in outputs if not output.beside),
        options=machine.style.recorded or (),
        kinds=tuple((kind, KINDS[kind].version) for kind in kinds),
        version=__version__,
    )
    params = Provenance(tuple(file.path[start:] for file in files), used, made)
    return machine.add(Step(f"provenance:{machine.spec.name}", "provenance", params, (*inputs, *contents)))


def _hashes(machine: MachinePlan, file: OutputFile) -> str:
    params = Hashes("tree" if file.tree else "recipe" if file.recipe else "blob")
    name = f"hashes:{file.path.rpartition('/')[2]}"
    return machine.add(Step(name, "hashes", params, (Input("output", file.step, file.output),)))
