"""The script `doit`: the environment it makes, and when; Python is a fake that writes down how it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "doit"

PYTHON = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
"-m venv --clear "*)
    rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
    [ ! -e "$BREAK" ] || exit 1
    printf '#!/bin/sh\\necho "$PWD" "$DOIT_FILE" "$@"\\n' >"$4/bin/doit" && chmod +x "$4/bin/doit" ;;
"-m pip "*) [ ! -e "$BREAK" ] || exit 1 ;;
esac
"""


class Clone:
    """A directory with the script, and the fake Python first in PATH."""

    def __init__(self, tmp_path: Path) -> None:
        self.programs, self.log, self.breaks = tmp_path / "programs", tmp_path / "log", tmp_path / "break"
        self.root = tmp_path / "the clone"
        for directory in (self.programs, self.root):
            directory.mkdir()
        shutil.copy(SCRIPT, self.root)
        (self.programs / "python3").write_text(PYTHON)
        (self.programs / "python3").chmod(0o755)
        self.change()

    def change(self, later: int = -10) -> None:
        """Have pyproject.toml written so many seconds after the last environment was made."""
        (self.root / "pyproject.toml").write_text("")
        stamps = [path.stat().st_mtime for path in self.root.glob(".venv/lkbuild*")] or [SCRIPT.stat().st_mtime]
        os.utime(self.root / "pyproject.toml", (max(stamps) + later,) * 2)

    def call(self, *words: str, cwd: Path | None = None) -> tuple[int, str, list[str]]:
        """What the script exits with and prints, and how Python was called."""
        self.log.write_text("")
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "LOG": str(self.log), "BREAK": str(self.breaks)}
        done = subprocess.run(
            [self.root / "doit", *words], cwd=cwd or self.root, env=environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, self.log.read_text().splitlines()

    def made(self) -> tuple[bool, bool]:
        """Whether a call made the environment, and whether it installed into it; it must have worked."""
        code, out, calls = self.call("build")
        assert (code, out) == (0, f"{self.root} {self.root}/dodo.py build\n")
        return (f"-m venv --clear {self.root}/.venv" in calls, any(call.startswith("-m pip install") for call in calls))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


ALL, INSTALLED, NOTHING = (True, True), (False, True), (False, False)


def test_python_is_asked_only_when_the_environment_is_made(clone: Clone) -> None:
    assert clone.made() == ALL
    assert clone.call("list") == (0, f"{clone.root} {clone.root}/dodo.py list\n", [])
    clone.change(later=10)
    assert clone.made() == INSTALLED, "lkbuild may need something else now"


def test_after_an_interruption_it_is_made_anew(clone: Clone) -> None:
    clone.breaks.touch()
    assert clone.call("build")[0] != 0, "the environment is half made"
    clone.breaks.unlink()
    assert clone.made() == ALL
    clone.change(later=10)
    clone.breaks.touch()
    assert clone.call("build")[0] != 0, "something is half installed"
    clone.breaks.unlink()
    clone.change()
    assert clone.made() == ALL
    assert clone.made() == NOTHING


def test_a_clone_that_moved(clone: Clone) -> None:
    assert clone.made() == ALL
    clone.root = clone.root.rename(clone.root.with_name("elsewhere"))
    assert clone.made() == ALL, "its programs name the directory they were made in"
    assert clone.made() == NOTHING


def test_extras_are_added_once(clone: Clone) -> None:
    assert clone.made() == ALL
    assert [call.split()[-1] for call in clone.call("bench")[2]] == [".[bench]"]
    assert clone.call("bench")[2] == []
    assert clone.made() == NOTHING


def test_called_from_elsewhere(clone: Clone, tmp_path: Path) -> None:
    code, out, _ = clone.call("plan", "spec=x.yml", cwd=tmp_path)
    assert (code, out) == (0, f"{tmp_path} {clone.root}/dodo.py plan spec=x.yml\n")
