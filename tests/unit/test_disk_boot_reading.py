"""What a medium boots, read from the media that we and others make, whole and damaged."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.disk.boot_files import unified
from lkbuild.disk.boot_reading import Booted, booted
from lkbuild.disk.extents import Extent
from lkbuild.disk.fat import Fat, FatOptions
from lkbuild.disk.fat_tree import FatFile
from lkbuild.disk.layout import MIB, Disk, total
from lkbuild.disk.qcow2 import qcow2
from lkbuild.disk.vhd import dynamic_vhd, fixed_vhd
from lkbuild.disk.vhdx import vhdx
from lkbuild.disk.view import View, of_file
from lkbuild.disk.vmdk import stream_vmdk
from tests.unit.disk_images import SEED, Blobs, loader, noise, run
from tests.unit.test_disk_boot import INITRD, KERNEL, bootable, media

BLOBS = Blobs()
CMDLINE = "console=ttyS0 quiet"


@functools.cache
def made() -> dict[str, list[Extent]]:
    return {**media(BLOBS), "uki.efi": list(unified(bootable(BLOBS), loader("stub")).extents)}


def vmdk(disk: list[Extent]) -> bytes:
    target = io.BytesIO()
    stream_vmdk(Disk(disk, total(disk), BLOBS.open), SEED, target)
    return target.getvalue()


CONTAINERS: dict[str, Callable[[list[Extent]], bytes]] = {
    "raw": BLOBS.bytes,
    "qcow2": lambda disk: BLOBS.bytes(qcow2(disk, total(disk))),
    "vhd": lambda disk: BLOBS.bytes(fixed_vhd(disk, total(disk), SEED)),
    "dynamic-vhd": lambda disk: BLOBS.bytes(dynamic_vhd(disk, total(disk), SEED)),
    "vhdx": lambda disk: BLOBS.bytes(vhdx(disk, total(disk), SEED)),
    "vmdk": vmdk,
}
NAMES = ("bios.img", "efi.img", "hybrid.img", "bios.iso", "efi.iso", "efi-initrd.iso", "hybrid.iso", "uki.efi")
MEDIA = [(name, "raw") for name in NAMES] + [
    (name, container) for name in NAMES if name.endswith(".img") for container in CONTAINERS if container != "raw"
]


@functools.cache
def stored(name: str, container: str) -> bytes:
    return CONTAINERS[container](made()[name])


def view(data: bytes) -> View:
    return View(lambda offset, length: data[offset : offset + length], len(data))


def facts(found: Booted | None) -> tuple[bytes, bytes | None, str | None]:
    """Initrd, kernel and command line."""
    assert found is not None
    kernel = None if found.kernel is None else b"".join(found.kernel.pieces())
    return b"".join(found.initrd.pieces()), kernel, found.cmdline


@pytest.mark.parametrize(("name", "container"), MEDIA)
def test_the_initrd_of_every_medium(name: str, container: str) -> None:
    assert facts(booted(view(stored(name, container)))) == (INITRD, KERNEL, CMDLINE)


@pytest.mark.parametrize(
    ("arguments", "there"),
    [
        (("-O", "qcow2"), True),
        (("-O", "qcow2", "-o", "compat=0.10,cluster_size=4096"), True),
        (("-O", "qcow2", "-c"), False),  # compressed clusters
        (("-O", "qcow2", "-o", "extended_l2=on"), False),
        (("-O", "vpc"), True),
        (("-O", "vpc", "-o", "subformat=fixed"), True),
        (("-O", "vhdx", "-o", "block_size=2M"), True),
        (("-O", "vmdk"), True),
        (("-O", "vmdk", "-o", "subformat=streamOptimized"), True),
    ],
)
@pytest.mark.parametrize("name", ["bios.img", "efi.img"])
def test_disks_that_qemu_img_wrote(tmp_path: Path, name: str, arguments: tuple[str, ...], there: bool) -> None:
    raw = BLOBS.write(made()[name], tmp_path / "raw.img")
    run("qemu-img", "convert", "-f", "raw", *arguments, raw, tmp_path / "made")
    with (tmp_path / "made").open("rb") as file:
        found = booted(of_file(file))
        assert (found is not None and b"".join(found.initrd.pieces()) == INITRD) if there else found is None


def test_an_overlay_is_not_understood(tmp_path: Path) -> None:
    base = BLOBS.write(qcow2(made()["bios.img"], total(made()["bios.img"])), tmp_path / "base.qcow2")
    run("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", tmp_path / "over.qcow2")
    assert booted(view((tmp_path / "over.qcow2").read_bytes())) is None


@pytest.mark.parametrize("place", ["boot/initrd.img", "initrd.img"])
def test_an_iso_that_xorriso_wrote(tmp_path: Path, place: str) -> None:
    tree = tmp_path / "tree"
    (tree / "isolinux").mkdir(parents=True)
    (tree / place).parent.mkdir(exist_ok=True)
    (tree / place).write_bytes(INITRD)
    (tree / "isolinux" / "isolinux.cfg").write_text("APPEND root=/dev/sda1 ro\n")
    run("xorriso", "-as", "mkisofs", "-R", "-o", tmp_path / "made.iso", tree)
    found = booted(view((tmp_path / "made.iso").read_bytes()))
    assert facts(found) == (INITRD, None, "root=/dev/sda1 ro")


@pytest.mark.parametrize("bits", ["16", "32"])
def test_a_fat_that_others_wrote(tmp_path: Path, bits: str) -> None:
    disk, initrd = tmp_path / "disk.img", tmp_path / "initrd.img"
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    initrd.write_bytes(INITRD)
    run("mkfs.vfat", "-F", bits, "-s", "1" if bits == "32" else "4", disk)
    run("mcopy", "-i", disk, initrd, "::initrd.img")
    assert facts(booted(view(disk.read_bytes()))) == (INITRD, None, None)


def test_an_initrd_in_pieces_on_a_fat(tmp_path: Path) -> None:
    """Its clusters fill the holes that other files left."""
    disk, small, initrd = tmp_path / "disk.img", tmp_path / "small", tmp_path / "initrd.img"
    with disk.open("wb") as file:
        file.truncate(8 * MIB)
    small.write_bytes(noise(600_000))
    initrd.write_bytes(INITRD)
    run("mkfs.vfat", "-F", "16", "-s", "1", disk)
    for name in "abcdefghijkl":
        run("mcopy", "-i", disk, small, f"::{name}")
    for name in "acegik":
        run("mdel", "-i", disk, f"::{name}")
    run("mcopy", "-i", disk, initrd, "::initrd.img")
    assert len(re.findall("<", run("mshowfat", "-i", disk, "::initrd.img"))) > 3
    found = booted(view(disk.read_bytes()))
    assert facts(found)[0] == INITRD
    assert found is not None
    assert (found.initrd.read(1_000_000, 9), found.initrd.read(5, 9)) == (INITRD[1_000_000:1_000_009], INITRD[5:14])


def test_a_program_in_pieces_on_a_fat() -> None:
    """Its headers are read cluster by cluster, from wherever they are."""
    program = BLOBS.bytes(made()["uki.efi"])
    fat = Fat([FatFile("EFI/BOOT/BOOTX64.EFI", BLOBS.add(program))], FatOptions(), SEED)
    found = booted(view(BLOBS.bytes(fat.write())))
    assert facts(found) == (INITRD, KERNEL, CMDLINE)


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", b"QFI\xfb", b"conectix", b"vhdxfile", b"KDMV", bytes(100_000), noise(100_000), b"MZ" * 50_000],
    ids=lambda data: f"{len(data)} of {data[:8]!r}",
)
def test_what_boots_nothing(data: bytes) -> None:
    assert booted(view(data)) is None


def test_a_program_without_an_initrd() -> None:
    assert booted(view(loader("stub"))) is None


@functools.cache
def looked_at(name: str, container: str) -> list[int]:
    """The places of the bytes that are read of a medium, the beginning of each range."""
    data, places = stored(name, container), []

    def fetch(offset: int, length: int) -> bytes:
        places.extend(range(offset, offset + min(length, 600)))
        return data[offset : offset + length]

    booted(View(fetch, len(data)))
    return places


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(MEDIA),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=6),
    st.one_of(st.just(0), st.integers(0, 1 << 30)),
)
def test_damaged_files_are_not_understood_or_understood(
    medium: tuple[str, str], changes: list[tuple[int, int]], cut: int
) -> None:
    """Never a traceback, and never much reading, whatever stands where it is looked, and wherever the file ends."""
    data, places, read = stored(*medium), looked_at(*medium), 0
    damaged = {places[number % len(places)]: value for number, value in changes}

    def fetch(offset: int, length: int) -> bytes:
        nonlocal read
        read += length
        found = bytearray(data[offset : offset + length])
        for place, value in damaged.items():
            if offset <= place < offset + length:
                found[place - offset] = value
        return bytes(found)

    found = booted(View(fetch, len(data) - cut % len(data)))
    assert read < 64 * MIB
    with contextlib.suppress(ValueError):
        for part in (found.initrd, found.kernel) if found is not None else ():
            if part is not None and part.size < 64 * MIB:
                assert sum(map(len, part.pieces())) == part.size
