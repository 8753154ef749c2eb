"""What has to be put into a tree to make another of it: laid over the first by GNU cpio, then all is compared."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.dev.trees import listing, write_delta


@dataclass(frozen=True)
class Layer:
    """A layer in memory."""

    data: bytes
    name: str = "layer"

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)


def layer(*members: tuple[str, str, str]) -> Layer:
    """A tar of (path, kind, contents or target)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, kind, text in members:
            info = tarfile.TarInfo(path)
            info.mode, info.mtime = 0o755 if kind == "directory" else 0o640, 1_600_000_000
            kinds = {"directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
            info.type = kinds.get(kind, tarfile.REGTYPE)
            info.linkname = text if "link" in kind else ""
            info.size = len(text) if kind == "file" else 0
            tar.addfile(info, io.BytesIO(text.encode()) if kind == "file" else None)
    return Layer(raw.getvalue())


BASE = (
    ("srv", "directory", ""),
    ("srv/page", "file", "one"),
    ("srv/other", "file", "same"),
    ("srv/link", "symlink", "page"),
    ("srv/hard", "hardlink", "srv/other"),
    ("opt", "directory", ""),
    ("opt/deep", "directory", ""),
    ("opt/deep/file", "file", "deep"),
)
CASES = {
    "nothing": ((), 0, ()),
    "a file": ((("srv/page", "file", "two"),), 1, ()),
    "a file of the same size and time": ((("srv/page", "file", "owt"),), 1, ()),
    "a new file in a new directory": ((("new/x", "file", "x"),), 2, ()),
    "one of two names of a file": ((("srv/hard", "file", "apart"),), 2, ()),
    "a file is gone": ((("srv/.wh.page", "file", ""),), 0, (b"srv/page",)),
    "a directory is gone": ((("opt/.wh.deep", "file", ""),), 0, (b"opt/deep", b"opt/deep/file")),
    "a link's target": ((("srv/link", "symlink", "other"),), 1, ()),
    "a file for a directory": ((("opt/deep", "file", "now"),), 1, (b"opt/deep", b"opt/deep/file")),
    "a directory for a link": (
        (("srv/.wh.link", "file", ""), ("srv/link", "directory", ""), ("srv/link/in", "file", "x")),
        2,
        (b"srv/link",),
    ),
}


def laid_down(layers: list[Layer], root: Path) -> None:
    """Everything of an image below `root`, by its delta from nothing."""
    root.mkdir()
    unpack(layers, {}, root)


def unpack(layers: list[Layer], base: dict, root: Path) -> tuple[int, tuple[bytes, ...]]:  # type: ignore[type-arg]
    archive = io.BytesIO()
    delta = write_delta(base, layers, archive)
    assert delta.size == len(archive.getvalue())
    for path in delta.paths.split(b"\0")[:-1]:
        there = root / os.fsdecode(path)
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)
    words = ["cpio", "--extract", "--make-directories", "--unconditional", "--preserve-modification-time", "--quiet"]
    subprocess.run([*words, "--no-preserve-owner"], cwd=root, input=archive.getvalue(), check=True)
    return delta.count, delta.removed


def seen(root: Path) -> list[tuple[str, int, int, bytes]]:
    """Every path with its mode, a file's time and what is in it."""
    found = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        text = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        time = int(status.st_mtime) * stat.S_ISREG(status.st_mode)  # cpio gives links the time of day
        found.append((str(path.relative_to(root)), status.st_mode, time, text))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_delta_makes_one_tree_into_the_other(case: str, tmp_path: Path) -> None:
    above, count, removed = CASES[case]
    base, now = [layer(*BASE)], [layer(*BASE), layer(*above)]
    laid_down(base, tmp_path / "changed")
    laid_down(now, tmp_path / "wanted")
    assert unpack(now, dict(listing(base)), tmp_path / "changed") == (count, removed)
    assert seen(tmp_path / "changed") == seen(tmp_path / "wanted")


def test_a_directory_above_what_changed_keeps_its_mode(tmp_path: Path) -> None:
    base = [layer(("srv", "directory", ""), ("srv/page", "file", "one"))]
    laid_down(base, tmp_path / "tree")
    unpack([*base, layer(("srv/page", "file", "two"))], dict(listing(base)), tmp_path / "tree")
    assert (tmp_path / "tree" / "srv").stat().st_mode & 0o777 == 0o755
