"""Every segment of a machine's root filesystem: what the spec says, and behind it what tells of the machine."""

from __future__ import annotations

from lkbuild.plan import contents, record
from lkbuild.plan.machine import MachinePlan, Placed

DESCRIPTIONS = ("sbom", "record")
"""The owners of segments that tell of the machine and do nothing in it."""


def segments(machine: MachinePlan, archive: str) -> list[Placed]:
    """The segments in the order they are laid down, for an initrd (`cpio`) or a tar."""
    placed = machine.segments(archive)
    told = zip(DESCRIPTIONS, (contents.segment(machine, archive), record.segment(machine, archive)), strict=True)
    return placed + [machine.place(owner, step, archive) for owner, step in told if step is not None]
