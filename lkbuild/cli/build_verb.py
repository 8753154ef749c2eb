"""`lkbuild build`: LinuxKit's words for what `doit build` does."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.cli.flags import BUILD_FLAGS, Command, Given
from lkbuild.cli.project import PROJECT
from lkbuild.engine.arguments import BUILD_OPTIONS, Option, Order, order
from lkbuild.engine.building import Wish, build, skip_fresh
from lkbuild.engine.events import Writing, Wrote
from lkbuild.engine.jobs import processors
from lkbuild.engine.project import Show, nobody_reads
from lkbuild.engine.specs import no_spec
from lkbuild.errors import UsageError

if TYPE_CHECKING:
    from lkbuild.engine.session import Session
    from lkbuild.plan.graph import Output

_OTHERS = (
    Option("jobs", "N", ""),
    Option("keep_going", "yes|no", ""),
    Option("o", "FILE", ""),
    Option("ignored", "yes|no", ""),
)


def work(given: Given, show: Show) -> int:
    """Build what the command line names; the stamps are looked at before doit is loaded."""
    began = time.monotonic()
    asked = asked_for(given)
    said = dict(asked.rest)
    jobs = jobs_of(said.get("jobs"))
    left = skip_fresh(asked, show, began)
    if not left.options.machines:
        return 0
    from lkbuild.engine.running import Manners
    from lkbuild.engine.tasks import Writing

    manners = Manners(jobs=jobs, keep_going=said.get("keep_going") == "yes")
    writing = Writing(_to_stdout, lambda _output, _session: False) if left.target == "-" else None
    return build(left, Wish(manners, writing=writing, key=PROJECT.private_key), PROJECT.prepare, show)


def asked_for(given: Given, others: tuple[Option, ...] = _OTHERS) -> Order:
    """The order of a command line.  Files named are merged into one machine; with `spec=` each is one.

    `others` are the words besides those for building.
    """
    if "-" in given.names:
        raise UsageError(
            "a spec cannot come from standard input, since the paths in it are relative to where it lies",
            "save it to a file and name that",
        )
    asked = order(given.words, Path(), others, given.names)
    if not asked.options.machines:
        raise no_spec(Path())
    target = dict(asked.rest).get("o", "")
    return dataclasses.replace(asked, target=target if target in ("", "-") else os.fspath(Path(target).absolute()))


def jobs_of(said: str | None) -> int:
    """How many steps are carried out at once; UsageError where what is said is no number of them."""
    if said is None:
        return processors()
    if not said.isdecimal() or not 0 < int(said) <= 1024:
        raise UsageError(f"--jobs {said} is no number of steps", "say --jobs 4")
    return int(said)


def _to_stdout(output: Output, session: Session) -> int:
    """The output's one file, put together in the cache and copied to standard output, as far as anybody reads it."""
    from lkbuild.store.recipe import Recipe, whole

    file, store = output.files[0], session.place.store
    if file.tree:
        raise UsageError(f"{output.format} is a directory, which standard output cannot take", "say -o DIRECTORY")
    blob = session.blob(file.step, file.output)
    recipe = Recipe.load(store, blob) if file.recipe else whole(blob)
    began = time.monotonic()
    session.place.listen(Writing(output.name, "-"))
    with store.scratch() as directory:
        recipe.write(store, directory / "output")
        try:
            with (directory / "output").open("rb") as made:
                shutil.copyfileobj(made, sys.stdout.buffer, 1 << 20)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            nobody_reads()
            return 0
    session.place.listen(Wrote(output.name, "-", recipe.size, time.monotonic() - began))
    return 1


command = Command(
    "lkbuild build [FLAGS] SPEC [SPEC ...]",
    "Build a machine from specs, which are merged; or one from each with spec='specs/*.yml'.",
    BUILD_FLAGS,
    work,
    ("spec", *(option.name for option in BUILD_OPTIONS)),
)
