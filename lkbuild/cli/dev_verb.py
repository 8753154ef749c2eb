"""`lkbuild dev`: build, run, and change what runs with every save."""

from __future__ import annotations

from lkbuild.cli.build_verb import asked_for
from lkbuild.cli.developing import DEV_OPTIONS, develop
from lkbuild.cli.flags import Command, Given, flags_of
from lkbuild.engine.arguments import BUILD_OPTIONS
from lkbuild.engine.project import Show


def work(given: Given, show: Show) -> int:
    """Do it until interrupted."""
    return develop(asked_for(given, DEV_OPTIONS), show)


command = Command(
    "lkbuild dev [FLAGS] SPEC [SPEC ...]",
    "Build a machine, run it under QEMU, and watch all it is built from: a service that changed is put into the machine"
    " and started anew alone; anything else that changed boots it anew.  Ctrl-C powers it off.",
    flags_of((*(option for option in BUILD_OPTIONS if option.name not in ("format", "key")), *DEV_OPTIONS)),
    work,
    ("spec", *(option.name for option in (*BUILD_OPTIONS, *DEV_OPTIONS))),
)
