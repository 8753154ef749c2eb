"""What a machine may weigh at most, as its spec says; no step knows of it."""

from __future__ import annotations

from typing import Literal

from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.spec.model import Spec

Which = Literal["image", "memory"]
"""Bytes of an output's files together; bytes of memory without which the initrd cannot be unpacked."""


@frozen
class Limit:
    """One limit in bytes, and where the spec says it."""

    which: Which
    bytes: int
    origin: Origin


@frozen
class Budget:
    """The limits of a machine; its kernel's command line, which has a part in how much memory it needs."""

    limits: tuple[Limit, ...]
    cmdline: str


def budget_of(spec: Spec) -> Budget | None:
    """What the spec says; None where it says nothing."""
    sizes: tuple[tuple[Which, int | None], ...] = (("image", spec.budget.image), ("memory", spec.budget.memory))
    limits = tuple(Limit(which, size, spec.origin("budget", which)) for which, size in sizes if size is not None)
    return Budget(limits, spec.kernel.cmdline if spec.kernel else "") if limits else None
