"""QCOW2, VHD, VHDX, VMDK and Google's archive, each compared with the raw disk by qemu-img or tar."""

from __future__ import annotations

import gzip
import io
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.disk.deflate import open_gzip, stored_blocks, zlib_stream
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.gcp import gcp
from lkbuild.disk.layout import MIB, PAGE, Disk, joined, round_up, total
from lkbuild.disk.qcow2 import qcow2
from lkbuild.disk.vhd import dynamic_vhd, fixed_vhd
from lkbuild.disk.vhdx import vhdx
from lkbuild.disk.vmdk import stream_vmdk
from lkbuild.errors import StepError
from tests.unit.disk_images import SEED, Blobs, noise, run

BLOBS = Blobs()
PAYLOAD = noise(5 * MIB + 123)
TEXT = b"a line that compresses well\n" * 40_000

DISKS: dict[str, list[Extent]] = {
    "metadata, payload, zeros, a tail": [
        Data(b"boot" * 128),
        Zeros(MIB - 512),
        *BLOBS.add(PAYLOAD),
        Zeros(PAGE - 123),
        *BLOBS.add(TEXT),
        Zeros(70 * MIB),
        Data(b"\0" * 100 + b"tail"),
        Zeros(408),
    ],
    "nothing but zeros": [Zeros(3 * MIB)],
    "a byte at the end": [Zeros(40 * MIB - 1), Data(b"x")],
    "a MiB and a half": [*BLOBS.add(noise(MIB + MIB // 2, 5))],
}


def size(disk: str) -> int:
    return round_up(total(DISKS[disk]), 512)


EXTENTS: dict[str, tuple[str, Callable[[list[Extent], int], list[Extent]]]] = {
    "qcow2": ("qcow2", qcow2),
    "vhd": ("vpc", lambda extents, size: fixed_vhd(extents, size, SEED)),
    "dynamic-vhd": ("vpc", lambda extents, size: dynamic_vhd(extents, size, SEED)),
    "vhdx": ("vhdx", lambda extents, size: vhdx(extents, size, SEED)),
}


def vmdk(disk: str, level: int) -> bytes:
    target = io.BytesIO()
    stream_vmdk(Disk(DISKS[disk], size(disk), BLOBS.open), SEED, target, level)
    return target.getvalue()


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("name", EXTENTS)
def test_qemu_reads_the_disk_that_was_given(tmp_path: Path, disk: str, name: str) -> None:
    form, make = EXTENTS[name]
    raw = BLOBS.write(DISKS[disk], tmp_path / "raw.img")
    image = BLOBS.write(make(DISKS[disk], size(disk)), tmp_path / "image")
    assert "Images are identical" in run("qemu-img", "compare", "-f", form, "-F", "raw", image, raw)
    if form != "vpc":
        assert "No errors were found" in run("qemu-img", "check", "-f", form, image)


@pytest.mark.parametrize("level", [0, 1, 6])
def test_qemu_reads_the_stream_at_every_level(tmp_path: Path, disk: str, level: int) -> None:
    raw = BLOBS.write(DISKS[disk], tmp_path / "raw.img")
    image = tmp_path / "image.vmdk"
    image.write_bytes(vmdk(disk, level))
    assert "Images are identical" in run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", image, raw)
    assert "No errors were found" in run("qemu-img", "check", image)
    assert "streamOptimized" in run("qemu-img", "info", image)


@pytest.mark.parametrize("level", [0, 1, 6])
def test_tar_reads_the_sparse_disk(tmp_path: Path, disk: str, level: int) -> None:
    archive = tmp_path / "image.tar.gz"
    with archive.open("wb") as target:
        gcp(Disk(DISKS[disk], size(disk), BLOBS.open), target, level)
    run("tar", "-xSzf", archive, "-C", tmp_path)
    made = tmp_path / "disk.raw"
    wanted = BLOBS.bytes(DISKS[disk])
    assert made.stat().st_size == 1 << 30
    with made.open("rb") as file:
        assert file.read(len(wanted)) == wanted
    assert made.stat().st_blocks * 512 <= len(wanted) + MIB, "what lies behind the disk is a hole"
    assert run("tar", "-tvzf", archive).split()[:3] == ["-rw-r--r--", "0/0", "1073741824"]


def test_a_list_of_holes_that_needs_more_headers_is_read(tmp_path: Path) -> None:
    pieces: list[Extent] = []
    for number in range(60):
        pieces += [Data(bytes([number + 1])), Zeros(3 * 65536 - 1)]
    archive = tmp_path / "image.tar.gz"
    with archive.open("wb") as target:
        gcp(Disk(pieces, total(pieces), BLOBS.open), target, 1)
    run("tar", "-xSzf", archive, "-C", tmp_path)
    with (tmp_path / "disk.raw").open("rb") as file:
        assert file.read(total(pieces)) == BLOBS.bytes(pieces)


def test_payload_is_never_copied_and_keeps_its_place_in_a_block() -> None:
    payload = Slice(Digest.of(b""), 0, 3_000_000_000 // PAGE * PAGE)
    disk = [Data(b"boot"), Zeros(MIB - 4), payload, Zeros(MIB)]
    for name, (_, make) in EXTENTS.items():
        at = 0
        made = make(disk, total(disk))
        for extent in made:
            if isinstance(extent, Slice):
                assert (at - extent.offset) % PAGE == 0, name
            at += extent.length
        assert sum(e.length for e in made if isinstance(e, Slice)) == payload.length, name
        assert sum(e.length for e in made if isinstance(e, Data)) < 2_000_000, name


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Another time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def everything(seed: bytes) -> list[bytes]:
    given = DISKS["metadata, payload, zeros, a tail"]
    made = [
        BLOBS.bytes(make)
        for make in (
            qcow2(given, total(given)),
            fixed_vhd(given, total(given), seed),
            dynamic_vhd(given, total(given), seed),
            vhdx(given, total(given), seed),
        )
    ]
    for level in (0, 1, 6):
        disk, target = Disk(given, total(given), BLOBS.open), io.BytesIO()
        stream_vmdk(disk, seed, target, level)
        gcp(disk, target, level)
        made.append(target.getvalue())
    return made


def test_the_same_disk_makes_the_same_bytes_in_another_time_zone(elsewhere: None) -> None:
    there = [Digest.of(data) for data in everything(SEED)]
    os.environ["TZ"] = "America/Lima"
    time.tzset()
    assert [Digest.of(data) for data in everything(SEED)] == there


def test_identifiers_come_from_the_seed() -> None:
    same = [a == b for a, b in zip(everything(b"a"), everything(b"b"), strict=True)]
    assert same == [True, False, False, False, False, False, False], "only qcow2 has no identifier"


@pytest.mark.parametrize(
    ("make", "size", "words"),
    [
        pytest.param(EXTENTS["vhd"][1], 2041 << 30, r"a VHD of 2\.2 TB \(2191507062784 bytes\) \(at most", id="vhd"),
        pytest.param(EXTENTS["dynamic-vhd"][1], 2041 << 30, r"a VHD of 2\.2 TB", id="dynamic vhd"),
        pytest.param(EXTENTS["vhdx"][1], 65 << 40, r"a VHDX of 71\.5 TB", id="vhdx"),
    ],
)
def test_a_disk_too_large_for_its_format_is_refused(
    make: Callable[[list[Extent], int], list[Extent]], size: int, words: str
) -> None:
    with pytest.raises(StepError, match=words) as refused:
        make([Zeros(size)], size)
    assert refused.value.hint


def test_a_disk_too_large_for_a_vmdk_is_refused_before_a_byte_is_written() -> None:
    target = io.BytesIO()
    with pytest.raises(StepError, match=r"a VMDK of 3\.3 TB"):
        stream_vmdk(Disk([Zeros(3 << 40)], 3 << 40, BLOBS.open), SEED, target)
    assert target.getvalue() == b""


def test_large_disks_cost_no_more_than_their_tables() -> None:
    disk: list[Extent] = [Data(b"x"), Zeros((1 << 40) - 1)]
    assert sum(e.length for e in qcow2(disk, 1 << 40) if isinstance(e, Data)) < 300_000
    assert len(joined(vhdx(disk, 1 << 40, SEED))) < 30


def test_the_size_of_a_large_sparse_disk_is_read(tmp_path: Path) -> None:
    disk: list[Extent] = [Data(b"x"), Zeros((20 << 30) - 1)]
    archive = tmp_path / "a.tar.gz"
    with archive.open("wb") as target:
        gcp(Disk(disk, 20 << 30, BLOBS.open), target, 1)
    assert run("tar", "-tvzf", archive).split()[2] == str(20 << 30)
    image = BLOBS.write(dynamic_vhd(disk, 20 << 30, SEED), tmp_path / "a.vhd")
    assert re.search(rf"\({20 << 30} bytes\)", run("qemu-img", "info", "-f", "vpc", image))


@given(st.binary(max_size=200), st.integers(1, 3000), st.integers(0, 9))
@settings(max_examples=60)
def test_deflated_bytes_come_back(data: bytes, times: int, level: int) -> None:
    plain = data * times
    assert zlib.decompress(zlib_stream(plain, level)) == plain
    target = io.BytesIO()
    stream = open_gzip(target, level)
    for at in range(0, len(plain), 70_000):
        stream.write(plain[at : at + 70_000])
    stream.close()
    assert gzip.decompress(target.getvalue()) == plain
    assert target.getvalue()[4:8] == bytes(4), "no time"


def test_stored_blocks_are_nearly_a_copy() -> None:
    assert len(stored_blocks(PAYLOAD)) <= len(PAYLOAD) * 1.0001 + 5
