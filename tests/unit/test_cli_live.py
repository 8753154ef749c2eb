"""The live display as a person sees it: on a pseudo-terminal, through a terminal emulator we did not write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lkbuild.cli.live import Live
from lkbuild.cli.screen import cells, cut, printable
from lkbuild.cli.show import Lines, open_show
from lkbuild.engine.events import Finished, Progressed, Said, Started, Told, Writing, Wrote
from lkbuild.engine.report import (
    Broke,
    Built,
    Expected,
    Failed,
    Interrupted,
    NotBuilt,
    Planned,
    Refused,
    Resolving,
    Unbuilt,
)
from lkbuild.errors import LkbuildError, Origin, Problem, SpecError
from tests.support.terminal import Terminal
from tests.unit.toy_project import CLI, ToyProject


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


class Clock:
    """Seconds as the test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """A display on a terminal whose time and pictures the test decides about."""

    def __init__(self, terminal: Terminal, verbose: bool = False) -> None:
        self.terminal = terminal
        self.clock = Clock()
        self.live = Live(terminal.out, terminal.out, verbose, self.clock, ticking=False)

    def after(self, seconds: float) -> list[str]:
        """The screen at the next picture so much later."""
        self.clock.now += seconds
        self.live.tick()
        return self.terminal.lines


