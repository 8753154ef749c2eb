"""What is in a machine as a document, SPDX or CycloneDX, of what is in its images; and which kernel it has."""

from __future__ import annotations

from lkbuild.contents import cyclonedx, spdx
from lkbuild.contents.bill import Bill, Listed, Used
from lkbuild.contents.model import Contents
from lkbuild.disk.release import kernel_release
from lkbuild.errors import StepError
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
    kernel = work.input("kernel").read_bytes() if "kernel" in work.inputs else None
    return bill_of(params, [item.path.read_bytes() for item in work.numbered("contents")], kernel)


def bill_of(params: MachineContents, contents: list[bytes], kernel: bytes | None) -> Bill:
    """The same of what the inputs hold."""
    images = listed(params.images, contents)
    release = None if kernel is None else kernel[:_MAX_RELEASE].decode("ascii", "replace")
    return Bill(params.name, params.architecture, params.supplier, release, images)


def listed(images: tuple[Used, ...], contents: list[bytes]) -> tuple[Listed, ...]:
    """Each image with its contents, which stand in the same order; StepError where there are not as many."""
    if len(images) != len(contents):
        raise StepError(f"{len(contents)} lists of contents for {len(images)} images", "build again")
    return tuple(Listed(used, Contents.decode(data)) for used, data in zip(images, contents, strict=True))
