"""`lkbuild why`: what changed since the last build."""

from __future__ import annotations

import dataclasses

from lkbuild.cli.flags import Command, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.cli.spec_names import each_spec
from lkbuild.engine.arguments import BUILD_OPTIONS
from lkbuild.engine.project import Show


def work(given: Given, show: Show) -> int:
    """Say why the tasks named after the spec would run, or ran; without any, why what is built would be."""
    specs = () if any(name == "spec" for name, _ in given.words) else given.names[:1]
    asked = each_spec(dataclasses.replace(given, names=specs))
    from lkbuild.engine.asking import why

    return why(asked, given.names[len(specs) :], PROJECT.prepare, show)


command = Command(
    "lkbuild why [FLAGS] SPEC [TASK ...]",
    "Say what is not as it was when the machine was last built, back to the param, file or tag that changed.",
    flags_of(BUILD_OPTIONS),
    work,
    ("spec", *(option.name for option in BUILD_OPTIONS)),
)
