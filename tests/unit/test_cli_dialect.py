"""What errors call options: as words to who wrote words, as flags to who wrote flags."""

from __future__ import annotations

import pytest

from lkbuild.cli import build_verb, cache_verb, run_verb
from lkbuild.cli.dialect import InFlags
from lkbuild.cli.flags import Command
from lkbuild.engine.report import Failed, Refused, Report
from lkbuild.errors import ImageError, LkbuildError, Origin, Problem, SpecError, StepError, UsageError

BUILD, CACHE, RUN = build_verb.command, cache_verb.command, run_verb.command


class Kept(list[Report]):
    """A display that shows nothing."""

    def __call__(self, report: Report) -> None:
        self.append(report)

    def close(self) -> None:
        """See lkbuild.engine.project.Show."""


@pytest.mark.parametrize(
    ("command", "text", "spoken"),
    [
        (BUILD, "add a kernel section; or format=tar", "add a kernel section; or --format=tar"),
        (BUILD, "say offline=yes or offline=no", "say --offline or --offline=no"),
        (BUILD, "build once without offline=yes / pull=never", "build once without --offline / --pull=never"),
        (BUILD, "other names (name=NAME) or (dir=DIR), or", "other names (--name=NAME) or (--dir=DIR), or"),
        (BUILD, "leave key= out", "leave --key out"),
        (BUILD, "say pull=missing|always|never", "say --pull=missing|always|never"),
        (BUILD, "say lock=yes|no", "say --lock=yes|no"),
        (BUILD, "images=/a: is no store", "--images=/a: is no store"),
        (BUILD, "say spec=FILE; there are a, b", "say lkbuild build FILE; there are a, b"),
        (BUILD, "name the files in it: spec='x/*.yml'", "name the files in it: spec='x/*.yml'"),
        (BUILD, "build it: doit build spec=a.yml format=tar", "build it: doit build spec=a.yml format=tar"),
        (BUILD, "`doit lock dir=x` adds it; or dir=DIR", "`doit lock dir=x` adds it; or --dir=DIR"),
        (BUILD, "sbom_output=/x is no file", "--sbom-output=/x is no file"),
        (BUILD, "found 'name=x', a.dir=y, -name=z, noname=1", "found 'name=x', a.dir=y, -name=z, noname=1"),
        (RUN, "say disk=format=raw,file=FILE", "say --disk=format=raw,file=FILE"),
        (RUN, "say arch=arm64", "say --arch=arm64"),
        (CACHE, "name it with cache=DIR or LKBUILD_CACHE", "name it with --cache=DIR or LKBUILD_CACHE"),
        (CACHE, "say format=tar", "say format=tar"),
    ],
)
def test_options_are_called_as_flags(command: Command, text: str, spoken: str) -> None:
    assert InFlags(Kept(), command).spoken(text) == spoken


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (UsageError("name=x is none", "say dir=DIR"), "--name=x is none", "say --dir=DIR"),
        (ImageError("images=a: is none", None), "--images=a: is none", None),
        (StepError("cmdline has name=x", "say dir=DIR"), "cmdline has name=x", "say --dir=DIR"),
        (LkbuildError("there is name=x", None), "there is name=x", None),
    ],
)
def test_what_is_quoted_stays(error: LkbuildError, message: str, hint: str | None) -> None:
    kept = Kept()
    InFlags(kept, BUILD)(Failed(error, "task"))
    (shown,) = kept
    assert isinstance(shown, Failed)
    assert (shown.error.message, shown.error.hint, shown.task) == (message, hint, "task")


def test_of_specs_the_hints_are_spoken_and_the_order_stays() -> None:
    kept = Kept()
    problems = (Problem(Origin("b.yml", 2), "dir=x", "say dir=DIR"), Problem(Origin("a.yml", 1), "y"))
    InFlags(kept, BUILD)(Refused("b.yml", SpecError(problems, in_order=True)))
    (shown,) = kept
    assert isinstance(shown, Refused) and isinstance(shown.error, SpecError)
    assert [(p.message, p.hint) for p in shown.error.problems] == [("dir=x", "say --dir=DIR"), ("y", None)]
