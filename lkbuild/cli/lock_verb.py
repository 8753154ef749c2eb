"""`lkbuild lock`: what the tags and packages of specs mean now, written beside them."""

from __future__ import annotations

from lkbuild.cli.flags import Command, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.cli.spec_names import each_spec
from lkbuild.engine.arguments import BUILD_OPTIONS
from lkbuild.engine.project import Show

_TAKES = ("arch", "name", "pull", "offline", "cache", "images", "docker", "json", "quiet", "verbose")

LOCK_OPTIONS = tuple(option for option in BUILD_OPTIONS if option.name in _TAKES)


def work(given: Given, show: Show) -> int:
    """Write the lock files of the specs named; each is a machine of its own."""
    return PROJECT.lock(each_spec(given), show, False)


command = Command(
    "lkbuild lock [FLAGS] SPEC [SPEC ...]",
    "Write a lock file beside each spec: images by digest, packages by version.  What is locked already stays.",
    flags_of(LOCK_OPTIONS),
    work,
    ("spec", *_TAKES),
)
