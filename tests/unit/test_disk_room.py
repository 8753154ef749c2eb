"""What is refused by numbers alone the writers refuse too; the smallest and largest sizes are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.disk.boot_disk import bios_disk, efi_disk, hybrid_disk
from lkbuild.disk.boot_files import Bootable
from lkbuild.disk.boot_iso import bios_iso, efi_iso, hybrid_iso
from lkbuild.disk.extents import Extent, Slice
from lkbuild.disk.layout import MIB, total
from lkbuild.disk.room import GPT, LIMITS, MAX_DISK, MBR, Contents, least_disk
from lkbuild.errors import StepError
from lkbuild.steps.medium import MAKERS
from tests.unit.disk_images import SEED
from tests.unit.test_disk_boot import disk_files, iso_files, pe

GIB = 1 << 30


def machine(kernel: int, initrd: int) -> Bootable:
    return Bootable((Slice(Digest.of(b"k"), 0, kernel),), (Slice(Digest.of(b"i"), 0, initrd),), "")


def made(maker: str, boot: Bootable, size: int | None) -> list[Extent]:
    """What the writer makes of it; StepError where it does not fit."""
    match maker:
        case "bios-disk":
            return bios_disk(boot, disk_files(), size, SEED)
        case "efi-disk":
            return efi_disk(boot, pe(), size, SEED)
        case "hybrid-disk":
            return hybrid_disk(boot, disk_files(), pe(), size, SEED)
        case "bios-iso":
            return bios_iso(boot, iso_files(), SEED)
        case "efi-iso" | "uki":
            return efi_iso(boot, pe(), SEED)
        case _:
            return hybrid_iso(boot, iso_files(), pe(), SEED)


def contents(kernel: int, initrd: int) -> Contents:
    third = initrd // 3
    return Contents((("kernel:k", kernel),), (("tree:a", third), ("tree:b", initrd - third)))


@pytest.mark.parametrize(
    ("maker", "kernel", "initrd", "size", "words"),
    [
        ("bios-disk", 14_000_000, 60_000_000, 40 * MIB, r"41\.9 MB .* room for 40\.2 MB .* need 74\.0 MB"),
        ("hybrid-disk", 14_000_000, 60_000_000, 40 * MIB, r"41\.9 MB .* room for 39\.2 MB .* need 74\.0 MB"),
        ("efi-disk", 100_000_000, 1, 64 * MIB, "room for .*; the largest parts: kernel:k 100.0 MB"),
        (
            "bios-disk",
            1,
            4 * GIB,
            None,
            r"a file of 4\.3 GB .* at most 4\.3 GB \(4294967295 bytes",
        ),
        ("bios-disk", 4 * GIB, 1, None, "a file of .*; the largest parts: kernel:k 4.3 GB"),
        ("efi-disk", 2 * GIB, 2 * GIB, None, r"a UEFI program of 4\.3 GB .* \(at most 4\.3 GB"),
        ("efi-iso", 2 * GIB, 2 * GIB, None, "the largest parts: kernel:k 2.1 GB .*, tree:b 1.4 GB"),
        ("hybrid-iso", 1, 5 * GIB, None, "a UEFI program of 5.4 GB"),
        ("uki", 1, 5 * GIB, None, "a UEFI program of 5.4 GB"),
        ("bios-iso", 1, 3 << 40, None, r"an ISO of 3\.3 TB .* \(at most 2\.2 TB"),
    ],
)
def test_what_can_never_fit(maker: str, kernel: int, initrd: int, size: int | None, words: str) -> None:
    error = LIMITS[maker](contents(kernel, initrd), size)
    assert error is not None
    with pytest.raises(StepError, match=words):
        raise error
    assert error.hint
    with pytest.raises(StepError):
        made(maker, machine(kernel, initrd), size)


def test_u_boot() -> None:
    error = LIMITS["rpi3"](contents(1, 4 * GIB), None)
    assert error is not None and "U-Boot takes at most 4.3 GB" in error.message


@pytest.mark.parametrize("maker", [*MAKERS, "rpi3"])
def test_every_medium_has_a_limit_and_a_small_machine_is_within(maker: str) -> None:
    assert LIMITS[maker](contents(14_000_000, 60_000_000), None) is None
    assert LIMITS[maker](Contents((), ()), None) is None


@given(
    st.sampled_from(["bios-disk", "efi-disk", "hybrid-disk"]),
    st.integers(1, 200 * MIB),
    st.integers(1, 200 * MIB),
    st.integers(36, 420),
)
def test_nothing_is_refused_that_a_writer_takes(maker: str, kernel: int, initrd: int, megabytes: int) -> None:
    error = LIMITS[maker](contents(kernel, initrd), megabytes * MIB)
    try:
        made(maker, machine(kernel, initrd), megabytes * MIB)
    except StepError:
        return
    assert error is None


@pytest.mark.parametrize(("maker", "around"), [("bios-disk", MBR), ("efi-disk", GPT), ("hybrid-disk", GPT)])
def test_the_smallest_and_the_largest_disk(maker: str, around: int) -> None:
    boot = machine(1000, 1000)
    for size in (least_disk(around), MAX_DISK):
        assert total(made(maker, boot, size)) <= size
    for size in (least_disk(around) - MIB, MAX_DISK + 2 * MIB):
        with pytest.raises(StepError):
            made(maker, boot, size)


def test_the_size_that_is_advised_is_near_the_least_that_works(tmp_path: Path) -> None:
    error = LIMITS["bios-disk"](contents(14_000_000, 60_000_000), 40 * MIB)
    assert error is not None and "at least size=73M" in (error.hint or "")
    smallest = total(made("bios-disk", machine(14_000_000, 60_000_000), None)) // MIB
    assert 73 <= smallest <= 74
