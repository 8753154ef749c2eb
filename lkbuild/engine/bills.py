"""What is in machines, without building them: only what tells their contents is made."""

from __future__ import annotations

from collections.abc import Iterator

from lkbuild.contents.bill import Bill, Listed
from lkbuild.contents.licenses import NONE, license_of
from lkbuild.contents.model import Component
from lkbuild.engine.events import Contains
from lkbuild.engine.session import Session
from lkbuild.plan.graph import OutputFile
from lkbuild.steps.machine_contents import bill_of


def documents(session: Session) -> Iterator[OutputFile]:
    """The documents of a session's machines, the SPDX one of each first."""
    for output in session.graph.outputs:
        if output.format == "sbom":
            yield from output.files


def read(session: Session, step: str, output: str) -> bytes:
    """What a step makes, made now if need be."""
    result, store = session.results.get(step), session.place.store
    if result is None or not store.has(result[output]):
        result = session.make(step)
    return store.read(result[output].digest)


def bill(session: Session, file: OutputFile) -> Bill:
    """What a document of `documents` says, as a value."""
    step = session.steps[file.step]
    texts = {i.role: read(session, i.step, i.output or "") for i in step.inputs if i.step is not None}
    kernel = texts.pop("kernel", None)
    return bill_of(step.params, list(texts.values()), kernel)


def rows(machine: Bill) -> Iterator[Contains]:
    """Every package of a machine, image by image; an image of which no package is known has a row of its own."""
    if machine.kernel is not None:
        yield Contains(machine.name, "kernel", "", "linux", machine.kernel, "", machine.kernel_supplier, "")
    for image in machine.images:
        for package in image.contents.packages:
            yield _row(machine, image, package)
        if not image.contents.packages:
            said = f"({image.comment})"
            yield Contains(machine.name, ", ".join(image.used.places), _title(image), said, "", "", "", image.purl)


def _row(machine: Bill, image: Listed, package: Component) -> Contains:
    license = license_of(package.license)
    return Contains(
        machine=machine.name,
        places=", ".join(image.used.places),
        image=_title(image),
        package=package.name,
        version=package.version,
        license="" if license.expression == NONE else package.license,
        supplier=package.supplier,
        purl=package.purl,
    )


def _title(image: Listed) -> str:
    return image.used.image.reference or image.used.image.name
