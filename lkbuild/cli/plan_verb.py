"""`lkbuild plan`: what a build would do."""

from __future__ import annotations

from lkbuild.cli.build_verb import asked_for, jobs_of
from lkbuild.cli.flags import Command, Flag, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.engine.arguments import BUILD_OPTIONS
from lkbuild.engine.project import Show


def work(given: Given, show: Show) -> int:
    """Tell what a build of these specs would do; names are merged into one machine, as `lkbuild build` does."""
    asked = asked_for(given)
    from lkbuild.engine.asking import plan

    return plan(asked, jobs_of(dict(asked.rest).get("jobs")), PROJECT.prepare, show)


command = Command(
    "lkbuild plan [FLAGS] SPEC [SPEC ...]",
    "Tell what a build would do and why: steps that would run, bytes to fetch and to write, seconds expected.",
    (
        *flags_of(BUILD_OPTIONS),
        Flag(("jobs", "n", "j"), "jobs", "steps carried out at once; as many as there are processors", "N"),
    ),
    work,
    ("spec", *(option.name for option in BUILD_OPTIONS)),
)
