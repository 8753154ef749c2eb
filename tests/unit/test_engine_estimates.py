"""How long steps take by what they took, and how long many of them take side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lkbuild.engine.estimates import Estimates, side_by_side
from lkbuild.engine.history import FileWritten, How, StepRun
from lkbuild.engine.history_files import HistoryFiles
from tests.unit.test_engine_history import RECORD, STEP

MB = 1 << 20


def run(name: str, seconds: float, size: int, kind: str = "tree") -> StepRun:
    return replace(STEP, name=name, kind=kind, start=0, end=round(seconds * 1e6), bytes_in=size, bytes_out=1)


def known(tmp_path: Path, *builds: tuple[StepRun, ...]) -> Estimates:
    """What a history of these builds tells, the oldest first."""
    files = HistoryFiles(tmp_path)
    for number, steps in enumerate(builds):
        files.keep(replace(RECORD, began=RECORD.began + number, steps=steps))
    return Estimates.of(files)


def test_a_step_takes_what_it_took_the_last_times(tmp_path: Path) -> None:
    found = known(tmp_path, *((run("tree:a", seconds, 10),) for seconds in (100, 3, 1, 2)))
    assert found.step("tree:a", "tree", None) == found.step("tree:a@2", "tree", 20) == 2
    assert found.size("tree:a") == 10
    assert (found.step("pull:x", "pull", 1), found.size("pull:x")) == (None, None)


def test_with_more_to_read_it_takes_longer(tmp_path: Path) -> None:
    found = known(tmp_path, (run("tree:a", 4, 100 * MB), run("tree:b", 1, 10)))
    assert found.step("tree:a", "tree", 200 * MB) == 8
    assert found.step("tree:b", "tree", 20 * MB) == 1, "of what was small nobody can tell"


def test_a_new_step_takes_what_its_kind_takes(tmp_path: Path) -> None:
    found = known(tmp_path, (run("tree:a", 1, 10 * MB), run("tree:b", 3, 30 * MB), run("tree:c", 5, 50 * MB)))
    assert found.step("tree:new", "tree", 20 * MB) == 2
    assert found.step("tree:new", "tree", 0) == 1, "no less than the least"
    assert found.step("tree:new", "tree", None) == 3


def test_what_did_not_run_to_its_end_tells_nothing(tmp_path: Path) -> None:
    ends: tuple[How, ...] = ("failed", "waited", "cached", "unfinished")
    found = known(tmp_path, tuple(replace(run(f"tree:{how}", 1, 1), how=how) for how in ends))
    assert (found.steps, found.kinds) == ({}, {})


def test_what_is_not_understood_counts_for_nothing(tmp_path: Path) -> None:
    files = HistoryFiles(tmp_path)
    files.keep(RECORD)
    step = b'{"name": "a", "kind": "b", "how": "ran", "start": 0, "end": 1%s, "bytes_in": 1, "bytes_out": 1}'
    endless = b'{"build": {"steps": [%s], "written": []}}' % (step % (b"0" * 400))
    for number, text in enumerate((endless, b"\xff", b"[]", b'{"build": {"steps": 3, "written": []}}', b"[" * 100_000)):
        (files.root / "builds" / f"180000000000000{number}-1.json").write_bytes(text)
    found = Estimates.of(files)
    assert list(found.steps) == ["pull:a"]
    assert found.file_size("/n.tar") == 7
    assert found.writing(14) == pytest.approx(20e-6)
    assert Estimates().writing(1) is None


@pytest.mark.parametrize(
    ("tasks", "jobs", "seconds"),
    [
        ({}, 2, 0),
        ({"a": (2, ()), "b": (3, ())}, 1, 5),
        ({"a": (2, ()), "b": (3, ())}, 2, 3),
        ({"a": (2, ()), "b": (3, ("a",))}, 2, 5),
        ({"a": (1, ()), "b": (1, ()), "c": (1, ()), "d": (1, ("a", "b", "c"))}, 2, 3),
        ({"a": (1, ("elsewhere",))}, 2, 1),
        ({"a": (1, ())}, 0, 1),
    ],
)
def test_side_by_side(tasks: dict[str, tuple[float, tuple[str, ...]]], jobs: int, seconds: float) -> None:
    assert side_by_side(tasks, jobs) == seconds


def test_written_files_are_told_by_their_path(tmp_path: Path) -> None:
    files = HistoryFiles(tmp_path)
    for number, size in enumerate((5, 9)):
        written = FileWritten("build:n:tar", "/n.tar", size, 0, 1, 0)
        files.keep(replace(RECORD, began=RECORD.began + number, written=(written,)))
    assert Estimates.of(files).file_size("/n.tar") == 9
