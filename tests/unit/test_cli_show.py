"""What is seen of a build."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.cli.show import JsonLines, Lines, Quiet
from lkbuild.engine.events import Finished, Progressed, Said, Started, Told, Writing, Wrote
from lkbuild.engine.report import (
    Broke,
    Built,
    Expected,
    Failed,
    Interrupted,
    NotBuilt,
    Nothing,
    Planned,
    Refused,
    Report,
    Resolving,
    Skipped,
    Total,
    Unbuilt,
    Worded,
)
from lkbuild.errors import LkbuildError, Origin, Problem, SpecError

SPEC_ERROR = SpecError([Problem(Origin("b.yml", 2, 1), "second"), Problem(Origin("a.yml", 7, 3), "first", "do this")])


@dataclass(frozen=True, slots=True)
class Answer(Worded):
    """A report that knows its words."""

    text: str

    def words(self, verbose: bool) -> Iterator[str]:
        yield f"it is {self.text}"


LINES: list[tuple[Report, str, str]] = [
    (Planned(10, 3), "", ""),
    (Started("tree:services/nginx", "never made"), "", ""),
    (Progressed("pull:nginx", 1, 2), "", ""),
    (Finished("tree:services/nginx", "ran", 0.84), "tree:services/nginx  0.8 s\n", ""),
    (Finished("tree:services/nginx", "cached", 0.84), "", ""),
    (Wrote("build:n:tar", "/out/n.tar", 7_900_000), "wrote /out/n.tar (7.9 MB)\n", ""),
    (Said("lost a capability"), "", "warning: lost a capability\n"),
    (Failed(LkbuildError("no", "do")), "", "error: no\n  hint: do\n"),
    (Failed(SPEC_ERROR), "", "error: a.yml:7:3: first\n  hint: do this\nerror: b.yml:2:1: second\n"),
    (Refused("a.yml", SPEC_ERROR), "", "error: a.yml:7:3: first\n  hint: do this\nerror: b.yml:2:1: second\n"),
    (Refused("c.yml", SPEC_ERROR, again=True), "", ""),
    (Unbuilt((NotBuilt("a", "why"),), 2), "", "1 of 2 machines is not built:\n  a: why\n"),
    (Unbuilt((NotBuilt("a", "x"), NotBuilt("b", "y")), 300), "", "2 of 300 machines are not built:\n  a: x\n  b: y\n"),
    (Skipped("initrd:n", "tree:x"), "", "initrd:n: not done, since tree:x failed\n"),
    (Built("n", 3, 41, 2, 1.94, ("/a", "/b")), "n: 3 steps ran, 41 cached, 2 files written, 1.9 s\n  /a\n  /b\n", ""),
    (Built("n", 1, 2, 3, 150.0, (), together=2), "n: 1 step ran, 2 cached, 3 files written\n", ""),
    (Built("n", 1, 0, 1, 150.0, ()), "n: 1 step ran, 0 cached, 1 file written, 2 min 30 s\n", ""),
    (Total(2, 4, 5, 6, 0.5), "2 machines: 4 steps ran, 5 cached, 6 files written, 0.5 s\n", ""),
    (Nothing(("nginx",), 0.0123), "nginx: nothing to do (checked in 12 ms)\n", ""),
    (Nothing(("a", "b"), 0.1), "2 machines: nothing to do (checked in 100 ms)\n", ""),
    (Told("wrote x"), "wrote x\n", ""),
    (Writing("build:n:tar", "/out/n.tar"), "", ""),
    (Resolving(3), "", ""),
    (Expected(12.5, (("tree:x", 12.5),)), "", ""),
    (Answer("42"), "it is 42\n", ""),
    (Answer("\x1b]0;mine\x07\x9b2J"), "it is \ufffd]0;mine\ufffd\ufffd2J\n", ""),
    (Interrupted(), "", "interrupted; what was done so far is kept\n"),
]


@pytest.mark.parametrize(("report", "out", "err"), LINES)
def test_lines(report: Report, out: str, err: str) -> None:
    show = Lines(io.StringIO(), io.StringIO())
    show(report)
    assert (show.out.getvalue(), show.err.getvalue()) == (out, err)  # type: ignore[attr-defined]


def test_verbose_says_why() -> None:
    show = Lines(out := io.StringIO(), io.StringIO(), verbose=True)
    show(Started("tree:x", "never made from these inputs"))
    show(Finished("tree:x", "waited", 1))
    show(Finished("tree:y", "cached", 1))
    assert out.getvalue().splitlines() == [
        "tree:x: never made from these inputs",
        "tree:x  made by another build, in the cache",
        "tree:y  in the cache",
    ]


def test_a_bug_of_ours_asks_for_a_report() -> None:
    show = Lines(io.StringIO(), err := io.StringIO())
    show(Broke("Traceback…\nValueError: x\n", "tree:x"))
    lines = err.getvalue().splitlines()
    assert lines[:2] == ["Traceback…", "ValueError: x"]
    assert lines[2].startswith("error: tree:x: this is a bug in lkbuild ")
    assert "report" in lines[3]


def test_quiet_says_what_is_wrong_and_nothing_else() -> None:
    show = Quiet(out := io.StringIO(), err := io.StringIO())
    for report, _, _ in LINES:
        show(report)
    assert out.getvalue() == ""
    assert "error: no" in err.getvalue()
    assert "warning" not in err.getvalue()


def test_every_report_is_a_line_of_json() -> None:
    show = JsonLines(out := io.StringIO(), err := io.StringIO())
    for report, _, _ in LINES:
        show(report)
    show(Progressed("pull:x", 1, 9))
    show(Progressed("pull:x", 2, 9))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [type(r).__name__.lower() for r, _, _ in LINES], "bytes are throttled"
    assert lines[8]["error"]["problems"][0] == {
        "origin": {"file": "a.yml", "line": 7, "column": 3}, "message": "first", "hint": "do this",
    }  # fmt: skip
    assert err.getvalue() == ""


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    show = Lines(Gone(), err := io.StringIO())
    show(Told("x"))
    show(Said("y"))
    assert err.getvalue() == ""


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "name \udcff …", "name \\udcff …".encode()),
        ("latin-1", "na\u00efve …", b"na\xefve \\u2026"),
        ("ascii", "na\u00efve", b"na\\xefve"),
    ],
)
def test_what_a_stream_cannot_say_does_not_silence_it(encoding: str, text: str, shown: bytes) -> None:
    raw = io.BytesIO()
    lines = Lines(io.TextIOWrapper(raw, encoding), io.StringIO())
    lines(Told(text))
    lines(Told("and on"))
    assert raw.getvalue() == shown + b"\nand on\n"


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("version >&-", 0, ""),
        ("version 2>&-", 0, ""),
        ("version <&- >&- 2>&-", 0, ""),
        ("--help >&-", 0, ""),
        ("nosuch 2>&-", 1, ""),
        ("version >/dev/full", 1, "error: No space left on device"),
        ("--help >/dev/full", 1, "error: No space left on device"),
        ("--help | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("schema | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("version | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_streams_that_are_closed_or_that_nobody_reads(command: str, code: int, told: str, unbuffered: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m lkbuild {command}'],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[:1]) == (code, [told] if told else [])
