"""MBR and GPT, read back by sgdisk and sfdisk."""

from __future__ import annotations

from pathlib import Path

import pytest

from lkbuild.disk import partition as table
from lkbuild.errors import StepError
from tests.unit.disk_images import SEED, run

SECTORS = 100 * 2048


def disk(path: Path, head: bytes, tail: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.seek(SECTORS * 512 - len(tail))
        file.write(tail)
        file.truncate(SECTORS * 512)
    return path


def gpt_disk(path: Path, active: bool = False) -> Path:
    boot = table.mbr([table.protective(SECTORS, active)], b"\xeb\xfe", table.disk_signature(SEED))
    parts = [
        table.Partition(table.EFI_SYSTEM, 2048, 40 * 2048, "EFI System", legacy_boot=True),
        table.Partition(table.LINUX_DATA, 41 * 2048, 58 * 2048, "data"),
    ]
    made = table.gpt(SECTORS, parts, boot, SEED)
    return disk(path, made.head, made.tail)


def test_sgdisk_finds_nothing_wrong_with_either_table(tmp_path: Path) -> None:
    image = gpt_disk(tmp_path / "gpt.img")
    checked = run("sgdisk", "-v", image)
    assert "No problems found" in checked
    shown = run("sgdisk", "-i", "1", image)
    assert (
        "EFI system partition" in shown and "First sector: 2048 " in shown and "Partition name: 'EFI System'" in shown
    )
    assert "Attribute flags: 0000000000000004" in shown
    assert "No errors detected" in run("sfdisk", "-V", image)


def test_the_copy_alone_restores_the_table(tmp_path: Path) -> None:
    image = gpt_disk(tmp_path / "gpt.img")
    before = run("sfdisk", "-d", image)
    with image.open("r+b") as file:
        file.seek(512)
        file.write(bytes(33 * 512))
    after = run("sfdisk", "-d", image)
    assert after.startswith(before) and "the backup appears OK" in after


def test_an_active_protective_partition_is_all_that_sgdisk_minds(tmp_path: Path) -> None:
    checked = run("sgdisk", "-v", gpt_disk(tmp_path / "gpt.img", active=True))
    assert "No problems found" in checked and "marked as active" in checked


def test_an_mbr_is_read_with_its_geometry(tmp_path: Path) -> None:
    entries = [
        table.MbrEntry(table.FAT32_LBA, 2048, 40 * 2048, active=True),
        table.MbrEntry(table.LINUX, 41 * 2048, 59 * 2048),
    ]
    image = disk(tmp_path / "mbr.img", table.mbr(entries, b"\x90" * 440, 0x4C4B4C4B))
    assert "No errors detected" in run("sfdisk", "-V", image)
    dumped = run("sfdisk", "-d", image)
    assert "label-id: 0x4c4b4c4b" in dumped
    assert "start=        2048, size=       81920, type=c, bootable" in dumped
    assert image.read_bytes()[446 + 1 : 446 + 4] == b"\x20\x21\0"


def test_identifiers_come_from_the_seed() -> None:
    def made(seed: bytes) -> bytes:
        return table.gpt(SECTORS, [table.Partition(table.EFI_SYSTEM, 2048, 9, "x")], bytes(512), seed).head

    assert made(b"a") == made(b"a") != made(b"b")


def test_boot_code_that_is_too_long_is_refused() -> None:
    with pytest.raises(StepError, match=r"boot code of 441 bytes \(a boot sector has room for 440\)"):
        table.mbr([], b"x" * 441, 1)
    assert table.mbr([], b"x" * 440 + bytes(72), 1)[:440] == b"x" * 440


def test_a_partition_beyond_two_tebibytes_is_refused() -> None:
    with pytest.raises(StepError, match="ends beyond 2 TiB"):
        table.mbr([table.MbrEntry(table.LINUX, 2048, 1 << 32)], b"", 1)


@pytest.mark.parametrize(("first", "sectors"), [(33, 10), (34, SECTORS - 66), (SECTORS - 33, 1)])
def test_a_partition_over_the_tables_is_a_mistake_of_the_caller(first: int, sectors: int) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        table.gpt(SECTORS, [table.Partition(table.LINUX_DATA, first, sectors, "x")], bytes(512), SEED)
