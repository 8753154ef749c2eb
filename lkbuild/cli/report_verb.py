"""`lkbuild report`: a build and what is in its image, as a page to look at."""

from __future__ import annotations

from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given, flags_of
from lkbuild.cli.reporting import REPORT_OPTIONS, write_report
from lkbuild.engine.arguments import BUILD_OPTIONS, order
from lkbuild.engine.project import Show


def work(given: Given, show: Show) -> int:
    """Report the newest build of the specs named, which are merged as `lkbuild build` merges them; else of anything."""
    return write_report(order(given.words, Path(), REPORT_OPTIONS, given.names), show)


command = Command(
    "lkbuild report [FLAGS] [SPEC ...]",
    "Write what a build did, and what is in its image, as one HTML file: timeline, critical path, steps, sizes.",
    (
        Flag(("o", "html"), "html", "write the report there; NAME-report.html where not said", "FILE"),
        *flags_of(REPORT_OPTIONS[1:]),
        *(flag for flag in flags_of(BUILD_OPTIONS) if flag.word in ("dir", "cache", "json", "quiet")),
    ),
    work,
    ("spec", "dir", "cache", *(option.name for option in REPORT_OPTIONS)),
)
