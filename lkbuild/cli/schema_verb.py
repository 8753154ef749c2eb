"""`lkbuild schema`: what editors check specs by."""

from __future__ import annotations

import sys
from importlib.resources import files

from lkbuild.cli.flags import Command, Given
from lkbuild.engine.project import Show


def work(_given: Given, _show: Show) -> int:
    """Print the JSON schema of specs."""
    sys.stdout.write((files("lkbuild.spec") / "spec.schema.json").read_text("utf-8"))
    return 0


command = Command("lkbuild schema", "Print the JSON schema of specs.", (), work)
