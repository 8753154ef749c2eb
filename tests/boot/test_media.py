"""Every boot medium of specs/nginx.yml: accepted by programs we did not write, and a representative few booted.

LKBUILD_BOOT=all boots every bootable format by every firmware it is for; that takes some ten minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lkbuild.engine.options import BuildOptions
from lkbuild.machine import media
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.options import MachineOptions, Publish
from lkbuild.plan.outputs import FORMATS
from tests.boot.test_specs import SECONDS, SPECS
from tests.support.building import run
from tests.support.servers import free_port

pytestmark = [pytest.mark.boot, pytest.mark.network]

ROOTS = ("kernel+squashfs", "kernel+erofs", "kernel+iso")
"""Each in a directory of its own, for all write a kernel."""

MEDIA = tuple(name for name, row in FORMATS.items() if row.loaders and name not in ("dynamic-vhd", "rpi3", *ROOTS))
"""dynamic-vhd would be written where vhd is; rpi3 is for arm64."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All media of nginx.yml in one directory."""
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    cache = Path(kept) if kept else tmp_path_factory.getbasetemp().parent / "packages-cache"
    out = tmp_path_factory.mktemp("media")
    run(BuildOptions(machines=((SPECS / "nginx.yml",),), cache=cache, directory=out, formats=MEDIA))
    for name in ROOTS:
        run(BuildOptions(machines=((SPECS / "nginx.yml",),), cache=cache, directory=out / name, formats=(name,)))
    return out


def said(program: str, *arguments: str | Path) -> str:
    """What a program prints; it must be content."""
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"needs {program}")
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("ending", ["-bios.img", "-efi.img", "-hybrid.img"])
def test_disks_have_sound_partitions(built: Path, ending: str) -> None:
    disk = built / f"nginx{ending}"
    if ending != "-bios.img":
        assert "No problems found" in said("sgdisk", "-v", disk)
    said("sfdisk", "-V", disk)
    fat = built / "fat"
    with disk.open("rb") as source, fat.open("wb") as target:
        source.seek(1 << 20)
        shutil.copyfileobj(source, target)
    said("fsck.vfat", "-n", fat)


@pytest.mark.parametrize(
    ("ending", "kind", "raw"),
    [
        (".qcow2", "qcow2", ".raw"),
        ("-efi.qcow2", "qcow2", "-efi.img"),
        ("-hybrid.qcow2", "qcow2", "-hybrid.img"),
        (".vmdk", "vmdk", "-bios.img"),
        (".vhd", "vpc", "-bios.img"),
        (".vhdx", "vhdx", "-hybrid.img"),
    ],
)
def test_formats_hold_the_disk_they_were_made_of(built: Path, ending: str, kind: str, raw: str) -> None:
    disks = (built / f"nginx{ending}", built / f"nginx{raw}")
    assert "Images are identical" in said("qemu-img", "compare", "-f", kind, "-F", "raw", *disks)


@pytest.mark.parametrize("ending", [".iso", "-efi.iso", "-hybrid.iso"])
def test_isos_are_read(built: Path, ending: str) -> None:
    assert "boot/initrd.img" in said("isoinfo", "-R", "-f", "-i", built / f"nginx{ending}")
    assert "El Torito" in said("xorriso", "-indev", built / f"nginx{ending}", "-report_el_torito", "plain")


def test_the_gcp_image_is_a_tar_with_the_disk(built: Path) -> None:
    assert said("tar", "-tzf", built / "nginx.img.tar.gz").split() == ["disk.raw"]


BOOTS = [
    ("iso-hybrid", False), ("raw-hybrid", True),
    ("iso-hybrid", True), ("raw-hybrid", False), ("iso-bios", False), ("iso-efi", True), ("raw-bios", False),
    ("raw-efi", True), ("qcow2-bios", False), ("qcow2-efi", True), ("qcow2-hybrid", True), ("aws", False),
    ("vhd", False), ("vhdx", True), ("vmdk", False), ("uki", True), ("iso-efi-initrd", True),
    *((name, False) for name in ROOTS),
]  # fmt: skip
REPRESENTATIVE = 2
"""How many of them are booted where not all are asked for."""


@pytest.mark.parametrize(
    ("format", "uefi"), BOOTS if os.environ.get("LKBUILD_BOOT") == "all" else BOOTS[:REPRESENTATIVE]
)
def test_it_boots(built: Path, tmp_path: Path, format: str, uefi: bool) -> None:
    port = free_port()
    options = MachineOptions(
        memory=1024, cpus=2, accel="tcg", uefi=uefi, publish=(Publish(port, 80, address="127.0.0.1"),)
    )
    machine = Machine.of(
        options, media.find(built / (format if format in ROOTS else "") / "nginx", format), tmp_path / "state"
    )
    with Guest(machine, tmp_path / "console") as guest:
        assert guest.http_get(port, seconds=SECONDS).status == 200
