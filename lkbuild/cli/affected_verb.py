"""`lkbuild affected`: which specs a change reaches, for those who build only what they must."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.engine.events import Said, Told
from lkbuild.engine.project import Show
from lkbuild.errors import UsageError


def work(given: Given, show: Show) -> int:
    """Name the specs, a line each; with --json as one list, which is what a matrix of jobs takes."""
    from lkbuild.engine.affected import Question, affected

    said = dict(given.words)
    if not said.get("since"):
        raise UsageError("since when?", "say lkbuild affected --since REVISION, origin/main for instance")
    images = tuple(Path(value).expanduser() for name, value in given.words if name == "images")
    names = (*given.names, *(value for name, value in given.words if name == "spec"))
    answer = affected(Question(said["since"], names, images), Path())
    if said.get("json") == "yes":
        sys.stdout.write(json.dumps([each.spec for each in answer.affected]) + "\n")
        return 0
    for name in answer.deleted:
        show(Said(f"{name} is no longer there"))
    for each in answer.affected:
        if each.unreadable:
            show(Said(f"{each.spec} cannot be read, and counts as affected: {each.unreadable}"))
        show(Told(each.spec))
        for reason in each.reasons if said.get("why") == "yes" else ():
            show(Told(f"  {reason}"))
    return 0


command = Command(
    "lkbuild affected --since REVISION [FLAGS] [SPEC ...]",
    "Name the specs that changes reach, in commits since REVISION and in the working tree, without building.",
    (
        Flag(
            ("since",), "since", "compare with where this branch left that revision (branch, tag, commit)", "REVISION"
        ),
        Flag(("why",), "why", "name below each spec what changed", bare="yes"),
        Flag(("json",), "json", "one list of specs, as a matrix of CI jobs takes it", bare="yes"),
        Flag(("images",), "images", "an image layout or archive that builds look into; can be repeated", "PATH"),
    ),
    work,
    ("spec", "since", "images"),
)
