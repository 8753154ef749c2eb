"""A real machine: Debian's kernel and a tiny initrd under QEMU, and all that is attached to it seen from inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.errors import MachineError
from lkbuild.machine.accel import Accelerator
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.media import find
from lkbuild.machine.options import Disk, MachineOptions, Publish
from tests.support.servers import free_port

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="boots x86_64 guests"),
    *(pytest.mark.skipif(not shutil.which(p), reason=f"needs {p}") for p in ("qemu-system-x86_64", "qemu-img")),
]

SECONDS = 180
TCG = Accelerator("tcg", "max", "for tests")
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("failover", "net_failover", "virtio_net", "scsi_common", "scsi_mod", "virtio_scsi", "sd_mod"),
    *("cdrom", "sr_mod", "isofs", "button", "evdev"),
)

INIT = """#!/bin/busybox sh
for a in sh mount cat insmod sleep ip httpd acpid poweroff echo sed dd tr; do /bin/busybox ln -s busybox /bin/$a; done
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in $(cat /modules/list); do insmod /modules/$m.ko; done
for i in 1 2 3 4 5 6 7 8 9; do [ -e /dev/sr0 ] && [ -e /dev/sdb ] && break; sleep 0.3; done
mount -t iso9660 -o ro /dev/sr0 /mnt && echo "CONFIG <$(cat /mnt/config)>"
for d in sda sdb; do [ $(cat /sys/block/$d/size) = 131072 ] && disk=/dev/$d; echo "SIZE $(cat /sys/block/$d/size)"; done
echo "MAC $(cat /sys/class/net/eth0/address)"
echo "UUID $(cat /sys/class/dmi/id/product_uuid)"
echo "CPUS $(sed -n '/^processor/p' /proc/cpuinfo | sed -n '$=')"
echo "KEPT $(dd if=$disk bs=64 count=1 2>/dev/null | tr -d '\\0')"
echo "kept by $(cat /sys/class/dmi/id/product_uuid)" >$disk; sync
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
echo hello from the guest >/www/index.html; httpd -h /www
echo '#!/bin/sh' >/off; echo poweroff -f >>/off; /bin/busybox chmod +x /off
mkdir -p /etc/acpi/PWRF; /bin/busybox ln -s /off /etc/acpi/PWRF/00000080
acpid -l /dev/null -p /acpid.pid
echo BOOTED-OK
read word; echo "HEARD $word"; sync; poweroff -f
"""


@dataclass(frozen=True)
class Built:
    """A machine as a build leaves it: DIR/tiny-kernel and so on."""

    name: Path
    kernel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = tmp_path_factory.mktemp("machine")
    tree = directory / "deb"
    meta = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=True
    ).stdout
    image = next(line.split()[1] for line in meta.splitlines() if "Depends: linux-image" in line)
    done = subprocess.run(["apt-get", "download", "-q", image, "busybox-static"], cwd=directory, capture_output=True)
    if done.returncode:
        pytest.skip(f"no kernel from apt: {done.stderr.decode()[:200]}")
    for deb in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
    name = directory / "tiny"
    kernel = Path(shutil.copy(next(tree.glob("boot/vmlinuz-*")), directory / "tiny-kernel"))
    make_initrd(tree, directory / "tiny-initrd.img")
    (directory / "tiny-cmdline").write_text("console=ttyS0 panic=-1 loglevel=4")
    return Built(name, kernel)


def make_initrd(tree: Path, target: Path) -> None:
    """An initrd by cpio(1): busybox, the modules, and the script above as /init."""
    root = tree.parent / "root"
    for directory in ("bin", "proc", "sys", "dev", "mnt", "modules", "www", "etc"):
        (root / directory).mkdir(parents=True)
    shutil.copy(next(tree.glob("**/bin/busybox")), root / "bin/busybox")
    for module in MODULES:
        shutil.copy(next(tree.glob(f"**/{module}.ko")), root / "modules")
    (root / "modules/list").write_text("\n".join(MODULES))
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with target.open("wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), stdout=out, check=True)


@pytest.mark.network
def test_a_machine_has_what_was_asked_for_and_keeps_it(built: Built, tmp_path: Path) -> None:
    port = free_port()
    options = MachineOptions(
        cpus=2,
        memory=512,
        publish=(Publish(port, 80, address="127.0.0.1"),),
        disks=(Disk(size=64), Disk(tmp_path / "raw, with a comma.img", 32, "raw")),
        data=b'{"greeting": "hi"}',
    )
    machine = Machine(options, find(built.name).absolute(), tmp_path / "state", TCG)

    with Guest(machine, tmp_path / "console") as guest:
        said = guest.wait_for("BOOTED-OK", SECONDS)
        assert 'CONFIG <{"greeting": "hi"}>' in said
        assert {"SIZE 131072", "SIZE 65536"} <= set(said.splitlines())
        assert "CPUS 2" in said
        assert guest.http_get(port).body == b"hello from the guest\n"
        with pytest.raises(MachineError, match="running already"):
            Guest(machine, tmp_path / "other")
        guest.send("xyzzy\n")
        assert "HEARD xyzzy" in guest.wait_for("HEARD", 30)
        guest.wait(30)
    first = tmp_path.joinpath("console").read_text()

    with Guest(machine, tmp_path / "console") as guest:
        again = guest.wait_for("BOOTED-OK", SECONDS)
        assert line(again, "MAC") == line(first, "MAC") == "MAC " + (tmp_path / "state/mac-addr").read_text()
        assert line(again, "UUID") == line(first, "UUID")
        assert line(again, "KEPT") == "KEPT kept by " + line(first, "UUID").split()[1], "what went to the disk is there"
        assert guest.powerdown(60), "the power button is heard"
        assert "reboot: Power down" in guest.console()
    check = subprocess.run(["qemu-img", "check", tmp_path / "state/disk.img"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


def line(text: str, word: str) -> str:
    return next(line.strip() for line in text.splitlines() if line.startswith(word + " "))


@pytest.mark.network
@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="needs /dev/kvm")
def test_a_real_kernel_tells_once_whether_kvm_works(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    began = time.monotonic()
    first = Machine.of(MachineOptions(), find(built.name)).accelerator
    assert time.monotonic() - began < 20, "a guest that hangs is not waited for"
    tried = time.monotonic()
    assert Machine.of(MachineOptions(), find(built.name)).accelerator == first
    outcomes = [json.loads(file.read_text())["outcome"] for file in tmp_path.glob("lkbuild/kvm-*.json")]
    if outcomes:
        assert first.name == ("kvm" if outcomes == ["works"] else "tcg")
        assert time.monotonic() - tried < 2, "it is remembered"
    else:
        assert "QEMU cannot run KVM guests" in first.reason


SECTOR = (
    bytes.fromhex("31c0 8ed8 be1c7c")  # xor ax,ax; mov ds,ax; mov si,text
    + bytes.fromhex("ac 84c0 7406 baf803 ee ebf5")  # lodsb; test al,al; jz off; mov dx,0x3f8; out dx,al; jmp lodsb
    + bytes.fromhex("b80020 ba0406 ef f4 ebfd")  # off: mov ax,0x2000; mov dx,0x604; out dx,ax; hlt; jmp hlt
    + b"BOOTED-OK\r\n\0"
).ljust(510, b"\0") + b"\x55\xaa"
"""A boot sector that writes to the serial port and powers a q35 off: enough to see that firmware boots a medium."""


def bootable_disk(name: Path) -> None:
    with name.with_name(name.name + "-bios.img").open("wb") as disk:
        disk.write(SECTOR)
        disk.truncate(1 << 20)


def bootable_qcow2(name: Path) -> None:
    bootable_disk(name)
    raw = name.with_name(name.name + "-bios.img")
    qcow2 = name.with_name(name.name + ".qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True)
    raw.unlink()


def bootable_cd(name: Path) -> None:
    tree = name.with_name("cd")
    tree.mkdir()
    (tree / "boot.img").write_bytes(SECTOR.ljust(2048, b"\0"))
    options = ["-quiet", "-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4", "-o"]
    argv = ["xorriso", "-as", "mkisofs", *options, f"{name}.iso", tree]
    subprocess.run(argv, check=True, capture_output=True)


@pytest.mark.parametrize(
    "make",
    [
        bootable_disk,
        bootable_qcow2,
        pytest.param(bootable_cd, marks=pytest.mark.skipif(not shutil.which("xorriso"), reason="xorriso makes the CD")),
    ],
)
def test_firmware_boots_a_medium_that_is_left_as_it_was(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "m")
    media = find(tmp_path / "m").absolute()
    before = media.files[0].read_bytes()
    options = MachineOptions(memory=64, data=b"x", disks=(Disk(size=1, format="raw"),))
    with Guest(Machine(options, media, tmp_path / "state", TCG), tmp_path / "console") as guest:
        guest.wait_for("BOOTED-OK", SECONDS)
        guest.wait(10)
    assert media.files[0].read_bytes() == before
