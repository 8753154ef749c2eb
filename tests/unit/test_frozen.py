"""Classes of `frozen`: what a frozen dataclass is, but for who sees to it that nobody changes one."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from lkbuild.frozen import frozen


@frozen
class Point:
    """Two numbers, and where they are from, which does not count."""

    x: int
    y: int = 0
    origin: str = dataclasses.field(default="", compare=False, repr=False)


@frozen
class Named(Point):
    name: str = ""


@frozen
class Nothing:
    """No fields."""


@frozen
class Own:
    x: int

    def __repr__(self) -> str:
        return "own"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7


def test_equal_by_fields() -> None:
    assert Point(1, 2, "here") == Point(1, 2, "there")
    assert hash(Point(1, 2, "here")) == hash(Point(1, 2, "there"))
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != (1, 2)
    assert Point(1) != Named(1)
    assert Named(1, name="a") == Named(1, name="a") != Named(1, name="b")
    assert {Point(1): "found"}[Point(1)] == "found"
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


def test_what_dataclasses_know() -> None:
    assert repr(Named(1, 2, "here", "n")) == "Named(x=1, y=2, name='n')"
    assert dataclasses.replace(Point(1, 2, "here"), y=3) == Point(1, 3)
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "origin"]
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_a_class_may_have_its_own() -> None:
    assert (repr(Own(1)), Own(1) == 3, hash(Own(1))) == ("own", True, 7)


def test_slots() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "message"), [("Point(1).x = 2", "read-only"), ('Point("1")', "incompatible type"), ("Point()", "Missing")]
)
def test_mypy_sees_to_it(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "changing.py"
    file.write_text(f"from lkbuild.frozen import frozen\n\n@frozen\nclass Point:\n    x: int\n\n{line}\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert run.returncode == 1
    assert f"changing.py:7: error: {message}" in run.stdout or message in run.stdout
