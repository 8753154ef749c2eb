"""specs/nginx.yml for arm64, built on whatever this is: every format that boots, booted under QEMU.

LKBUILD_BOOT=all boots all of them; that takes some ten minutes.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lkbuild.engine.options import BuildOptions
from lkbuild.machine import media
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.options import MachineOptions, Publish
from tests.boot.test_specs import SECONDS, SPECS
from tests.support.building import run
from tests.support.servers import free_port

pytestmark = [pytest.mark.boot, pytest.mark.network]

ALL = os.environ.get("LKBUILD_BOOT") == "all"
BOOTS = (
    "raw-efi", "kernel+initrd", "iso-efi", "qcow2-efi", "uki", "aws", "vhd", "vhdx", "vmdk", "gcp"
)  # fmt: skip
BOOTED = BOOTS if ALL else BOOTS[:1]
"""One where not all are asked for."""


@pytest.fixture(scope="module")
def built(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is booted, in one directory."""
    out = tmp_path_factory.mktemp("arm64")
    run(BuildOptions(machines=((SPECS / "nginx.yml",),), cache=cache, directory=out, formats=BOOTED, arch="arm64"))
    return out


def serves(found: media.Media, directory: Path) -> str:
    """Boot a medium until its web server answers, and press the power button; what its console said."""
    port = free_port()
    ports = (Publish(port, 80, address="127.0.0.1"),)
    options = MachineOptions("aarch64", memory=1024, cpus=2, accel="tcg", publish=ports)
    with Guest(Machine.of(options, found, directory / "state"), directory / "console") as guest:
        assert guest.http_get(port, seconds=SECONDS).status == 200
        assert guest.powerdown(60), guest.console()
        return guest.console()


@pytest.mark.parametrize("format", BOOTED)
def test_it_boots_and_powers_off(built: Path, tmp_path: Path, format: str) -> None:
    if format == "gcp":
        subprocess.run(["tar", "-C", tmp_path, "-xzf", built / "nginx.img.tar.gz"], check=True)
        checked = subprocess.run(["sgdisk", "-v", tmp_path / "disk.raw"], check=True, capture_output=True, text=True)
        assert "No problems found" in checked.stdout
        found = media.find(tmp_path / "disk.raw")
    else:
        found = media.find(built / "nginx", format)
    console = serves(found, tmp_path)
    for said in ("rc.init: starting", "rc.init: up after", "rc.shutdown: done"):
        assert said in console, "it is said on ttyAMA0, though the command line has tty0 and ttyS0 too"


@pytest.mark.skipif(not ALL, reason="LKBUILD_BOOT=all boots everything")
@pytest.mark.parametrize("format", ["uki", "kernel+initrd"])
def test_a_kernel_that_is_compressed_whole(built: Path, cache: Path, tmp_path: Path, format: str) -> None:
    """Ubuntu's for instance.  QEMU unpacks it; UEFI firmware starts only programs, so that we have to."""
    with (built / "nginx-kernel").open("rb") as plain, gzip.open(tmp_path / "Image.gz", "wb", 1) as packed:
        shutil.copyfileobj(plain, packed)
    other = tmp_path / "kernel.yml"
    other.write_text("files: [{path: boot/kernel, source: ./Image.gz}]\n")
    machine = (SPECS / "nginx.yml", other)
    run(BuildOptions(machines=(machine,), cache=cache, directory=tmp_path, formats=(format,), arch="arm64"))
    serves(media.find(tmp_path / "nginx", format), tmp_path)
