"""`lkbuild update`: lock files written anew."""

from __future__ import annotations

import dataclasses

from lkbuild.cli import lock_verb
from lkbuild.cli.flags import Given
from lkbuild.cli.project import PROJECT
from lkbuild.cli.spec_names import each_spec
from lkbuild.engine.project import Show


def work(given: Given, show: Show) -> int:
    """Ask registries and package archives anew, and renew the lock files there are."""
    return PROJECT.lock(each_spec(given), show, True)


command = dataclasses.replace(
    lock_verb.command,
    usage="lkbuild update [FLAGS] SPEC [SPEC ...]",
    about="Ask anew what the tags and packages of specs mean; renew the lock files there are.",
    work=work,
)
