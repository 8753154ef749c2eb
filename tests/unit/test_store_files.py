"""Files of the store, and large ones beside it, put in their places."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lkbuild.disk.extents import Data, Zeros
from lkbuild.store import Store
from lkbuild.store.files import put_in_place
from lkbuild.store.recipe import Recipe

LARGE = 1 << 20


@pytest.mark.parametrize(
    ("there", "new"),
    [(None, LARGE), (10, LARGE), (LARGE, 10), (LARGE, LARGE), (2 * LARGE, LARGE)],
    ids=["nothing is there", "over a small one", "a small one", "as large", "over a larger one"],
)
def test_a_file_takes_its_place(tmp_path: Path, there: int | None, new: int) -> None:
    path, temporary = tmp_path / "output", tmp_path / ".output.part"
    if there is not None:
        path.write_bytes(b"o" * there)
    reader = None if there is None else path.open("rb")
    temporary.write_bytes(b"n" * new)
    inode = temporary.stat().st_ino
    put_in_place(temporary, path)
    assert [each.name for each in tmp_path.iterdir()] == ["output"]
    assert path.stat().st_ino == inode
    assert path.read_bytes() == b"n" * new
    if reader is not None:
        with reader:
            assert reader.read() == b"o" * (there or 0), "who has the old one open keeps it"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, path, temporary = tmp_path / "target", tmp_path / "output", tmp_path / ".output.part"
    target.write_bytes(b"t" * LARGE)
    path.symlink_to(target)
    temporary.write_bytes(b"n" * LARGE)
    put_in_place(temporary, path)
    assert not path.is_symlink()
    assert target.read_bytes() == b"t" * LARGE
    assert sorted(each.name for each in tmp_path.iterdir()) == ["output", "target"]


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    path, temporary = tmp_path / "output", tmp_path / ".output.part"
    path.mkdir()
    temporary.write_bytes(b"n")
    with pytest.raises(IsADirectoryError):
        put_in_place(temporary, path)
    assert temporary.exists()


def test_a_file_that_somebody_locked_is_replaced_all_the_same(tmp_path: Path) -> None:
    path, temporary = tmp_path / "output", tmp_path / ".output.part"
    path.write_bytes(b"o" * LARGE)
    temporary.write_bytes(b"n" * LARGE)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        put_in_place(temporary, path)
        assert file.read() == b"o" * LARGE
    assert [(each.name, each.read_bytes()[:1]) for each in tmp_path.iterdir()] == [("output", b"n")]


def test_builds_with_other_caches_write_one_large_output(tmp_path: Path) -> None:
    """The replaced file has the temporary name for a moment: nobody may take it for one to be written."""
    store, path = Store.open(tmp_path / "cache"), tmp_path / "out" / "output"

    def write(letter: bytes) -> None:
        recipe = Recipe.of([Data(letter * 10), Zeros(LARGE)])
        for _ in range(200):
            recipe.write(store, path)

    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(write, (b"a", b"b", b"c", b"d"))) == [None] * 4
    finally:
        store.close()
    assert [each.name for each in path.parent.iterdir()] == ["output"]
    assert path.stat().st_size == 10 + LARGE


def test_what_a_killed_build_left_is_not_written_to(tmp_path: Path) -> None:
    """It may be the output that was replaced, and that has other names."""
    store, path, other = Store.open(tmp_path / "cache"), tmp_path / "output", tmp_path / "other"
    other.write_bytes(b"o" * 10)
    os.link(other, tmp_path / ".output.part")
    try:
        Recipe.of([Data(b"new")]).write(store, path)
    finally:
        store.close()
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"o" * 10)
    assert not (tmp_path / ".output.part").exists()
