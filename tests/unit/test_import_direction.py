"""Imports go up only, as docs/architecture.md draws it, and only the doors reach the world."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lkbuild"

ROWS = [
    {"frozen", "errors", "digest", "reference"},
    {"archive", "disk"},
    {"spec", "oci", "packages", "contents", "trust"},
    {"lock", "plan"},
    {"store", "sources", "tools"},
    {"steps"},
    {"engine"},
    {"machine", "rebuild", "report", "dev"},
    {"cli", "dodo", "__main__"},
]
"""Each row may import itself and the rows above it in this list."""

ROOM_ROW = {room: number for number, row in enumerate(ROWS) for room in row}

PURE = {
    "frozen",
    "archive",
    "disk",
    "spec",
    "oci",
    "packages",
    "contents",
    "trust",
    "lock",
    "plan",
    "steps",
    "digest",
    "reference",
    "errors",
}
"""Rooms whose results depend on their arguments alone."""

IMPURE_MODULES = {"time", "random", "socket", "subprocess", "urllib3", "docker", "secrets", "uuid"}


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(module: Path) -> set[str]:
    """Every module that `module` imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "lkbuild"}
    return found


def upward(module: Path) -> list[str]:
    """Imports of `module` that go down the list of rows."""
    mine = ROOM_ROW[room(module)]
    return [
        name for name in imported(module) if name.startswith("lkbuild.") and ROOM_ROW.get(name.split(".")[1], -1) > mine
    ]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_up_only(module: Path) -> None:
    assert room(module) in ROOM_ROW, "a room that docs/architecture.md does not know"
    assert upward(module) == []


@pytest.mark.parametrize(
    "module", [m for m in MODULES if room(m) in PURE], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_pure_rooms_reach_no_world(module: Path) -> None:
    assert {name.split(".")[0] for name in imported(module)} & IMPURE_MODULES == set()


def test_a_planted_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").mkdir()
    planted = tmp_path / "archive" / "tar.py"
    planted.write_text("def f():\n    from lkbuild.store import Store\n    import lkbuild.errors\n")
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert upward(planted) == ["lkbuild.store"]


def test_only_the_command_line_prints() -> None:
    printing = {
        str(module.relative_to(PACKAGE))
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {name for name in printing if not name.startswith(("cli", "dodo", "__main__", "spec/schema"))} == set()
