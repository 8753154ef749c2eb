"""`lkbuild version`."""

from __future__ import annotations

from lkbuild import __version__
from lkbuild.cli.flags import Command, Given
from lkbuild.engine.events import Told
from lkbuild.engine.project import Show


def work(_given: Given, show: Show) -> int:
    """Print the version."""
    show(Told(f"lkbuild {__version__}"))
    return 0


command = Command("lkbuild version", "Print the version.", (), work)
