"""ISO 9660 with Rock Ridge, read back by isoinfo and xorriso; booting ones by sgdisk and sfdisk too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lkbuild.archive.entry import Entry
from lkbuild.digest import Digest
from lkbuild.disk import el_torito
from lkbuild.disk.extents import Data, Slice
from lkbuild.disk.fat import Fat, FatOptions
from lkbuild.disk.fat_tree import FatFile
from lkbuild.disk.iso import BiosBoot, EfiBoot, IsoOptions, iso
from lkbuild.disk.iso_records import Names, long_date, short_date
from lkbuild.disk.layout import MIB, PAGE, total
from lkbuild.disk.rock_ridge import Continuations
from lkbuild.disk.tree import Member
from lkbuild.errors import StepError
from tests.unit.disk_images import SEED, Blobs, noise, run
from tests.unit.disk_trees import SYMLINKS, members, plain_contents


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blobs = Blobs()
    return blobs.write(iso(members(blobs), IsoOptions("ROOT"), SEED), tmp_path_factory.mktemp("iso") / "root.iso")


def test_every_file_comes_back(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("xorriso", "-osirrox", "on:auto_chmod_on", "-indev", image, "-extract", "/", out)
    for path, data in plain_contents().items():
        assert (out / path.decode("utf-8", "surrogateescape")).read_bytes() == data, path


def test_xorriso_shows_owners_modes_links_and_devices(image: Path) -> None:
    lines = run("xorriso", "-indev", image, "-find", "/", "-exec", "lsdl", "--").split("\n")
    shown = {found[2]: found[1] for line in lines if (found := re.match(r"(.*) '([^']*)'", line))}
    assert shown["/bin/tool"].split()[:5] == ["-rwsr-xr-x", "1", "1000", "100000", "300000"]
    assert shown["/bin/again"].split()[:5] == ["-rwsr-xr-x", "1", "1000", "100000", "300000"]
    assert shown["/run"].startswith("drwxrwxrwt") and shown["/run"].endswith("May 13  2014")
    assert shown["/run/fifo"].startswith("prw--w--w-")
    assert shown["/dev/null"].startswith("crw-rw-rw-")
    assert shown["/dev/sda"].startswith("brw-rw----")
    for path, target in SYMLINKS.items():
        assert f"'/{path.decode()}' -> '{target.decode()}'" in "\n".join(lines)


def test_isoinfo_reads_the_tree(image: Path) -> None:
    listed = set(run("isoinfo", "-R", "-f", "-i", image).split("\n"))
    assert {"/" + path.decode() for path in plain_contents() if path.isascii()} <= listed
    assert run("isoinfo", "-R", "-x", "/d/d/d/d/d/d/d/d/d/d/d/d/deep", "-i", image) == "7"
    described = run("isoinfo", "-d", "-i", image)
    assert "Volume id: ROOT" in described and "Rock Ridge signatures version 1 found" in described


def test_hard_links_share_their_contents() -> None:
    blobs = Blobs()
    data = blobs.add(noise(MIB))
    given = [Member(Entry(b"a", "file", 0o644), data), Member(Entry(b"b", "hardlink", 0, target=b"a"))]
    assert total(iso(given, IsoOptions(), SEED)) < MIB + 60_000


def test_large_contents_lie_at_multiples_of_a_page_and_are_not_copied() -> None:
    large = Slice(Digest.of(b""), 0, 9_000_000_001)
    given = [Member(Entry(b"a", "file", 0o644), (Data(b"x"),)), Member(Entry(b"large", "file", 0o644), (large,))]
    at = 0
    for extent in iso(given, IsoOptions(), SEED):
        if isinstance(extent, Slice):
            assert (at % PAGE, extent) == (0, large)
        at += extent.length
    assert at > large.length


def test_a_file_of_more_than_four_gibibytes_is_read_whole(tmp_path: Path) -> None:
    path, large = tmp_path / "large.iso", Slice(Digest.of(b""), 0, 9_000_000_001)
    at = 0
    with path.open("wb") as file:
        for extent in iso([Member(Entry(b"large", "file", 0o644), (large,))], IsoOptions(), SEED):
            if isinstance(extent, Data):
                file.seek(at)
                file.write(extent.data)
            at += extent.length
        file.truncate(at)
    assert " 9000000001 " in run("xorriso", "-indev", path, "-lsl", "/large")


def test_the_same_members_make_the_same_bytes_whatever_their_order() -> None:
    blobs = Blobs()
    first = blobs.bytes(iso(members(blobs), IsoOptions(), SEED))
    turned = sorted([*members(blobs)[:1], *members(blobs)[:0:-1]], key=lambda m: m.entry.kind == "hardlink")
    assert blobs.bytes(iso(turned, IsoOptions(), b"other")) == first, "a plain ISO has no identifier"


def test_a_name_that_linux_would_cut_is_refused() -> None:
    with pytest.raises(StepError, match=r"a name of 254 bytes \(Linux reads 253 from an ISO\)"):
        iso([Member(Entry(b"n" * 254, "file", 0o644))], IsoOptions(), SEED)


def test_more_directories_than_a_path_table_numbers_are_refused() -> None:
    many = [Member(Entry(b"%d" % n, "directory", 0o755)) for n in range(65535)]
    with pytest.raises(StepError, match=r"65536 directories \(an ISO has at most 65535\)"):
        iso(many, IsoOptions(), SEED)


@pytest.mark.parametrize(
    ("time", "short", "long"),
    [
        (0, (70, 1, 1, 0, 0, 0, 0), b"1970010100000000\0"),
        (1492533000, (117, 4, 18, 16, 30, 0, 0), b"2017041816300000\0"),
        (-(1 << 40), (0, 1, 1, 0, 0, 0, 0), b"1900010100000000\0"),
        (1 << 40, (255, 12, 31, 23, 59, 59, 0), b"2155123123595900\0"),
    ],
)
def test_dates_beyond_what_can_be_said_are_the_nearest(time: int, short: tuple[int, ...], long: bytes) -> None:
    assert (tuple(short_date(time)), long_date(time)) == (short, long)


def test_identifiers_are_all_different_and_as_the_names_where_they_can_be() -> None:
    names = Names()
    taken = [
        names.take(name, False) for name in (b"initrd.img", b"INITRD.IMG", b"Initrd.img", b".x", b"a b", b"kernel")
    ]
    assert taken == [b"INITRD.IMG;1", b"INITRD0.IMG;1", b"INITRD1.IMG;1", b"_X.;1", b"A_B.;1", b"KERNEL.;1"]
    assert [names.take(b"d" * 40, True), names.take(b"d" * 50, True)] == [b"D" * 30, b"D" * 29 + b"0"]


@pytest.mark.parametrize("count", [1, 9, 40])
def test_fields_continue_in_whole_sectors(count: int) -> None:
    continued = Continuations(100)
    fields = [bytes([n]) * 250 for n in range(count)]
    inline = continued.fit(fields, 180)
    assert len(inline) == 28, "nothing but where it goes on"
    assert all(field in bytes(continued.data) for field in fields)
    for at in range(0, len(continued.data), 2048):
        assert len(continued.data[at : at + 2048]) <= 2048
        assert all(bytes([n]) * 250 in continued.data for n in range(count))


# -- booting ---------------------------------------------------------------------------------------------------------

ISOLINUX = noise(30_000, 3)


def bootable(blobs: Blobs, bios: bool, efi: bool) -> tuple[list[Member], IsoOptions]:
    kernel = blobs.add(noise(2 * MIB, 4))
    given = [Member(Entry(b"boot/kernel", "file", 0o444), kernel)]
    first = BiosBoot(b"isolinux/isolinux.bin", ISOLINUX, b"\x33\xed" + b"\x90" * 430) if bios else None
    second = None
    if efi:
        fat = Fat([FatFile("EFI/BOOT/BOOTX64.EFI", kernel)], FatOptions(), SEED)
        second = EfiBoot(tuple(fat.write()), ((b"boot/kernel", fat.place("EFI/BOOT/BOOTX64.EFI")),))
    return given, IsoOptions(bios=first, efi=second)


@pytest.mark.parametrize(
    ("bios", "efi", "lines"),
    [
        (True, False, ["El Torito boot img :   1  BIOS  y", "boot-info-table", "0x80  0x17"]),
        (False, True, ["El Torito boot img :   1  UEFI  y", "protective-msdos-label"]),
        (
            True,
            True,
            ["boot img :   1  BIOS  y", "boot img :   2  UEFI  y", "GPT type GUID      :   1  28732ac11ff8d211"],
        ),
    ],
    ids=["bios", "efi", "hybrid"],
)
def test_xorriso_finds_what_boots(tmp_path: Path, bios: bool, efi: bool, lines: list[str]) -> None:
    blobs = Blobs()
    given, options = bootable(blobs, bios, efi)
    path = blobs.write(iso(given, options, SEED), tmp_path / "boot.iso")
    assert path.stat().st_size % MIB == 0
    reported = run(
        "xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain", "-find", "/boot"
    )
    for line in lines:
        assert line in reported
    assert not any(word in reported for word in ("WARNING", "SORRY", "FAILURE", "wrong"))
    assert "No errors detected" in run("sfdisk", "-V", path)
    if efi:
        assert "No problems found" in run("sgdisk", "-v", path)
    run("xorriso", "-osirrox", "on", "-indev", path, "-extract", "/boot/kernel", tmp_path / "kernel")
    assert (tmp_path / "kernel").read_bytes() == noise(2 * MIB, 4)


def test_what_is_shared_is_there_once() -> None:
    blobs = Blobs()
    given, options = bootable(blobs, bios=True, efi=True)
    slices = [extent for extent in iso(given, options, SEED) if isinstance(extent, Slice)]
    assert sum(extent.length for extent in slices) == 2 * MIB


def test_the_boot_information_table() -> None:
    made = el_torito.with_boot_info(ISOLINUX, 77)
    assert made[:8] == ISOLINUX[:8] and made[64:] == ISOLINUX[64:] and len(made) == len(ISOLINUX)
    numbers = [int.from_bytes(made[at : at + 4], "little") for at in (8, 12, 16, 20)]
    words = [int.from_bytes(ISOLINUX[at : at + 4], "little") for at in range(64, len(ISOLINUX), 4)]
    assert numbers == [16, 77, len(ISOLINUX), sum(words) % (1 << 32)]


def test_an_image_too_large_for_the_catalogue_is_counted_as_the_rest_of_the_disc() -> None:
    assert el_torito.catalogue(None, (30, 65535 * 512))[38:40] == b"\xff\xff"
    assert el_torito.catalogue(None, (30, 65536 * 512))[38:40] == b"\0\0"


def test_a_file_that_is_no_isolinux_is_refused() -> None:
    given = IsoOptions(bios=BiosBoot(b"isolinux.bin", b"short"))
    with pytest.raises(StepError, match=r"isolinux\.bin has 5 bytes"):
        iso([], given, SEED)


def test_identifiers_of_the_disk_come_from_the_seed() -> None:
    blobs = Blobs()
    given, options = bootable(blobs, bios=True, efi=True)
    first, second, other = (blobs.bytes(iso(given, options, seed)) for seed in (SEED, SEED, b"other"))
    assert first == second != other
    assert {n for n in range(len(first)) if first[n] != other[n]} <= {
        *range(440, 1200),
        *range(len(first) - 16896, len(first)),
    }
