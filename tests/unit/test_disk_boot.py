"""Unified kernel images, loaders and their configuration, and the disks and ISOs put together from them."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.disk.boot_disk import bios_disk, efi_disk, hybrid_disk
from lkbuild.disk.boot_files import BiosDiskFiles, BiosIsoFiles, Bootable, unified
from lkbuild.disk.boot_iso import bios_iso, efi_initrd_iso, efi_iso, hybrid_iso
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.fat import Fat, FatOptions
from lkbuild.disk.fat_geometry import Bits
from lkbuild.disk.layout import MIB, PAGE, total
from lkbuild.disk.loader_config import MAX_CMDLINE, Boot, loader_config, loader_entry, syslinux_config
from lkbuild.disk.syslinux import Syslinux, core_file, from_installer, install, patched
from lkbuild.disk.uki import Section, fallback_name, uki
from lkbuild.errors import StepError
from tests.unit.disk_images import SEED, Blobs, loader, noise, run

KERNEL, INITRD = noise(2_000_001, 11), noise(3_000_007, 12)


def pe(sections: int = 2, room: int = 10, machine: int = 0x8664) -> bytes:
    """The smallest UEFI program with sections that add up: 512 bytes of contents each."""
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<II", optional, 32, 4096, 512)
    head_size = 512 * -(-(0x40 + 24 + len(optional) + 40 * room) // 512)
    struct.pack_into("<II", optional, 56, 4096 * (sections + 1), head_size)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", machine, sections, 0, 0, 0, len(optional), 0x22E) + optional
    for number in range(sections):
        place = (512, 4096 * (number + 1), 512, head_size + 512 * number)
        head += struct.pack("<8sIIIIIIHHI", b".s%d" % number, *place, 0, 0, 0, 0, 0x60000020)
    return head.ljust(head_size, b"\0") + b"s" * 512 * sections


def bootable(blobs: Blobs) -> Bootable:
    return Bootable(blobs.add(KERNEL), blobs.add(INITRD), "console=ttyS0 quiet", "my machine")


def disk_files() -> BiosDiskFiles:
    return BiosDiskFiles(*map(loader, ("syslinux", "ldlinux.c32", "mbr.bin", "gptmbr.bin")))


def iso_files() -> BiosIsoFiles:
    return BiosIsoFiles(*map(loader, ("isolinux.bin", "ldlinux.c32", "isohdpfx.bin")))


# -- unified kernel images ---------------------------------------------------------------------------------------------


def test_objdump_and_sbsign_take_a_unified_kernel_image(tmp_path: Path) -> None:
    blobs = Blobs()
    made = unified(bootable(blobs), loader("stub"))
    image = blobs.write(made.extents, tmp_path / "machine.efi")
    for name, content in ((".cmdline", b"console=ttyS0 quiet"), (".linux", KERNEL), (".initrd", INITRD)):
        run("objcopy", "-O", "binary", "--only-section", name, image, tmp_path / "section")
        assert (tmp_path / "section").read_bytes().rstrip(b"\0") == content.rstrip(b"\0"), name
    request = ["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "9"]
    run("openssl", *request, "-keyout", tmp_path / "key", "-out", tmp_path / "certificate")
    signed = ("--key", tmp_path / "key", "--cert", tmp_path / "certificate", "--output", tmp_path / "signed")
    assert "warning" not in run("sbsign", *signed, image), "sections must leave no gaps"
    assert "verification OK" in run("sbverify", "--cert", tmp_path / "certificate", tmp_path / "signed")


def test_sections_follow_each_other_without_gaps_and_large_ones_lie_at_pages() -> None:
    blobs = Blobs()
    sizes = (10, 100_000, 4096, 1)
    made = uki(pe(), [Section(f".n{n}", blobs.add(noise(size))) for n, size in enumerate(sizes)])
    image = blobs.bytes(made.extents)
    assert len(image) == made.size
    (count,) = struct.unpack_from("<H", image, 0x40 + 6)
    table = 0x40 + 24 + 240
    places = [struct.unpack_from("<IIII", image, table + 40 * n + 8) for n in range(count)]
    assert count == 6
    for (_, _, stored, at), (_, _, _, following) in itertools.pairwise(places):
        assert at + stored == following
    assert all(address % 4096 == 0 for _, address, _, _ in places)
    assert all(a + v <= b for (v, a, _, _), (_, b, _, _) in itertools.pairwise(places))
    assert [virtual for virtual, _, _, _ in places[2:]] == list(sizes)
    assert all(at % PAGE == 0 for _, at in made.places[1:])
    assert struct.unpack_from("<I", image, 0x40 + 24 + 56)[0] == 4096 * (3 + 1 + 25 + 1 + 1), "SizeOfImage"
    for number, size in enumerate(sizes):
        at = made.place(f".n{number}")
        assert image[at : at + size] == noise(size)


@pytest.mark.parametrize(
    ("machine", "name"),
    [(0x8664, "BOOTX64.EFI"), (0xAA64, "BOOTAA64.EFI"), (0x14C, "BOOTIA32.EFI"), (0x5064, "BOOTRISCV64.EFI")],
)
def test_firmware_looks_for_the_name_of_its_machine(machine: int, name: str) -> None:
    assert fallback_name(pe(machine=machine)) == name


@pytest.mark.parametrize(
    "stub",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"#!/bin/sh\n" * 100, id="a script"),
        pytest.param(b"MZ" + bytes(200), id="no PE header"),
        pytest.param(pe()[:300], id="cut in the headers"),
        pytest.param(pe()[:-1], id="cut in a section"),
        pytest.param(b"MZ".ljust(0x3C, b"\0") + b"\xff" * 4, id="a header beyond the end"),
    ],
)
def test_a_stub_that_is_none_is_refused(stub: bytes) -> None:
    with pytest.raises(StepError, match="no UEFI program"):
        uki(stub, [Section(".x", (Zeros(1),))])


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(StepError, match="no UEFI program"):
        fallback_name(pe(machine=0x1234))


def test_a_stub_without_room_is_refused() -> None:
    stub = pe(sections=2, room=2)
    room = (512 * -(-(0x40 + 24 + 240 + 80) // 512) - (0x40 + 24 + 240)) // 40 - 2
    sections = [Section(".x", (Zeros(1),))] * (room + 1)
    with pytest.raises(StepError, match=f"room for {room} more sections, {room + 1} are to be added"):
        uki(stub, sections)


def test_an_image_of_four_gibibytes_is_refused_with_its_parts() -> None:
    boot = Bootable((Zeros(15_000_000),), (Slice(Digest.of(b""), 0, 1 << 32),), "")
    with pytest.raises(StepError, match=r"4\.3 GB \(43\d+ bytes\) \(at most .*the largest parts: \.initrd 4\.3 GB"):
        unified(boot, pe())


# -- SYSLINUX ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 32])
def test_syslinux_is_installed_as_its_installer_does(tmp_path: Path, bits: Bits) -> None:
    syslinux = from_installer(loader("syslinux"))
    image = Blobs().write(Fat([], FatOptions(bits), SEED).write(), tmp_path / "fat.img")
    run("syslinux", "--install", image)
    theirs = image.read_bytes()
    run("fsck.vfat", "-n", image)
    at = theirs.index(b"\r\nSYSLINUX ", 512)
    code, core = patched(syslinux, at // 512)
    assert theirs[:11] == code[:11] and theirs[90:512] == code[90:]
    differing = [n for n in range(len(core)) if core[n] != theirs[at + n]]
    # The installer leaves the field for the directory empty for the root, which changes the checksum.
    assert len(differing) <= 5


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"\x7fELF" + bytes(5000), id="another program"),
        pytest.param(bytes(510) + b"\x55\xaa\r\nSYSLINUX 6.04" + bytes(5000), id="without an end"),
        pytest.param(
            b"\r\nSYSLINUX 6.04" + bytes(100) + b"\x7fELF\1\1\1" + bytes(9) + b"\3\0\3\0", id="no boot sector"
        ),
    ],
)
def test_a_program_without_a_loader_is_refused(program: bytes) -> None:
    with pytest.raises(StepError, match="no loader that is known"):
        from_installer(program)


@pytest.mark.parametrize("core", [noise(5000), struct.pack("<I", 0x3EB202FE) + b"\xff" * 40, b""])
def test_a_core_that_is_none_is_refused(core: bytes) -> None:
    damaged = Syslinux(bytes(512), core)
    fat = Fat([core_file(damaged)], FatOptions(), SEED)
    with pytest.raises(StepError, match="not those of Syslinux 6"):
        install(fat, damaged)


# -- configuration -----------------------------------------------------------------------------------------------------

BOOT = Boot("/kernel", ("/ucode.cpio", "/initrd.img"), "console=ttyS0 a=b")


def test_loaders_are_told_what_to_boot() -> None:
    assert syslinux_config(BOOT).decode() == (
        "DEFAULT linux\nPROMPT 0\nTIMEOUT 1\nLABEL linux\n KERNEL /kernel\n"
        " INITRD /ucode.cpio,/initrd.img\n APPEND console=ttyS0 a=b\n"
    )
    assert loader_entry("x", BOOT).decode() == (
        "title x\nlinux /kernel\ninitrd /ucode.cpio\ninitrd /initrd.img\noptions console=ttyS0 a=b\n"
    )
    assert loader_config("linux.conf") == b"timeout 0\ndefault linux.conf\neditor no\n"


@pytest.mark.parametrize(
    ("cmdline", "words"),
    [
        ("a\nb", "a line end or NUL"),
        ("a\0b", "a line end or NUL"),
        ("x" * (MAX_CMDLINE + 1), "has 2048 bytes"),
    ],
)
def test_a_command_line_that_cannot_be_handed_on_is_refused(cmdline: str, words: str) -> None:
    with pytest.raises(StepError, match=words):
        syslinux_config(Boot("/kernel", (), cmdline))
    with pytest.raises(StepError, match=words):
        unified(Bootable((Zeros(1),), (Zeros(1),), cmdline), pe())


# -- whole media -------------------------------------------------------------------------------------------------------


def media(blobs: Blobs) -> dict[str, list[Extent]]:
    boot = bootable(blobs)
    return {
        "bios.img": bios_disk(boot, disk_files(), None, SEED),
        "efi.img": efi_disk(boot, loader("stub"), None, SEED),
        "hybrid.img": hybrid_disk(boot, disk_files(), loader("systemd-boot"), 100 * MIB, SEED),
        "bios.iso": bios_iso(boot, iso_files(), SEED),
        "efi.iso": efi_iso(boot, loader("stub"), SEED),
        "efi-initrd.iso": efi_initrd_iso(boot, loader("systemd-boot"), SEED),
        "hybrid.iso": hybrid_iso(boot, iso_files(), loader("stub"), SEED),
    }


@pytest.mark.parametrize("name", ["bios.img", "efi.img", "hybrid.img"])
def test_disks_are_read_by_others(tmp_path: Path, name: str) -> None:
    blobs = Blobs()
    path = blobs.write(media(blobs)[name], tmp_path / name)
    assert "No errors detected" in run("sfdisk", "-V", path)
    if name != "bios.img":
        assert "No problems found" in run("sgdisk", "-v", path)
    partition = tmp_path / "partition"
    content = path.read_bytes()[MIB:]
    sectors = int.from_bytes(content[32:36], "little")
    partition.write_bytes(content[: sectors * 512])
    run("fsck.vfat", "-n", partition)
    assert int.from_bytes(content[28:32], "little") == MIB // 512, "hidden sectors"
    if name != "efi.img":
        run("mcopy", "-i", partition, "::kernel", "::initrd.img", tmp_path)
        assert (tmp_path / "kernel").read_bytes() == KERNEL and (tmp_path / "initrd.img").read_bytes() == INITRD
        assert "APPEND console=ttyS0 quiet" in run("mtype", "-i", partition, "::syslinux.cfg")
    if name == "hybrid.img":
        assert path.stat().st_size == 100 * MIB
        assert "title my machine" in run("mtype", "-i", partition, "::loader/entries/linux.conf")


@pytest.mark.parametrize("name", ["bios.iso", "efi.iso", "hybrid.iso"])
def test_isos_are_read_by_others(tmp_path: Path, name: str) -> None:
    blobs = Blobs()
    path = blobs.write(media(blobs)[name], tmp_path / name)
    run("xorriso", "-osirrox", "on", "-indev", path, "-extract", "/boot", tmp_path / "boot")
    assert (tmp_path / "boot/kernel").read_bytes() == KERNEL
    assert (tmp_path / "boot/initrd.img").read_bytes() == INITRD
    if name != "bios.iso":
        assert "No problems found" in run("sgdisk", "-v", path)
        # The system partition, at a multiple of 4096, is the FAT with the unified kernel image.
        start = int(run("sgdisk", "-i", "1", path).split("First sector: ")[1].split()[0])
        assert start % 8 == 0
        partition = tmp_path / "partition"
        partition.write_bytes(path.read_bytes()[start * 512 :])
        run("mcopy", "-i", partition, "::EFI/BOOT/BOOTX64.EFI", tmp_path / "machine.efi")
        assert "file format pei-x86-64" in run("objdump", "-h", tmp_path / "machine.efi")


def test_an_iso_for_uefi_with_kernel_and_initrd_as_files(tmp_path: Path) -> None:
    """The same two files, read from the ISO and from the system partition, beside systemd-boot and its menu."""
    blobs = Blobs()
    path = blobs.write(media(blobs)["efi-initrd.iso"], tmp_path / "efi-initrd.iso")
    assert "No problems found" in run("sgdisk", "-v", path)
    run("xorriso", "-osirrox", "on", "-indev", path, "-extract", "/", tmp_path / "iso")
    start = int(run("sgdisk", "-i", "1", path).split("First sector: ")[1].split()[0])
    partition, fat = tmp_path / "partition", tmp_path / "fat"
    partition.write_bytes(path.read_bytes()[start * 512 :])
    fat.mkdir()
    run("mcopy", "-i", partition, "::kernel", "::initrd.img", "::EFI/BOOT/BOOTX64.EFI", fat)
    for directory in (tmp_path / "iso", fat):
        assert (directory / "kernel").read_bytes() == KERNEL
        assert (directory / "initrd.img").read_bytes() == INITRD
    assert (fat / "BOOTX64.EFI").read_bytes() == loader("systemd-boot")
    entry = run("mtype", "-i", partition, "::loader/entries/linux.conf")
    assert "linux /kernel\ninitrd /initrd.img\noptions console=ttyS0 quiet" in entry


def test_payload_is_in_every_medium_once_and_at_pages() -> None:
    blobs = Blobs()
    for name, extents in media(blobs).items():
        at, seen = 0, []
        for extent in extents:
            if isinstance(extent, Slice):
                assert at % PAGE == 0, name
                seen.append(extent.length)
            at += extent.length
        assert sorted(seen) == [len(KERNEL), len(INITRD)], name
        assert at % MIB == 0, name


def test_the_same_machine_makes_the_same_media() -> None:
    first, second = (
        {name: Digest.of(Blobs.bytes(b, made)) for name, made in media(b).items()} for b in (Blobs(), Blobs())
    )
    assert first == second


@pytest.mark.parametrize(
    ("size", "words"),
    [
        pytest.param(2 * MIB, r"a disk of 2\.1 MB \(2097152 bytes\) has no room for a partition", id="none"),
        pytest.param(20 * MIB, r"no FAT32 can have 18\.9 MB", id="less than a FAT32 has"),
        pytest.param(101 * MIB, r"room for .*, the files need .*; the largest parts: .* 110\.0 MB", id="too little"),
    ],
)
def test_a_size_too_small_is_refused_with_the_numbers(size: int, words: str) -> None:
    boot = Bootable((Slice(Digest.of(b""), 0, 14_000_000),), (Slice(Digest.of(b""), 0, 110_000_000),), "")
    with pytest.raises(StepError, match=words.replace("110", "12[0-9]")):
        efi_disk(boot, pe(), size, SEED)


def test_metadata_of_a_medium_is_small() -> None:
    boot = Bootable((Slice(Digest.of(b""), 0, 14_000_000),), (Slice(Digest.of(b""), 0, 4_000_000_000),), "")
    made = efi_disk(boot, pe(), None, SEED)
    assert sum(e.length for e in made if isinstance(e, Data)) < 1_200_000
    assert total(made) < 4_040_000_000
