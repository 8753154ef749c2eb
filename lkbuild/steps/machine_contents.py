"""What is in a machine as a document, SPDX or CycloneDX, of what is in its images."""

from __future__ import annotations

from lkbuild.contents import cyclonedx, spdx
from lkbuild.contents.bill import Bill, listed
from lkbuild.plan.contents_kinds import MachineContents
from lkbuild.steps.work import Work

_MAX_RELEASE = 128


def spdx_document(params: MachineContents, work: Work) -> None:
    """Writes `document`."""
    work.output("document").write_bytes(spdx.document(bill(params, work)))


def cyclonedx_document(params: MachineContents, work: Work) -> None:
    """Writes `document`."""
    work.output("document").write_bytes(cyclonedx.document(bill(params, work)))


def bill(params: MachineContents, work: Work) -> Bill:
    """The machine's contents, of the inputs `contents<N>` and `kernel`, where it has one."""
    kernel = work.input("kernel").read_bytes() if "kernel" in work.inputs else None
    return bill_of(params, [item.path.read_bytes() for item in work.numbered("contents")], kernel)


def bill_of(params: MachineContents, contents: list[bytes], kernel: bytes | None) -> Bill:
    """The same of what the inputs hold."""
    images = listed(params.images, contents)
    release = None if kernel is None else kernel[:_MAX_RELEASE].decode("ascii", "replace")
    return Bill(params.name, params.architecture, params.supplier, release, images)