@pytest.fixture
def shown(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Shown(terminal)


def test_getting_ready_is_told_where_it_takes_long(shown: Shown) -> None:
    shown.live(Resolving(1))
    assert shown.after(0.3) == []
    assert shown.after(0.3) == ["looking for images and packages, 0.6 s"]
    shown.live(Told("resolving Debian packages: nginx"))
    assert shown.after(0.1) == ["resolving Debian packages: nginx", "looking for images and packages, 0.7 s"]
    shown.live(Planned(0, 0))
    assert shown.after(0.1) == ["resolving Debian packages: nginx"]


PLANNED = Planned(41, 12)
BUILT = Built("nginx", 12, 29, 1, 4.2, ("/nginx.img",))


def test_what_runs_stands_at_the_bottom_with_bytes_rate_and_time(shown: Shown) -> None:
    shown.live(PLANNED)
    shown.live(Started("pull:nginx:1.25", ""))
    shown.live(Started("tree:services/redis", ""))
    shown.live(Progressed("pull:nginx:1.25", 1_000_000, 7_900_000))
    assert shown.after(0.1) == ["╌" * 20 + "  0 of 12 steps, 29 in the cache, 0.1 s"], "too short to be shown"
    shown.clock.now += 0.9
    shown.live(Progressed("pull:nginx:1.25", 3_000_000, 7_900_000))
    assert shown.after(0.0) == [
        "  pull:nginx:1.25                         3.0 MB of 7.9 MB    2.0 MB/s    1.0 s",
        "  tree:services/redis                                                     1.0 s",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  0 of 12 steps, 29 in the cache, 1.0 s",
    ]
    shown.live(Finished("tree:services/redis", "ran", 0.5))
    assert shown.after(0.1)[1:] == ["━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  1 of 12 steps, 29 in the cache, 1.1 s"]


def test_what_lasted_leaves_a_line_and_the_end_leaves_nothing_else(shown: Shown) -> None:
    shown.live(PLANNED)
    for name, seconds in (("tree:a", 0.4), ("tree:b", 1.4)):
        shown.live(Started(name, ""))
        shown.after(seconds)
        shown.live(Finished(name, "ran", seconds))
    shown.live(Writing("build:n:raw", "/n.raw"))
    assert shown.after(2)[1].startswith("  /n.raw ")
    shown.live(Wrote("build:n:raw", "/n.raw", 5_000_000_000, 2.0))
    shown.live(Wrote("build:n:tar", "/n.tar", 5, 0.1))
    shown.live(BUILT)
    shown.live.close()
    assert shown.terminal.lines == [
        "tree:b  1.4 s",
        "wrote /n.raw (5.0 GB)",
        "nginx: 12 steps ran, 29 cached, 1 file written, 4.2 s",
        "  /nginx.img",
    ]


def test_warnings_and_errors_stand_above_and_the_picture_stays_below(shown: Shown) -> None:
    shown.live(PLANNED)
    shown.live(Started("tree:a", ""))
    shown.live(Started("tree:b", ""))
    shown.after(1)
    shown.live(Told("resolving"))
    shown.live(Said("lost a capability"))
    shown.live(Failed(LkbuildError("tree:b: broken", "mend it"), "tree:b"))
    assert [line.split("   ")[0] for line in shown.after(0.1)] == [
        "resolving",
        "warning: lost a capability",
        "error: tree:b: broken",
        "  hint: mend it",
        "  tree:a",
        "╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  0 of 12 steps, 29 in the cache, 1.1 s",
    ]


def test_a_machine_that_is_refused_is_told_above_the_picture(shown: Shown) -> None:
    shown.live(Resolving(3))
    shown.after(1)
    shown.live(Refused("b.yml", SpecError([Problem(Origin("b.yml", 2), "no step", "mend it")])))
    shown.live(Refused("c.yml", SpecError([Problem(Origin("b.yml", 2), "no step", "mend it")]), again=True))
    assert shown.after(0.1)[:2] == ["error: b.yml:2: no step", "  hint: mend it"]
    shown.live(BUILT)
    shown.live(Unbuilt((NotBuilt("b", "b.yml:2: no step"),), 2))
    shown.live.close()
    assert shown.terminal.lines[-2:] == ["1 of 2 machines is not built:", "  b: b.yml:2: no step"]


def test_what_failed_no_longer_runs(shown: Shown) -> None:
    shown.live(Planned(3, 3))
    shown.live(Started("tree:a", ""))
    shown.live(Started("tree:b", ""))
    shown.live(Writing("build:n:raw", "/n.raw"))
    shown.after(1)
    shown.live(Failed(LkbuildError("no room"), "build:n:raw"))
    shown.live(Broke("ZeroDivisionError", "tree:a"))
    lines = shown.after(1)
    assert [line.split()[0] for line in lines if line.startswith("  ") and "hint" not in line] == ["tree:b"]


def test_time_left_is_told_where_it_is_known(shown: Shown) -> None:
    shown.live(Planned(2, 2))
    shown.live(Expected(10.0, (("tree:a", 8.0), ("tree:b", 8.0))))
    shown.live(Started("tree:a", ""))
    assert shown.after(0.5)[-1].endswith("0.5 s, about 10 s left"), "16 seconds of work in 10"
    assert shown.after(4.0)[-1].endswith("4.5 s, about 7 s left")
    assert shown.after(20.0)[-1].endswith("24.5 s, about 5 s left"), (
        "that it takes longer than the last time is not told"
    )
    shown.live(Finished("tree:a", "ran", 24.5))
    shown.live(Started("tree:b", ""))
    assert shown.after(8.0)[-1].endswith("32.5 s")


def test_never_more_lines_than_the_terminal_has(shown: Shown) -> None:
    shown.live(PLANNED)
    for number in range(30):
        shown.live(Started(f"tree:{number}", ""))
    assert [line.split("  ")[1] for line in shown.after(1)[:-1]] == [f"tree:{n}" for n in range(7)] + ["and 23 more"]
    for rows, names in ((5, ["tree:0", "tree:1", "and 28 more"]), (3, ["tree:0"]), (2, []), (1, [])):
        shown.live.close()
        terminal = Terminal(80, rows)
        small = Shown(terminal)
        for number in range(30):
            small.live(Started(f"tree:{number}", ""))
        assert [line.split("  ")[1] for line in small.after(1)[:-1]] == names
        small.after(1)
        assert terminal.everything == terminal.lines, "nothing scrolls away"
        terminal.close()


@pytest.mark.parametrize("columns", [20, 40, 61, 200])
def test_lines_fit_the_terminal_also_when_it_is_resized(shown: Shown, columns: int) -> None:
    shown.live(PLANNED)
    shown.live(Started("pull:docker.io/library/a-rather-long-name-of-an-image:with-a-tag", ""))
    shown.live(Progressed("pull:docker.io/library/a-rather-long-name-of-an-image:with-a-tag", 1_000_000, 7_900_000))
    shown.after(1)
    shown.terminal.resize(columns, 12)
    lines = shown.after(0.1)
    assert len([line for line in lines if "pull" in line]) == 1
    assert len([line for line in lines if " of 12" in line]) == 1
    assert all(cells(line) < columns for line in lines)
    shown.live(BUILT)
    shown.live.close()
    assert not [line for line in shown.terminal.everything if "pull" in line and columns >= 61]


def test_names_cannot_move_the_cursor(shown: Shown) -> None:
    shown.live(PLANNED)
    shown.live(Started("tree:\x1b[2J\x1b]0;title\x07\r\nfoo", ""))
    (line, _) = shown.after(1)
    assert line.startswith("  tree:�[2J�]0;title���foo ")


def test_no_colour_where_none_is_wanted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", value)
        terminal.raw = b""
        shown = Shown(terminal)
        shown.live(PLANNED)
        shown.live(Started("tree:a", ""))
        shown.live(Finished("tree:b", "ran", 0))
        assert "tree:a" in " ".join(shown.after(1))
        assert (b"m" in terminal.raw.replace(b"tree", b"").split(b"steps")[0]) == coloured
        shown.live.close()


def test_a_picture_is_one_piece_and_erases_nothing_first(shown: Shown) -> None:
    shown.live(PLANNED)
    shown.live(Started("tree:a", ""))
    shown.after(1)
    shown.terminal.raw = b""
    shown.after(0.1)
    assert shown.terminal.raw.startswith(b"\x1b[?2026h\r\x1b[1A  tree:a")
    assert shown.terminal.raw.endswith(b"\x1b[J\x1b[?2026l")


def test_nothing_more_after_an_interruption(shown: Shown) -> None:
    shown.live(PLANNED)
    shown.live(Started("tree:a", ""))
    shown.after(1)
    shown.live(Interrupted())
    shown.live(Started("tree:b", ""))
    assert shown.after(1) == ["interrupted; what was done so far is kept"]


def test_verbose_says_all(terminal: Terminal) -> None:
    shown = Shown(terminal, verbose=True)
    shown.live(PLANNED)
    shown.live(Started("tree:a", "never made"))
    shown.live(Finished("tree:a", "ran", 0.1))
    shown.live(Wrote("build:n:tar", "/n.tar", 5, 0.1))
    assert shown.after(1) == ["tree:a: never made", "tree:a  0.1 s", "wrote /n.tar (5 B)"]


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc…fg"),
        ("abcdefg", 1, "…"),
        ("abcdefg", 0, ""),
        ("日本語テキスト", 7, "日…スト"),
    ],
)
def test_what_is_too_long_loses_its_middle(text: str, width: int, short: str) -> None:
    assert cut(text, width) == short
    assert cells(cut(text, width)) <= width


