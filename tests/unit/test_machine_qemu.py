"""QEMU's command lines, as text files in machine_argv/: one option and its value a line.

`UPDATE_GOLDEN=1 python -m pytest tests/unit/test_machine_qemu.py` writes them anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lkbuild.errors import ToolError
from lkbuild.machine.accel import Accelerator
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions, Publish
from lkbuild.machine.qemu import Belongings, Drive, Firmware, Wiring, command, program

GOLDEN = Path(__file__).with_name("machine_argv")
TCG, KVM = Accelerator("tcg", "max", ""), Accelerator("kvm", "host", "")
OUT, STATE = Path("/b"), Path("/b/web-state")
KERNEL = Media(
    OUT / "web",
    "kernel+initrd",
    kernel=OUT / "web-kernel",
    initrd=OUT / "web-initrd.img",
    cmdline="console=ttyS0 page_poison=1",
)
OWN = Belongings(STATE, "02:00:5e:00:53:01", "6a3f6c5e-7d0a-4a3c-9d3b-0f6f2a1c9e11")
FIRMWARE = Firmware(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), STATE / "firmware-variables.fd")

CASES: dict[str, tuple[MachineOptions, Media, Belongings, Accelerator, Wiring]] = {
    "kernel-on-a-terminal": (MachineOptions(), KERNEL, OWN, KVM, Wiring(3, True)),
    "kernel-in-the-background": (MachineOptions(), KERNEL, OWN, TCG, Wiring(9, False)),
    "ports": (MachineOptions(), KERNEL, OWN, TCG, Wiring(3, False, (("lkbuild.requests", 5), ("lkbuild.words", 7)))),
    "everything": (
        MachineOptions(
            cpus=4,
            memory=2048,
            publish=(Publish(8080, 80), Publish(5353, 53, "udp", "127.0.0.1")),
        ),
        KERNEL,
        replace(
            OWN,
            disks=(Drive(STATE / "disk.img", "qcow2"), Drive(Path("/d/a,b=c.img"), "raw")),
            data=STATE / "data.iso",
            firmware=FIRMWARE,
        ),
        TCG,
        Wiring(3, False),
    ),
    "squashfs": (
        MachineOptions(),
        Media(OUT / "web", "kernel+squashfs", OUT / "web-kernel", None, "root=/dev/vda", disk=OUT / "web-squashfs.img"),
        replace(OWN, disks=(Drive(STATE / "disk.img", "raw"),)),
        TCG,
        Wiring(3, False),
    ),
    "iso-with-metadata": (
        MachineOptions(),
        Media(OUT / "web", "iso-bios", cdrom=OUT / "web.iso"),
        replace(OWN, data=STATE / "data.iso"),
        TCG,
        Wiring(3, False),
    ),
    "qcow2-efi": (
        MachineOptions(),
        Media(OUT / "a,b", "qcow2-efi", disk=OUT / "a,b-efi.qcow2", disk_format="qcow2", uefi=True),
        replace(OWN, firmware=Firmware(STATE / "firmware.fd")),
        KVM,
        Wiring(3, False),
    ),
    "aarch64": (
        MachineOptions(arch="aarch64", cpus=2),
        replace(KERNEL, cmdline=""),
        OWN,
        TCG,
        Wiring(3, False),
    ),
    "aarch64-uki": (
        MachineOptions(arch="aarch64"),
        Media(OUT / "web", "uki", program=OUT / "web.efi", uefi=True),
        replace(
            OWN,
            firmware=Firmware(Path("/usr/share/AAVMF/AAVMF_CODE.fd"), STATE / "firmware-variables.fd"),
            program_disk=STATE / "program.img",
        ),
        TCG,
        Wiring(3, False),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_line(name: str) -> None:
    file = GOLDEN / f"{name}.txt"
    text = lines(command(*CASES[name]))
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def lines(argv: list[str]) -> str:
    """An option and its value, if it has one, a line."""
    return " ".join(argv).replace(" -", "\n-") + "\n"


def test_every_golden_has_its_case() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU itself reads the command line")
@pytest.mark.parametrize("name", ["everything", "squashfs", "iso-with-metadata", "qcow2-efi"])
def test_qemu_understands_it(name: str, tmp_path: Path) -> None:
    """With files that are there, QEMU starts, and ends when told on its monitor."""
    options, media, own, _, _ = CASES[name]
    argv = command(replace(options, publish=(), memory=64), media, own, TCG, Wiring(3, False))
    argv = [arg.replace("/b/web-state", str(tmp_path)).replace("/b/", f"{tmp_path}/") for arg in argv]
    argv = [arg.replace("/d/", f"{tmp_path}/") for arg in argv]
    for file in ("web-squashfs.img", "web.iso", "data.iso", "a,b=c.img", "disk.img", "firmware-variables.fd"):
        (tmp_path / file).write_bytes(bytes(1 << 20))
    (tmp_path / "code.fd").write_bytes(bytes(1 << 20))
    (tmp_path / "firmware.fd").write_bytes(bytes(1 << 20))
    argv = [arg.replace("/usr/share/OVMF/OVMF_CODE_4M.fd", str(tmp_path / "code.fd")) for arg in argv]
    argv = [arg.replace("format=qcow2", "format=raw") for arg in argv]
    (tmp_path / "a,b-efi.qcow2").write_bytes(bytes(1 << 20))
    kept = argv[: argv.index("-kernel")] if "-kernel" in argv else argv
    kept = [arg.replace("socket,id=qmp,fd=3", "null,id=qmp").replace("stdio,id=console,signal=off", "null,id=console")
            for arg in kept]  # fmt: skip
    done = subprocess.run(
        ["qemu-system-x86_64", *kept, "-S", "-monitor", "stdio"],
        input="info block\nquit\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_no_qemu_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for arch, package in (("x86_64", "qemu-system-x86"), ("aarch64", "qemu-system-arm")):
        with pytest.raises(ToolError, match=f"qemu-system-{arch} is not installed") as raised:
            program("x86_64" if arch == "x86_64" else "aarch64")
        assert raised.value.hint == f"sudo apt-get install {package}"
