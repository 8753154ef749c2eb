"""A disk to boot a UEFI program from, such as a unified kernel image: firmware starts programs from disks only."""

from __future__ import annotations

from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.disk.boot_disk import program_disk
from lkbuild.disk.extents import Extent, Slice
from lkbuild.errors import MachineError, StepError
from lkbuild.store.recipe import Recipe

_HEAD = 4096
_ANY = Digest.of(b"")
"""There is but one file the disk is made of, so that its digest need not be known."""


def make_program_disk(program: Path, file: Path) -> None:
    """Write to `file` a disk that UEFI firmware starts `program` from; MachineError where that is no UEFI program."""
    temporary = file.with_name(f".{file.name}.new")
    try:
        with temporary.open("wb") as target:
            Recipe.of(_extents(program)).copy(lambda _: program.open("rb"), target)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _extents(program: Path) -> list[Extent]:
    with program.open("rb") as source:
        head = source.read(_HEAD)
    try:
        return program_disk(Slice(_ANY, 0, program.stat().st_size), head)
    except StepError as error:
        raise MachineError(
            f"{program} cannot be booted: it is no UEFI program, or too large", "build it again"
        ) from error
