"""What is known to fail before a machine is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lkbuild.disk.boot_files import Bootable, unified
from lkbuild.errors import MachineError
from lkbuild.machine.checks import check, memory_needed, ports_free, silent
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions, Publish
from tests.support.servers import free_port
from tests.unit.disk_images import Blobs
from tests.unit.test_disk_boot import pe

MB = 1 << 20


def media(directory: Path, packed: int, unpacked: int = 0, cmdline: str = "") -> Media:
    initrd, kernel = directory / "m-initrd.img", directory / "m-kernel"
    kernel.touch()
    with initrd.open("wb") as file:
        file.truncate(packed)
    return Media(directory / "m", "kernel+initrd", kernel, initrd, cmdline, unpacked=unpacked)


@pytest.mark.parametrize(
    ("packed", "unpacked", "cmdline", "needed"),
    [
        (2, 122, "console=ttyS0", 48 + 2 * 122 + 2),  # 288 MB: "Initramfs unpacking failed: write error"; 320 boots
        (100, 0, "", 48 + 2 * 100 + 100),  # not known what it unpacks to
        (100, 300, "root=/dev/sda1", 48 + 300 + 100),  # a ramfs, which has no limit
        (100, 300, "rootfstype=ramfs", 48 + 300 + 100),
        (0, 0, "", 48),
    ],
)
def test_the_memory_an_initrd_needs(packed: int, unpacked: int, cmdline: str, needed: int, tmp_path: Path) -> None:
    medium = media(tmp_path, packed * MB, unpacked * MB, cmdline)
    assert memory_needed(medium) == needed
    check(MachineOptions(memory=needed), medium)
    with pytest.raises(MachineError, match=f"needs {needed} MB") as raised:
        check(MachineOptions(memory=needed - 1), medium)
    hint = raised.value.hint or ""
    assert int(hint.removeprefix("say mem=")) >= needed


def test_without_an_initrd_there_is_nothing_to_unpack(tmp_path: Path) -> None:
    (tmp_path / "m.iso").touch()
    check(MachineOptions(memory=16), Media(tmp_path / "m", "iso-bios", cdrom=tmp_path / "m.iso"))


@pytest.mark.parametrize(
    ("cmdline", "needed"),
    [
        ("console=ttyS0", 48 + 3 * 40),
        ("console=ttyS0 root=/dev/sda1", 48 + 2 * 40),  # a ramfs
    ],
)
def test_the_initrd_in_a_medium(cmdline: str, needed: int, tmp_path: Path) -> None:
    blobs = Blobs()
    initrd = blobs.add(bytes(40 * MB))
    program = unified(Bootable(blobs.add(b"kernel"), initrd, cmdline), pe())
    medium = Media(tmp_path / "m", "uki", program=blobs.write(program.extents, tmp_path / "m.efi"))
    assert memory_needed(medium) == needed
    check(MachineOptions(memory=needed), medium)
    with pytest.raises(MachineError, match=rf"unpacking the initrd in .*m\.efi needs {needed} MB"):
        check(MachineOptions(memory=needed - 1), medium)


def test_the_initrd_on_a_disk_that_is_a_root_is_no_matter(tmp_path: Path) -> None:
    """QEMU is given the kernel: what the disk could boot is not unpacked."""
    blobs = Blobs()
    program = blobs.write(unified(Bootable((), blobs.add(bytes(9 * MB)), ""), pe()).extents, tmp_path / "m.iso")
    (tmp_path / "m-kernel").touch()
    assert memory_needed(Media(tmp_path / "m", "kernel+iso", kernel=tmp_path / "m-kernel", disk=program)) == 0


def test_files_that_are_gone(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"m\.iso cannot be read"):
        check(MachineOptions(), Media(tmp_path / "m", "iso-bios", cdrom=tmp_path / "m.iso"))


BZIMAGE = b"MZ".ljust(0x202, b"\0") + b"HdrS"
ARM64 = b"MZ".ljust(0x38, b"\0") + b"ARM\x64" + bytes(100)


def program(machine: int) -> bytes:
    return (
        b"MZ".ljust(0x3C, b"\0") + (0x80).to_bytes(4, "little") + bytes(64) + b"PE\0\0" + machine.to_bytes(2, "little")
    )


@pytest.mark.parametrize(
    ("content", "arch"),
    [
        (BZIMAGE, "x86_64"),
        (ARM64, "aarch64"),
        (program(0x8664), "x86_64"),
        (program(0xAA64), "aarch64"),
        (program(0x5064), None),  # RISC-V, which is not run
        (b"\x1f\x8b\x08 something packed", None),
        (b"MZ", None),
        (b"", None),
    ],
)
def test_what_is_for_other_machines_is_refused(content: bytes, arch: str | None, tmp_path: Path) -> None:
    file = tmp_path / "m-kernel"
    file.write_bytes(content)
    for medium in (Media(tmp_path / "m", "kernel", kernel=file), Media(tmp_path / "m", "uki", program=file)):
        for mine, other in (("x86_64", "arm64"), ("aarch64", "amd64")):
            options = MachineOptions(mine)  # type: ignore[arg-type]
            if arch in (None, mine):
                check(options, medium)
                continue
            with pytest.raises(MachineError, match=f"m-kernel is for {arch} machines") as raised:
                check(options, medium)
            assert raised.value.hint == f"say arch={other}"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["", "127.0.0.1"])
def test_a_port_that_is_taken_is_named(protocol: str, address: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if protocol == "tcp":
            taken.listen()
        wanted = Publish(port, 80, "tcp" if protocol == "tcp" else "udp", address)
        with pytest.raises(MachineError, match=f"port {port}/{protocol} of this host is in use") as raised:
            ports_free([wanted])
    assert ":80" in (raised.value.hint or "")
    ports_free([wanted])


def test_an_address_that_is_not_this_hosts() -> None:
    with pytest.raises(MachineError, match=r"192\.0\.2\.1, port"):
        ports_free([Publish(free_port(), 80, "tcp", "192.0.2.1")])


@pytest.mark.parametrize(
    ("cmdline", "quiet"),
    [
        ("console=ttyS0", False),
        ("quiet console=tty0 console=ttyS0,115200n8", False),
        ("console=tty0", True),
        ("", True),
    ],
)
def test_a_machine_of_which_nothing_is_seen(cmdline: str, quiet: bool, tmp_path: Path) -> None:
    said = silent(MachineOptions(), media(tmp_path, 0, cmdline=cmdline))
    assert (said is not None) == quiet
    assert silent(MachineOptions(), Media(tmp_path, "iso-bios", cdrom=tmp_path)) is None
