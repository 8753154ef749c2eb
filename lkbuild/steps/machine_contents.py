"""What is in a machine as a document, SPDX or CycloneDX, of what is in its images; and which kernel it has."""

from __future__ import annotations

from lkbuild.contents import cyclonedx, spdx
from lkbuild.contents.bill import Bill, Listed
from lkbuild.contents.model import Contents
from lkbuild.disk.release import kernel_release
from lkbuild.plan.contents_kinds import KernelRelease, MachineContents
from lkbuild.steps.work import Work

_MAX_RELEASE = 128


def release(params: KernelRelease, work: Work) -> None:
    """Writes `release`, empty where the kernel does not tell it."""
    plain = work.output("plain")
    found = kernel_release(work.input("kernel"), params.architecture, plain)
    plain.unlink(missing_ok=True)
    work.output("release").write_text(found, "ascii")


def spdx_document(params: MachineContents, work: Work) -> None:
    """Writes `document`."""
    work.output("document").write_bytes(spdx.document(bill(params, work)))


def cyclonedx_document(params: MachineContents, work: Work) -> None:
    """Writes `document`."""
    work.output("document").write_bytes(cyclonedx.document(bill(params, work)))


def bill(params: MachineContents, work: Work) -> Bill:
    """The machine's contents, of the inputs `contents<N>` and `kernel`, where it has one."""
    contents = [Contents.decode(item.path.read_bytes()) for item in work.numbered("contents")]
    images = tuple(Listed(used, found) for used, found in zip(params.images, contents, strict=True))
    kernel = work.input("kernel").read_text("ascii")[:_MAX_RELEASE] if "kernel" in work.inputs else None
    return Bill(params.name, params.architecture, params.supplier, kernel, images)
