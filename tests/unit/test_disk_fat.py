"""FAT16 and FAT32, read back by fsck.vfat and mtools."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.fat import Fat, FatOptions
from lkbuild.disk.fat_geometry import CLUSTERS, Bits, divide
from lkbuild.disk.fat_names import short_name
from lkbuild.disk.fat_tree import FatFile
from lkbuild.disk.layout import MIB, PAGE, total
from lkbuild.errors import StepError
from tests.unit.disk_images import SEED, Blobs, noise, run

LARGE = noise(3 << 20)

FILES = {
    "README": b"plain 8.3 name",
    "kernel": LARGE,
    "EFI/BOOT/BOOTX64.EFI": noise(70_000, 2),
    "loader/entries/linux.conf": b"title x\n",
    "loader/entries/a name that is much longer than thirteen characters.conf": b"long",
    "syslinux.cfg": b"DEFAULT linux\n",
    "SYSLIN~1.CFG": b"has the short name that syslinux.cfgx would get",
    "syslinux.cfgx": b"extension of four",
    "exactly13char": b"fills one long entry",
    ".hidden": b"begins with a dot",
    "two.dots.txt": b"dots",
    "Größe €.txt": b"not ASCII",
    "empty": b"",
    "one": b"1",
    "page": noise(PAGE, 3),
}


def files(blobs: Blobs, content: dict[str, bytes]) -> list[FatFile]:
    return [FatFile(path, blobs.add(data)) for path, data in content.items()]


def some(size: int) -> tuple[Extent, ...]:
    """A file of a blob that need not be there, to be laid out only."""
    return (Slice(Digest.of(b""), 0, size),)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("size", [None, 64 * MIB], ids=["as small as can be", "of a given size"])
def test_fsck_and_mtools_read_what_was_written(tmp_path: Path, bits: Bits, size: int | None) -> None:
    blobs = Blobs()
    fat = Fat(files(blobs, FILES), FatOptions(bits, size), SEED)
    image = blobs.write(fat.write(), tmp_path / "fat.img")
    assert image.stat().st_size == fat.size == (size or fat.size)
    checked = run("fsck.vfat", "-n", "-v", image)
    assert f"{bits} bit" in checked
    assert "differences" not in checked and "Free cluster summary wrong" not in checked
    for path, data in FILES.items():
        run("mcopy", "-n", "-i", image, f"::{path}", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data, path
        (tmp_path / "copy").unlink()


@pytest.mark.parametrize("bits", [16, 32])
def test_contents_lie_in_one_piece_at_multiples_of_a_page(bits: Bits) -> None:
    blobs = Blobs()
    fat = Fat(files(blobs, FILES), FatOptions(bits), SEED)
    image = blobs.bytes(fat.write())
    for path, data in FILES.items():
        if data:
            assert fat.place(path) % PAGE == 0
            assert image[fat.place(path) : fat.place(path) + len(data)] == data
    assert fat.place("efi/boot/bootx64.efi") == fat.place("EFI/BOOT/BOOTX64.EFI")


@pytest.mark.parametrize("bits", [16, 32])
def test_a_directory_of_many_files_is_read(tmp_path: Path, bits: Bits) -> None:
    many = {f"dir/file number {n} of many.txt": str(n).encode() for n in range(1500)} | {
        f"x{n}": b"" for n in range(600)
    }
    blobs = Blobs()
    image = blobs.write(Fat(files(blobs, many), FatOptions(bits), SEED).write(), tmp_path / "fat.img")
    run("fsck.vfat", "-n", image)
    listed = run("mdir", "-b", "-/", "-i", image, "::").split("\n")
    assert {line.removeprefix("::/") for line in listed if line} == set(many) | {"dir/"}
    assert run("mtype", "-i", image, "::dir/file number 1234 of many.txt") == "1234"


def test_the_same_content_makes_the_same_bytes_and_another_seed_only_another_id() -> None:
    blobs = Blobs()
    first = blobs.bytes(Fat(files(blobs, FILES), FatOptions(), SEED).write())
    assert blobs.bytes(Fat(files(blobs, FILES), FatOptions(), SEED).write()) == first
    other = blobs.bytes(Fat(files(blobs, FILES), FatOptions(), b"other").write())
    assert {n for n in range(8 * 512) if first[n] != other[n]} <= {*range(67, 71), *range(6 * 512 + 67, 6 * 512 + 71)}
    assert first[8 * 512 :] == other[8 * 512 :]


def test_payload_is_never_copied() -> None:
    fat = Fat([FatFile("initrd.img", some(4_000_000_000))], FatOptions(), SEED)
    made = fat.write()
    assert total(made) == fat.size > 4_000_000_000
    assert sum(e.length for e in made if isinstance(e, Data)) < 1_100_000


def test_contents_can_be_given_when_it_is_written(tmp_path: Path) -> None:
    fat = Fat([FatFile("a/B", (Zeros(5),))], FatOptions(), SEED)
    image = Blobs().write(fat.write(contents={"A/b": b"later"}), tmp_path / "fat.img")
    assert run("mtype", "-i", image, "::a/B") == "later"
    with pytest.raises(ValueError, match="4 bytes for a file of 5"):
        fat.write(contents={"a/B": b"less"})


@pytest.mark.parametrize(
    ("made", "options", "words"),
    [
        pytest.param(
            [("kernel", 14 * MIB), ("initrd.img", 1 << 32)],
            FatOptions(),
            ["initrd.img has 4.3 GB (4294967296 bytes)", "at most 4.3 GB (4294967295 bytes)"],
            id="a file of 4 GiB",
        ),
        pytest.param(
            [("kernel", 14 * MIB), ("initrd.img", 110_000_000), ("small", 1)],
            FatOptions(size=64 * MIB),
            ["of 67.1 MB (67108864 bytes) has room for", "the largest parts: initrd.img 110.0 MB", "kernel 14.7 MB"],
            id="a size that is too small for the files",
        ),
        pytest.param(
            [("kernel", 1)], FatOptions(size=20 * MIB), ["no FAT32 can have 21.0 MB"], id="a size too small for FAT32"
        ),
        pytest.param(
            [("kernel", 1)], FatOptions(16, 4096 * MIB), ["no FAT16 can have 4.3 GB"], id="a size too large for FAT16"
        ),
        pytest.param(
            [("a", 2_000_000_000), ("b", 2_000_000_000)],
            FatOptions(16),
            ["4.0 GB (4000000000 bytes), more than a FAT16 can hold", "a 2.0 GB"],
            id="files too large for FAT16",
        ),
        pytest.param([("kernel", 1)], FatOptions(size=1000), ["a FAT of 1000 bytes"], id="no whole sectors"),
        pytest.param(
            [("kernel", 1)], FatOptions(size=3 << 40), ["at most 2 TiB"], id="more sectors than 32 bits count"
        ),
        pytest.param([("a:b", 1)], FatOptions(), ["'a:b' cannot be a file's name", "it holds ':'"], id="a colon"),
        pytest.param([("a\nb", 1)], FatOptions(), ["it holds '\\n'"], id="a line end"),
        pytest.param([("\udc80", 1)], FatOptions(), ["bytes that are no UTF-8"], id="a name that is no text"),
        pytest.param([("x" * 256, 1)], FatOptions(), ["it has 256 characters"], id="a name that is too long"),
        pytest.param([("dir./a", 1)], FatOptions(), ["it ends badly"], id="a dot at the end"),
        pytest.param([("a/../b", 1)], FatOptions(), ["'..' cannot be"], id="a name that leaves the root"),
        pytest.param([("a//b", 1)], FatOptions(), ["'' cannot be"], id="an empty name"),
        pytest.param([("Kernel", 1), ("kernel", 1)], FatOptions(), ["two files are called kernel"], id="twice"),
        pytest.param([("a", 1), ("A/b", 1)], FatOptions(), ["A/b: a is a file"], id="a file as directory"),
        pytest.param([("a/b", 1), ("A", 1)], FatOptions(), ["two files are called A"], id="a directory as file"),
    ],
)
def test_what_a_fat_cannot_hold_is_refused(made: list[tuple[str, int]], options: FatOptions, words: list[str]) -> None:
    with pytest.raises(StepError) as refused:
        Fat([FatFile(path, some(size)) for path, size in made], options, SEED)
    for word in words:
        assert word in refused.value.message
    assert refused.value.hint


@given(st.integers(40, 6000), st.sampled_from([16, 32]))
@settings(max_examples=60)
def test_no_division_has_more_clusters_than_its_tables_map(megabytes: int, bits: Bits) -> None:
    for per_cluster in (1, 8, 64):
        made = divide(megabytes * 2048, per_cluster, bits, 512 if bits == 16 else 0)
        assert made.clusters <= made.fat_sectors * 512 * 8 // bits - 2
        assert made.clusters <= CLUSTERS[bits][1]
        assert made.sectors <= megabytes * 2048
        assert made.data % PAGE == 0
        assert made.offset(2 + made.clusters) == made.sectors * 512


@given(st.lists(st.integers(0, 90_000_000), max_size=6), st.sampled_from([16, 32]))
@settings(max_examples=40)
def test_as_small_as_can_be_has_room_and_little_more(sizes: list[int], bits: Bits) -> None:
    fat = Fat([FatFile(f"f{n}", some(size)) for n, size in enumerate(sizes)], FatOptions(bits), SEED)
    least = CLUSTERS[bits][0] * 512
    assert fat.size % MIB == 0
    assert sum(sizes) < fat.size <= max(sum(sizes), least) * 1.03 + 7 * 32768 + 4 * MIB
    ends = sorted((fat.place(f"f{n}"), fat.place(f"f{n}") + size) for n, size in enumerate(sizes) if size)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert not ends or ends[-1][1] <= fat.size


@pytest.mark.parametrize(
    ("name", "used", "short", "long"),
    [
        ("KERNEL", set(), b"KERNEL     ", False),
        ("kernel", set(), b"KERNEL     ", True),
        ("syslinux.cfg", set(), b"SYSLINUXCFG", True),
        ("initrd.image", set(), b"INITRD~1IMA", True),
        ("longer than eight", {b"LONGER~1   "}, b"LONGER~2   ", True),
        (".config", set(), b"CONFIG~1   ", True),
        ("a+b", set(), b"A_B~1      ", True),
        ("a.b.c", set(), b"AB~1    C  ", True),
        ("x.", set(), b"X~1        ", True),
    ],
)
def test_short_names(name: str, used: set[bytes], short: bytes, long: bool) -> None:
    assert short_name(name, used) == (short, long)
