"""What a machine keeps from one boot to the next."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lkbuild.errors import MachineError, ToolError
from lkbuild.machine.media import Media
from lkbuild.machine.options import Arch, Disk, MachineOptions
from lkbuild.machine.qemu import Drive, Firmware, needs_power_key
from lkbuild.machine.state import State
from tests.unit.disk_images import noise
from tests.unit.test_disk_boot import pe

KERNEL = Media(Path("m"), "kernel+initrd", kernel=Path("m-kernel"))
needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img makes qcow2 disks")


def test_a_machine_keeps_its_addresses(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        with State(tmp_path / "a") as state:
            seen.add((state.mac(), state.uuid()))
    with State(tmp_path / "b") as state:
        other = (state.mac(), state.uuid())
    assert len(seen) == 1
    assert not set(other) & set(*seen), "another machine has others"
    mac = other[0]
    assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac)
    assert int(mac[:2], 16) & 3 == 2, "locally administered, not multicast"


def test_a_state_directory_of_linuxkit_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "mac-addr").write_text("1A:2b:3c:4d:5e:6f")
    with State(tmp_path) as state:
        assert state.mac() == "1a:2b:3c:4d:5e:6f"


@pytest.mark.parametrize("text", ["", "02:00:00:00:00", "03:00:00:00:00:00", "02:00:00:00:00:0g", "02:0,mac=1"])
def test_an_address_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "mac-addr").write_text(text)
    (tmp_path / "uuid").write_text(text)
    with State(tmp_path) as state:
        with pytest.raises(MachineError, match="no MAC address"):
            state.mac()
        with pytest.raises(MachineError, match="no UUID"):
            state.uuid()


def test_one_machine_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "qemu.pid").write_text("4711\n")
    with State(tmp_path), pytest.raises(MachineError, match=r"is running already \(process 4711\)"):
        State(tmp_path)
    State(tmp_path).close()


def test_the_lock_lasts_as_long_as_a_child_that_has_it(tmp_path: Path) -> None:
    state = State(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(state.lock,)) as child:
        state.close()
        with pytest.raises(MachineError, match="is running already"):
            State(tmp_path)
        assert child.stdin is not None
        child.stdin.close()
    State(tmp_path).close()


def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be used"):
        State(tmp_path / "file")


def test_raw_disks_are_sparse_and_kept(tmp_path: Path) -> None:
    options = MachineOptions(disks=(Disk(size=100, format="raw"), Disk(tmp_path / "x" / ".." / "d.raw", 1, "raw")))
    (tmp_path / "x").mkdir()
    with State(tmp_path / "s") as state:
        disks = state.prepare(options, KERNEL).disks
        assert disks[0] == Drive(tmp_path / "s/disk.img", "raw")
        assert disks[0].file.stat().st_size == 100 << 20
        assert disks[0].file.stat().st_blocks * 512 < 1 << 20
        disks[0].file.write_bytes(b"mine")
        assert state.prepare(options, KERNEL).disks == disks
        assert disks[0].file.read_bytes() == b"mine"


@needs_qemu_img
def test_other_disks_are_made_by_qemu_img(tmp_path: Path) -> None:
    options = MachineOptions(disks=(Disk(size=64), Disk(size=32, format="vmdk")))
    with State(tmp_path) as state:
        disks = state.prepare(options, KERNEL).disks
    assert [(d.file.name, d.format) for d in disks] == [("disk.img", "qcow2"), ("disk1.img", "vmdk")]
    for disk, size in zip(disks, (64, 32), strict=True):
        argv = ["qemu-img", "info", "--output=json", "-f", disk.format, disk.file]
        said = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
        assert said["virtual-size"] == size << 20


def test_without_qemu_img_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with State(tmp_path / "s") as state, pytest.raises(ToolError, match="qemu-img") as raised:
        state.prepare(MachineOptions(disks=(Disk(size=1),)), KERNEL)
    assert "qemu-utils" in (raised.value.hint or "")
    assert not (tmp_path / "s/disk.img").exists()


@pytest.mark.parametrize(
    ("name", "start", "disk", "expected"),
    [
        ("a.img", b"", Disk(), "raw"),
        ("a.qcow2", b"QFI\xfb", Disk(), "qcow2"),
        ("a.VMDK", b"KDMV", Disk(), "vmdk"),
        ("a.img", b"QFI\xfb", Disk(format="qcow2"), "qcow2"),
        ("a.img", b"QFI\xfb", Disk(format="raw"), "raw"),  # a guest may write this: what is said holds
        ("a.img", b"QFI\xfb", Disk(), "seems to be qcow2"),
        ("a.img", b"", Disk(format="qcow2"), "is to be qcow2, but is not"),
        ("a.img", b"", Disk(size=5), "is to be qcow2, but is not"),  # LinuxKit's meaning of a size without a format
        ("none.img", None, Disk(), "there is no disk"),
    ],
)
def test_the_format_of_a_disk_that_is_there(
    name: str, start: bytes | None, disk: Disk, expected: str, tmp_path: Path
) -> None:
    if start is not None:
        (tmp_path / name).write_bytes(start.ljust(512, b"\0"))
    options = MachineOptions(disks=(Disk(tmp_path / name, disk.size, disk.format),))
    with State(tmp_path / "s") as state:
        if " " in expected:
            with pytest.raises(MachineError, match=expected):
                state.prepare(options, KERNEL)
        else:
            assert state.prepare(options, KERNEL).disks == (Drive(tmp_path / name, expected),)


def test_metadata_is_written_anew_each_time(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        assert state.prepare(MachineOptions(), KERNEL).data is None
        for data in (b"one", b"two"):
            file = state.prepare(MachineOptions(data=data), KERNEL).data
            assert file == tmp_path / "data.iso"
            assert data in file.read_bytes()


def test_firmware_has_variables_of_the_machines_own(tmp_path: Path) -> None:
    code, variables, both = (tmp_path / name for name in ("MY_CODE.fd", "MY_VARS.fd", "bios.bin"))
    for file in (code, variables, both):
        file.write_text(file.name)
    with State(tmp_path / "s") as state:
        assert state.prepare(MachineOptions(), KERNEL).firmware is None
        split = state.prepare(MachineOptions(firmware=code), KERNEL).firmware
        assert split == Firmware(code, tmp_path / "s/firmware-variables.fd")
        assert split.variables is not None
        assert split.variables.read_text() == "MY_VARS.fd"
        split.variables.write_text("what the machine wrote")
        assert state.prepare(MachineOptions(firmware=code), KERNEL).firmware == split
        assert split.variables.read_text() == "what the machine wrote"
        assert state.prepare(MachineOptions(firmware=both), KERNEL).firmware == Firmware(tmp_path / "s/firmware.fd")
        with pytest.raises(MachineError, match="there is no firmware"):
            state.prepare(MachineOptions(firmware=tmp_path / "none"), KERNEL)


@pytest.mark.skipif(not Path("/usr/share/OVMF").is_dir(), reason="the distribution's firmware")
def test_media_for_uefi_get_the_distributions_firmware(tmp_path: Path) -> None:
    media = Media(Path("m"), "iso-efi", cdrom=Path("m-efi.iso"), uefi=True)
    with State(tmp_path) as state:
        firmware = state.prepare(MachineOptions(), media).firmware
    assert firmware is not None
    assert firmware.code.is_file()
    assert firmware.variables == tmp_path / "firmware-variables.fd"


@pytest.mark.parametrize(
    ("arch", "head", "needed"),
    [
        ("x86_64", b"MZ\0\0zimg", False),
        ("aarch64", b"\x1f\x8b", False),  # QEMU unpacks it
        ("aarch64", b"MZ\0\x91plain Image", False),
        ("aarch64", b"MZ\0\0zimg", True),  # a UEFI program that unpacks itself
    ],
)
def test_arm64_kernels_that_need_firmware(arch: Arch, head: bytes, needed: bool, tmp_path: Path) -> None:
    kernel = tmp_path / "m-kernel"
    kernel.write_bytes(head)
    if needed and not Path("/usr/share/AAVMF").is_dir():
        pytest.skip("the distribution's firmware")
    with State(tmp_path / "s") as state:
        own = state.prepare(MachineOptions(arch), Media(tmp_path / "m", "kernel+initrd", kernel=kernel))
    assert (own.firmware is not None) is needed
    assert needs_power_key(MachineOptions(arch), own) is (arch == "aarch64" and not needed)


@pytest.mark.skipif(not Path("/usr/share/OVMF").is_dir(), reason="the distribution's firmware")
@pytest.mark.skipif(not shutil.which("mcopy"), reason="mtools read what was made")
def test_a_program_is_booted_from_a_disk_made_for_it(tmp_path: Path) -> None:
    program = tmp_path / "m.efi"
    program.write_bytes(pe() + noise(9_000_000, 4))
    medium = Media(tmp_path / "m", "uki", program=program, uefi=True)
    with State(tmp_path / "s") as state:
        disk = state.prepare(MachineOptions(), medium).program_disk
        assert disk == tmp_path / "s/program.img"
        place = f"{disk}@@{1 << 20}"
        subprocess.run(["mcopy", "-i", place, "::EFI/BOOT/BOOTX64.EFI", tmp_path / "back"], check=True)
        assert (tmp_path / "back").read_bytes() == program.read_bytes()
        program.write_bytes(b"no program")
        with pytest.raises(MachineError, match=r"m\.efi cannot be booted"):
            state.prepare(MachineOptions(), medium)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        tmp_path.chmod(0o500)
        with pytest.raises(MachineError, match="cannot be written"):
            state.prepare(MachineOptions(), KERNEL)
