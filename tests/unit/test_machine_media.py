"""What is booted, found from the names that builds give their files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lkbuild.errors import MachineError, UsageError
from lkbuild.machine.media import BOOTABLE, Media, find


def lay(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).write_bytes(b"")
    return directory / "m"


def shown(media: Media) -> str:
    """`kernel=m-kernel disk=m.img raw`, in short."""
    parts = [(part, getattr(media, part)) for part in ("kernel", "initrd", "cdrom", "disk", "program")]
    files = [f"{part}={file.name}" for part, file in parts if file is not None]
    return " ".join([*files, *([media.disk_format] if media.disk else []), *(["uefi"] if media.uefi else [])])


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["m-kernel", "m-initrd.img", "m-cmdline"], "kernel=m-kernel initrd=m-initrd.img"),
        (["m-kernel", "m-initrd.img", "m.iso", "m.qcow2"], "kernel=m-kernel initrd=m-initrd.img"),
        (["m-kernel", "m-squashfs.img"], "kernel=m-kernel disk=m-squashfs.img raw"),
        (["m-kernel", "m-erofs.img"], "kernel=m-kernel disk=m-erofs.img raw"),
        (["m-kernel", "m.iso"], "kernel=m-kernel disk=m.iso raw"),
        (["m.iso"], "cdrom=m.iso"),
        (["m-efi.iso"], "cdrom=m-efi.iso uefi"),
        (["m-efi-initrd.iso"], "cdrom=m-efi-initrd.iso uefi"),
        (["m-bios.img"], "disk=m-bios.img raw"),
        (["m-efi.img"], "disk=m-efi.img raw uefi"),
        (["m.qcow2"], "disk=m.qcow2 qcow2"),
        (["m-efi.qcow2"], "disk=m-efi.qcow2 qcow2 uefi"),
        (["m.raw"], "disk=m.raw raw"),
        (["m.vhd"], "disk=m.vhd vpc"),
        (["m.vmdk"], "disk=m.vmdk vmdk"),
        (["m.efi"], "program=m.efi uefi"),
        (["n.iso", "m.qcow2"], "disk=m.qcow2 qcow2"),
    ],
)
def test_found_by_the_machines_name(there: list[str], expected: str, tmp_path: Path) -> None:
    assert shown(find(lay(tmp_path, *there))) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m.iso", "cdrom=m.iso"),  # a whole medium before a kernel's root file system
        ("m-efi.iso", "cdrom=m-efi.iso uefi"),
        ("m-efi.qcow2", "disk=m-efi.qcow2 qcow2 uefi"),
        ("m-squashfs.img", "kernel=m-kernel disk=m-squashfs.img raw"),
        ("m-initrd.img", "kernel=m-kernel initrd=m-initrd.img"),
        ("m-kernel", "kernel=m-kernel initrd=m-initrd.img"),
        ("m.img", "disk=m.img raw"),  # somebody else's
    ],
)
def test_found_by_a_files_name(name: str, expected: str, tmp_path: Path) -> None:
    lay(tmp_path, "m-kernel", "m-initrd.img", "m-squashfs.img", name)
    assert shown(find(tmp_path / name)) == expected


def test_a_format_can_be_named(tmp_path: Path) -> None:
    name = lay(tmp_path, "m-kernel", "m-initrd.img", "m.qcow2")
    assert shown(find(name, "qcow2-bios")) == "disk=m.qcow2 qcow2"
    with pytest.raises(UsageError, match="'tar' cannot be booted"):
        find(name, "tar")
    with pytest.raises(MachineError, match=r"looked for m\.iso\n") as raised:
        find(name, "iso-bios")
    assert raised.value.hint == f"build it: doit build spec=m.yml format=iso-bios dir={tmp_path}"


def test_the_command_line(tmp_path: Path) -> None:
    name = lay(tmp_path, "m-kernel", "m-initrd.img", "m-squashfs.img")
    assert find(name).cmdline == "", "a build without one writes no file"
    (tmp_path / "m-cmdline").write_text("console=ttyS0  quiet\n")
    assert find(name).cmdline == "console=ttyS0 quiet"
    assert find(name, "kernel+squashfs").cmdline == "console=ttyS0 quiet root=/dev/vda rootfstype=squashfs ro"
    (tmp_path / "m-cmdline").write_text("root=/dev/sda1")
    assert find(name, "kernel+squashfs").cmdline == "root=/dev/sda1", "what the spec says stays"
    (tmp_path / "m-cmdline").write_bytes(b"a\0b")
    with pytest.raises(MachineError, match="is no kernel command line"):
        find(name)


def test_nothing_to_boot_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as raised:
        find(tmp_path / "web")
    listed = [f"web{ending}" for row in BOOTABLE[:3] for ending in row.endings]
    assert all(file in raised.value.message for file in listed)
    assert re.search(r" and \d+ others$", raised.value.message), "what is likeliest, not a screenful"
    assert all(row.format in (raised.value.hint or "") for row in BOOTABLE)
    assert str(tmp_path) in raised.value.message
    assert "doit build spec=web.yml format=kernel+initrd" in str(raised.value)


def test_half_a_machine_says_which_half_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"m-kernel is there, but .*m-initrd.img is not"):
        find(lay(tmp_path, "m-kernel"))
    (tmp_path / "m-kernel").rename(tmp_path / "m-initrd.img")
    with pytest.raises(MachineError, match=r"m-initrd.img is there, but .*m-kernel is not"):
        find(tmp_path / "m", "kernel+initrd")


def test_where_the_state_is_kept(tmp_path: Path) -> None:
    assert find(lay(tmp_path, "m.iso")).state == tmp_path / "m-state"
    assert find(tmp_path / "m.iso").state == tmp_path / "m-state"


SMALL = b"070701" + b"0" * 104 + b"sysroot\0" + bytes(100)
"""The beginning of the initrd that kernel+squashfs and the like come with."""


@pytest.mark.parametrize(
    ("there", "name", "expected"),
    [
        (["m-squashfs.img"], "m", "kernel=m-kernel initrd=m-initrd.img disk=m-squashfs.img raw"),
        (["m-erofs.img"], "m", "kernel=m-kernel initrd=m-initrd.img disk=m-erofs.img raw"),
        (["m.iso"], "m", "kernel=m-kernel initrd=m-initrd.img disk=m.iso raw"),
        (["m.iso"], "m-initrd.img", "kernel=m-kernel initrd=m-initrd.img disk=m.iso raw"),
        (["m.qcow2"], "m", "disk=m.qcow2 qcow2"),  # it alone is nothing to boot
    ],
)
def test_a_small_initrd_belongs_to_a_root_on_a_disk(there: list[str], name: str, expected: str, tmp_path: Path) -> None:
    lay(tmp_path, "m-kernel", *there)
    (tmp_path / "m-initrd.img").write_bytes(SMALL)
    assert shown(find(tmp_path / name)) == expected


@pytest.mark.parametrize("other", [b"", SMALL[:100], SMALL.replace(b"sysroot", b"sysroo2"), b"\x1f\x8b" + SMALL])
def test_an_initrd_that_is_the_machine_is_not_taken_for_it(other: bytes, tmp_path: Path) -> None:
    lay(tmp_path, "m-kernel", "m-squashfs.img")
    (tmp_path / "m-initrd.img").write_bytes(other)
    assert shown(find(tmp_path / "m")) == "kernel=m-kernel initrd=m-initrd.img"
    assert shown(find(tmp_path / "m", "kernel+squashfs")) == "kernel=m-kernel disk=m-squashfs.img raw"
