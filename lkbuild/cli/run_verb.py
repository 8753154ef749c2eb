"""`lkbuild run`: run what was built, as `linuxkit run` does."""

from __future__ import annotations

from pathlib import Path

from lkbuild.cli.flags import Command, Given, flags_of
from lkbuild.cli.running import BOOT_OPTIONS, BUILT_OPTIONS, run_built
from lkbuild.engine.arguments import order
from lkbuild.engine.project import Show
from lkbuild.errors import UsageError


def work(given: Given, show: Show) -> int:
    """Run a machine by its name under QEMU."""
    names = given.names[1:] if given.names[:1] == ("qemu",) else given.names
    if len(names) != 1:
        raise UsageError("run takes one machine", "say lkbuild run qemu NAME, with what the outputs' names begin with")
    path = Path(names[0])
    if path.suffix in (".yml", ".yaml") and path.is_file():
        raise UsageError(
            f"{path} is a spec, not a machine that was built",
            f"build it (lkbuild build {path}), then lkbuild run qemu {path.stem}",
        )
    words = (*given.words, ("name", path.name), ("dir", str(path.parent)))
    return run_built(order(words, Path(), BOOT_OPTIONS), show)


command = Command(
    "lkbuild run qemu [FLAGS] NAME",
    "Run a machine that was built: NAME is what its outputs' names begin with, with their directory.",
    flags_of((*BUILT_OPTIONS, *BOOT_OPTIONS)),
    work,
)
