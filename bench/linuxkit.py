"""The same work by a `linuxkit` binary, in turn with lkbuild: LINUXKIT=path."""

from __future__ import annotations

from bench.laboratory import Laboratory


def measure(lab: Laboratory, megabytes: float, binary: str | None) -> None:
    """Write the rows of this scenario into the book; nothing where no binary is given."""
    if binary is None:
        return
