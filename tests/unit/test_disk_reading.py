"""File systems read back by ourselves: the same tree from each, also as others write it; damaged ones refused."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.archive.entry import Entry
from lkbuild.disk.erofs import erofs
from lkbuild.disk.erofs_reading import ErofsReader
from lkbuild.disk.extents import Data, Extent, Zeros
from lkbuild.disk.iso import IsoOptions, iso
from lkbuild.disk.iso_reading import IsoReader
from lkbuild.disk.layout import read
from lkbuild.disk.squashfs import SquashfsOptions, arguments, environment, newest, stream
from lkbuild.disk.squashfs_reading import SquashfsReader
from lkbuild.disk.tree import Member, tree
from lkbuild.disk.view import View
from tests.unit.disk_images import SEED, Blobs, noise, run
from tests.unit.disk_trees import SYMLINKS, XATTRS, members, plain_contents

BLOBS = Blobs()


class Reader(Protocol):
    def members(self) -> Iterator[tuple[Entry, View]]: ...


READERS: dict[str, Callable[[View], Reader]] = {"iso": IsoReader, "erofs": ErofsReader, "squashfs": SquashfsReader}


def view(data: bytes) -> View:
    return View(lambda offset, length: data[offset : offset + length], len(data))


@functools.cache
def made(name: str) -> bytes:
    """The tree of `disk_trees` as this file system."""
    if name == "iso":
        return BLOBS.bytes(iso(members(BLOBS), IsoOptions(), SEED))
    if name == "erofs":
        return BLOBS.bytes(erofs(members(BLOBS), SEED))
    return squashed(SquashfsOptions(time=newest(tree(members(BLOBS)))))


def squashed(options: SquashfsOptions) -> bytes:
    run("mksquashfs", "-version", fails=True)
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "made"
        command = arguments(os.fspath(target), options)
        data = b"".join(read(stream(tree(members(BLOBS))), BLOBS.open))
        subprocess.run(command, input=data, env={**os.environ, **environment(options)}, check=True)
        return target.read_bytes()


def listed(reader: Reader) -> dict[bytes, tuple[Entry, bytes]]:
    """Entries and contents by path; a hard link is what it leads to."""
    found: dict[bytes, tuple[Entry, bytes]] = {}
    for entry, contents in reader.members():
        data = b"".join(contents.pieces()) if entry.kind == "file" else b""
        found[entry.path] = found[entry.target] if entry.kind == "hardlink" else (entry, data)
    return found


@pytest.mark.parametrize("name", READERS)
def test_every_file_and_its_attributes_come_back(name: str) -> None:
    found = listed(READERS[name](view(made(name))))
    assert {path: data for path, (entry, data) in found.items() if entry.kind == "file"} == plain_contents()
    assert {path: found[path][0].target for path in SYMLINKS} == SYMLINKS
    wanted = {member.entry.path: member.entry for member in members(BLOBS)}
    for path, entry in wanted.items():
        if not path or entry.kind == "hardlink":
            continue
        got = found[path][0]
        xattrs = () if name == "iso" else XATTRS.get(path, ())
        size = len(plain_contents()[path]) if entry.kind == "file" else 0
        assert got._replace(path=path) == entry._replace(size=size, xattrs=xattrs), path
    assert found[b"bin/again"] == found[b"bin/tool"]
    assert found[b"bin"][0][:5] == (b"bin", "directory", 0o755, 0, 0)


def tree_of(root: Path) -> dict[bytes, tuple[Entry, bytes]]:
    """A directory with a few of the things a root filesystem has, and what is to be read of it."""
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_bytes(b"hello")
    (root / "large").write_bytes(noise(700_001, 5))
    (root / "zeros").write_bytes(bytes(300_000) + b"end")
    (root / ("long" * 50)).write_bytes(b"")
    (root / "link").symlink_to("etc/../etc/motd")
    (root / "same").hardlink_to(root / "large")
    for path in (*root.rglob("*"), root):
        os.utime(path, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o750 if path.is_dir() else 0o640)
    found: dict[bytes, tuple[Entry, bytes]] = {}
    for path in root.rglob("*"):
        name = os.fsencode(path.relative_to(root))
        kind = "symlink" if path.is_symlink() else "directory" if path.is_dir() else "file"
        data = path.read_bytes() if kind == "file" else b""
        target = os.fsencode(path.readlink()) if kind == "symlink" else b""
        mode = stat.S_IMODE(path.lstat().st_mode)
        found[name] = Entry(name, kind, mode, 0, 0, 1_500_000_000, len(data), target), data
    return found


XORRISO = ("-as", "mkisofs", "-quiet", "-uid", "0", "-gid", "0")
OTHERS: list[tuple[str, str, tuple[str, ...], bool]] = [
    ("iso", "xorriso", (*XORRISO, "-R", "-o", "MADE", "TREE"), True),
    ("iso", "xorriso", (*XORRISO, "-R", "-J", "-iso-level", "3", "-o", "MADE", "TREE"), True),
    ("iso", "genisoimage", ("-quiet", "-uid", "0", "-gid", "0", "-R", "-o", "MADE", "TREE"), True),
    ("iso", "genisoimage", ("-quiet", "-J", "-o", "MADE", "TREE"), False),  # no Rock Ridge
    ("erofs", "mkfs.erofs", ("--all-root", "MADE", "TREE"), True),
    ("erofs", "mkfs.erofs", ("--all-root", "-E", "force-inode-compact", "-T", "1500000000", "MADE", "TREE"), True),
    ("erofs", "mkfs.erofs", ("-z", "lz4", "MADE", "TREE"), False),
    ("squashfs", "mksquashfs", ("TREE", "MADE", "-all-root", "-comp", "xz"), True),
    ("squashfs", "mksquashfs", ("TREE", "MADE", "-all-root", "-comp", "gzip", "-b", "4096"), True),
    ("squashfs", "mksquashfs", ("TREE", "MADE", "-all-root", "-comp", "zstd", "-noI", "-noD", "-noF"), True),
    ("squashfs", "mksquashfs", ("TREE", "MADE", "-all-root", "-no-fragments", "-b", "1M"), True),
    ("squashfs", "mksquashfs", ("TREE", "MADE", "-comp", "lzo"), False),
]


@pytest.mark.parametrize(("name", "program", "arguments", "readable"), OTHERS)
def test_what_others_made(tmp_path: Path, name: str, program: str, arguments: tuple[str, ...], readable: bool) -> None:
    wanted = tree_of(tmp_path / "tree")
    places = {"TREE": tmp_path / "tree", "MADE": tmp_path / "made"}
    run(program, *(places.get(each, each) for each in arguments))
    data = (tmp_path / "made").read_bytes()
    if not readable:
        with pytest.raises(ValueError, match=r"without Rock Ridge|compressed files|packed with none of"):
            listed(READERS[name](view(data)))
        return
    found = {
        path: (entry._replace(path=path), data) for path, (entry, data) in listed(READERS[name](view(data))).items()
    }
    assert found == wanted


def test_a_file_of_many_extents() -> None:
    """Of more than 4 GiB: its parts are one."""
    size = 9_000_000_001
    extents = iso([Member(Entry(b"large", "file", 0o644), (Zeros(size - 3), Data(b"end")))], IsoOptions(), SEED)
    ((entry, contents),) = IsoReader(of_extents(extents)).members()
    assert (entry.path, entry.size, contents.size) == (b"large", size, size)
    assert contents.read(size - 5, 5) == b"\0\0end"
    edge = (1 << 32) - 2048
    assert contents.read(edge - 4, 8) == bytes(8)


def of_extents(extents: list[Extent]) -> View:
    """A view of what is mostly zeros."""
    pieces, at = [], 0
    for extent in extents:
        if isinstance(extent, Data):
            pieces.append((at, extent.data))
        at += extent.length

    def fetch(offset: int, length: int) -> bytes:
        made = bytearray(length)
        for start, data in pieces:
            first, last = max(start, offset), min(start + len(data), offset + length)
            if first < last:
                made[first - offset : last - offset] = data[first - start : last - start]
        return bytes(made)

    return View(fetch, at)


# -- damage ------------------------------------------------------------------------------------------------------------


@functools.cache
def looked_at(name: str) -> list[int]:
    """The places of the bytes that are read for names and attributes, the beginning of each range."""
    data, places = made(name), []

    def fetch(offset: int, length: int) -> bytes:
        places.extend(range(offset, offset + min(length, 300)))
        return data[offset : offset + length]

    for _ in READERS[name](View(fetch, len(data))).members():
        pass
    return sorted(set(places))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(READERS)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6),
    st.one_of(st.just(0), st.integers(0, 1 << 30)),
)
def test_damaged_ones_are_refused_or_read(name: str, changes: list[tuple[int, int]], cut: int) -> None:
    """ValueError and nothing else; for names and attributes no more is read than a few times what is there."""
    data, places, read = bytearray(made(name)), looked_at(name), 0
    for number, value in changes:
        data[places[number % len(places)]] = value
    size = len(data) - cut % len(data)

    def fetch(offset: int, length: int) -> bytes:
        nonlocal read
        read += length
        return bytes(data[offset : offset + length])

    with contextlib.suppress(ValueError):
        for entry, contents in READERS[name](View(fetch, size)).members():
            assert len(entry.path) <= 4095
            if contents.size < 1 << 20:
                names, contained = read, sum(map(len, contents.pieces()))
                assert contained == contents.size
                read = names
    assert read < 100 * len(data)


def test_a_directory_in_itself_is_refused() -> None:
    """`many`, which is large, leads to the root: its record has the root's sector."""
    data = bytearray(made("iso"))
    root = data[16 * 2048 + 156 + 2 : 16 * 2048 + 156 + 6]
    record = data.index(b"\x04MANY") - 32
    data[record + 2 : record + 6] = root
    with pytest.raises(ValueError, match="where others are"):
        listed(IsoReader(view(bytes(data))))