def test_wide_and_combining_letters_take_the_room_they_take() -> None:
    assert (cells("日本"), cells("e\u0301"), cells("abc")) == (4, 1, 3)
    assert printable("a\x1b\u202eb") == "a��b"


# -- a build -----------------------------------------------------------------------------------------------------------

SLOW = "a: sleep 0.6\nb: sleep 0.61\nc < a b: sleep 2.2\nd < c: done\n"


@pytest.fixture
def project(tmp_path: Path) -> ToyProject:
    project = ToyProject.make(tmp_path)
    project.write("slow.yml", SLOW)
    return project


def start(project: ToyProject, terminal: Terminal, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CLI, *words],
        cwd=project.root,
        env={**project._environment(), "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=terminal.slave,
        stderr=terminal.slave,
    )


def test_a_build_in_a_terminal(project: ToyProject, terminal: Terminal) -> None:
    process = start(project, terminal, "build", "--jobs", "2", "slow.yml")
    seen = terminal.until(lambda lines: sum("toy:slow/" in line for line in lines) == 2)
    assert [line.split()[0] for line in seen[:2]] == ["toy:slow/a", "toy:slow/b"]
    assert "0 of 4 steps" in seen[2]
    seen = terminal.until(lambda lines: "toy:slow/c" in " ".join(lines) and "2 of 4 steps" in lines[-1])
    assert len(seen) == 2
    while process.poll() is None:
        terminal.read(0.05)
    assert process.wait() == 0
    # On a machine that is busy, more than the longest step lasts so long that it leaves a line.
    left = [line.partition("  ")[0].partition(",")[0] for line in terminal.lines]
    assert "toy:slow/c" in left
    assert "slow: 4 steps ran" in left
    assert not [line for line in terminal.lines if " of 4 steps" in line]
    project.write("slow.yml", SLOW.replace("2.2", "2.3"))
    process = start(project, terminal, "build", "--jobs", "2", "slow.yml")
    terminal.until(lambda lines: " s left" in " ".join(lines))
    while process.poll() is None:
        terminal.read(0.05)


def test_an_interrupted_build_leaves_the_terminal_clean(project: ToyProject, terminal: Terminal) -> None:
    project.write("slow.yml", "a: sleep 30\n")
    process = start(project, terminal, "build", "slow.yml")
    terminal.until(lambda lines: any("toy:slow/a" in line for line in lines))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert terminal.lines == ["interrupted; what was done so far is kept"]


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_do_nothing_gets_lines(project: ToyProject, terminal: Terminal, term: str) -> None:
    process = start(project, terminal, "build", "slow.yml", TERM=term)
    while process.poll() is None:
        terminal.read(0.05)
    assert any(line.startswith("toy:slow/a  0.") for line in terminal.lines)
    assert b"\x1b" not in terminal.raw


def test_what_is_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    read, write = os.pipe()
    with os.fdopen(write, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert type(open_show("lines", False)) is Lines
    os.close(read)
