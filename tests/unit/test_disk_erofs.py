"""EROFS, read back by fsck.erofs and dump.erofs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lkbuild.archive.entry import Entry
from lkbuild.digest import Digest
from lkbuild.disk.crc32c import crc32c
from lkbuild.disk.erofs import erofs
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.layout import PAGE, total
from lkbuild.disk.tree import Member, inodes, tree
from lkbuild.errors import ArchiveError, StepError
from tests.unit.disk_images import SEED, Blobs, run
from tests.unit.disk_trees import SYMLINKS, XATTRS, members, plain_contents


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blobs = Blobs()
    return blobs.write(erofs(members(blobs), SEED), tmp_path_factory.mktemp("erofs") / "root.erofs")


def test_fsck_finds_no_error_and_reads_every_file(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # As root it makes devices too; without, files and links are what can be looked at.
    run("fsck.erofs", f"--extract={out}", image, fails=os.geteuid() != 0)
    assert "rror" not in run("fsck.erofs", image)
    for path, data in plain_contents().items():
        assert (out / os.fsdecode(path)).read_bytes() == data, path
    for path, target in SYMLINKS.items():
        # NB: a Path would leave out `./`.
        assert os.readlink(os.fsencode(out / os.fsdecode(path))) == target  # noqa: PTH115
    tool = (out / "bin/tool").stat()
    assert tool.st_mtime == 1_500_000_000
    if os.geteuid() == 0:
        assert (tool.st_mode & 0o777, tool.st_uid, tool.st_gid) == (0o755, 1000, 100_000), "chown takes setuid away"
        far = (out / "dev/far").stat()
        assert stat.S_ISBLK(far.st_mode) and (os.major(far.st_rdev), os.minor(far.st_rdev)) == (259, 70_000)


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/bin/again", ["Links: 2", "Size: 300000 ", "Uid: 1000", "Gid: 100000"]),
        ("/page", ["Links: 1", "Size: 4096 ", "Layout: 0"]),
        ("/tail4032", ["Size: 4032 ", "Layout: 2"]),
        ("/tail4033", ["Size: 4033 ", "Layout: 0"]),
        ("/etc/with xattrs", ["Xattr size: "]),
        ("/run", ["Timestamp: 2014-05-13 16:53:20"]),
        ("/many", ["Links: 2"]),
        ("/", ["Links: 8", "NID: 128 "]),
    ],
)
def test_dump_shows_what_was_given(image: Path, path: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    shown = " ".join(run("dump.erofs", f"--path={path}", image).split())
    for line in lines:
        assert " ".join(line.split()) in shown, shown


def test_the_checksum_of_the_superblock_is_right(image: Path) -> None:
    # What fsck.erofs checks as well; here against another implementation, byte by byte.
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283
    block = bytearray(image.read_bytes()[1024:PAGE])
    stored, block[4:8] = bytes(block[4:8]), bytes(4)
    assert crc32c(bytes(block)).to_bytes(4, "little") == stored


def test_the_same_members_make_the_same_bytes() -> None:
    blobs = Blobs()
    first = blobs.bytes(erofs(members(blobs), SEED))
    shuffled = [*members(blobs)[:1], *members(blobs)[:0:-1]]
    links_last = sorted(shuffled, key=lambda m: m.entry.kind == "hardlink")
    assert blobs.bytes(erofs(links_last, SEED)) == first, "their order does not matter"
    other = blobs.bytes(erofs(members(blobs), b"other"))
    assert {n for n in range(len(first)) if first[n] != other[n]} <= {*range(1028, 1032), *range(1072, 1088)}


def test_contents_are_not_copied() -> None:
    large = Slice(Digest.of(b""), 512, 3_000_000_001)
    made = erofs([Member(Entry(b"large", "file", 0o644), (large,))], SEED)
    assert [e for e in made if isinstance(e, Slice)] == [
        Slice(large.digest, 512 + large.length // PAGE * PAGE, large.length % PAGE),
        Slice(large.digest, 512, large.length // PAGE * PAGE),
    ]
    assert total(made) % PAGE == 0


@pytest.mark.parametrize(
    ("xattr", "words"),
    [
        pytest.param((b"system.nfs4_acl", b"x"), "'system.nfs4_acl' of 1 bytes", id="a namespace it has not"),
        pytest.param((b"user." + b"k" * 256, b"x"), "cannot store", id="a name too long"),
        pytest.param((b"user.k", bytes(1 << 16)), "of 65536 bytes", id="a value too large"),
    ],
)
def test_attributes_it_cannot_store_are_refused(xattr: tuple[bytes, bytes], words: str) -> None:
    with pytest.raises(StepError, match=words) as refused:
        erofs([Member(Entry(b"etc/f", "file", 0o644, xattrs=(xattr,)))], SEED)
    assert "'etc/f'" in refused.value.message and refused.value.hint


def test_attributes_too_large_together_are_refused() -> None:
    many = tuple((b"user.%d" % n, bytes(60_000)) for n in range(5))
    with pytest.raises(StepError, match=r"extended attributes of 3000\d\d bytes \(at most 262136\)"):
        erofs([Member(Entry(b"f", "file", 0o644, xattrs=many))], SEED)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param([Entry(b"a", "hardlink", 0, target=b"b")], "hard link to 'b', which is no file", id="to nothing"),
        pytest.param(
            [Entry(b"b", "directory", 0o755), Entry(b"a", "hardlink", 0, target=b"b")],
            "hard link to 'b', which is no file",
            id="to a directory",
        ),
        pytest.param([Entry(b"a", "file", 0), Entry(b"a/b", "file", 0)], "'a' is no directory", id="below a file"),
        pytest.param([Entry(b"a/b", "file", 0), Entry(b"a", "file", 0)], "is a directory and a file", id="over a tree"),
        pytest.param([Entry(b"", "file", 0)], "the root of a file system is a file", id="a root that is a file"),
        pytest.param([Entry(b"../a", "file", 0)], "leaves the root", id="outside"),
    ],
)
def test_members_that_make_no_tree_are_refused(given: list[Entry], words: str) -> None:
    with pytest.raises((StepError, ArchiveError), match=words):
        tree(map(Member, given))


def test_a_later_file_takes_the_place_of_an_earlier_one() -> None:
    later: tuple[Extent, ...] = (Zeros(5),)
    root = tree(
        [
            Member(Entry(b"a", "file", 0o644), (Zeros(3),)),
            Member(Entry(b"link", "hardlink", 0, target=b"a")),
            Member(Entry(b"a", "file", 0o600), later),
        ]
    )
    assert {name: (inode.size, inode.links) for name, inode in root.children.items()} == {b"a": (5, 1), b"link": (3, 1)}
    assert [inode.number for inode in inodes(root)] == [1, 2, 3]


def test_every_xattr_of_the_tree_is_stored(image: Path) -> None:
    stored = image.read_bytes()
    for attributes in XATTRS.values():
        for name, value in attributes:
            assert name.partition(b".")[2] + value in stored


def test_an_empty_file_system_is_one(tmp_path: Path) -> None:
    path = Blobs().write(erofs([], SEED), tmp_path / "empty.erofs")
    assert "rror" not in run("fsck.erofs", path)
    assert path.stat().st_size == 2 * PAGE
    assert isinstance(erofs([], SEED)[0], Zeros | Data)
