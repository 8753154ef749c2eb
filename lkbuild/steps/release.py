"""Telling which kernel a machine has."""

from __future__ import annotations

from lkbuild.disk.release import kernel_release
from lkbuild.plan.contents_kinds import KernelRelease
from lkbuild.steps.work import Work


def release(params: KernelRelease, work: Work) -> None:
    """Writes `release`, empty where the kernel does not tell it."""
    plain = work.output("plain")
    found = kernel_release(work.input("kernel"), params.architecture, plain)
    plain.unlink(missing_ok=True)
    work.output("release").write_text(found, "ascii")
