"""Files of the store, and large ones beside it, put in their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from lkbuild.store.files import put_in_place

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
