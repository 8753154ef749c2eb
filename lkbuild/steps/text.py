"""A file of its own: a command line, or what the spec's `files` puts in the place of a kernel."""

from __future__ import annotations

import shutil

from lkbuild.plan.kinds import Text
from lkbuild.steps.work import Work


def text(params: Text, work: Work) -> None:
    """Writes `text`."""
    if "file" in work.inputs:
        shutil.copyfile(work.input("file"), work.output("text"))
    else:
        work.output("text").write_text(params.text, "utf-8", "surrogateescape")
