"""Formats that are booted another way than `doit boot` has, and those that are no machines but images for others.

LKBUILD_BOOT=all boots all of them; otherwise a representative few.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from lkbuild.engine.options import BuildOptions
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions, Publish
from tests.boot.test_media import said
from tests.boot.test_specs import SECONDS, SPECS
from tests.support.building import run
from tests.support.servers import docker_daemon, docker_registry, free_port

pytestmark = [pytest.mark.boot, pytest.mark.network]

MADE = ("iso-bios", "iso-efi", "iso-hybrid", "gcp", "uki", "firecracker", "tar", "docker", "oci")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nginx.yml in these formats: what the names of its files begin with."""
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    cache = Path(kept) if kept else tmp_path_factory.getbasetemp().parent / "packages-cache"
    out = tmp_path_factory.mktemp("more")
    run(BuildOptions(machines=((SPECS / "nginx.yml",),), cache=cache, directory=out, formats=MADE))
    return out / "nginx"


# -- machines ----------------------------------------------------------------------------------------------------------


def disk(ending: str) -> Callable[[Path, Path], Media]:
    """A file as a hard disk or USB stick."""
    return lambda name, _: Media(name, "disk", disk=name.with_name(name.name + ending))


def system_partition(name: Path, scratch: Path) -> Media:
    """The UEFI program on a FAT made by mtools, where firmware looks for it unasked."""
    program, fat = name.with_name(name.name + ".efi"), scratch / "esp.img"
    with fat.open("wb") as file:
        file.truncate((program.stat().st_size >> 20) + 16 << 20)
    said("mformat", "-i", fat, "-F", "::")
    said("mmd", "-i", fat, "::EFI", "::EFI/BOOT")
    said("mcopy", "-i", fat, program, "::EFI/BOOT/BOOTX64.EFI")
    return Media(name, "disk", disk=fat)


def compute_engine(name: Path, scratch: Path) -> Media:
    """The disk that Google's importer takes out of the archive."""
    said("tar", "-xzSf", name.with_name(name.name + ".img.tar.gz"), "-C", scratch)
    assert (scratch / "disk.raw").stat().st_size % (1 << 30) == 0
    return Media(name, "disk", disk=scratch / "disk.raw")


BOOTS = [
    ("iso-hybrid", disk("-hybrid.iso"), False), ("uki", system_partition, True),
    ("iso-hybrid", disk("-hybrid.iso"), True), ("iso-bios", disk(".iso"), False), ("iso-efi", disk("-efi.iso"), True),
    ("gcp", compute_engine, False),
]  # fmt: skip
REPRESENTATIVE = 2


@pytest.mark.parametrize(
    ("format", "medium", "uefi"),
    BOOTS if os.environ.get("LKBUILD_BOOT") == "all" else BOOTS[:REPRESENTATIVE],
    ids=lambda value: {True: "uefi", False: "bios"}.get(value) if isinstance(value, bool) else str(value)[:12],
)
def test_it_boots_from_a_disk(
    built: Path, tmp_path: Path, format: str, medium: Callable[[Path, Path], Media], uefi: bool
) -> None:
    port = free_port()
    options = MachineOptions(
        memory=1024, cpus=2, accel="tcg", uefi=uefi, publish=(Publish(port, 80, address="127.0.0.1"),)
    )
    machine = Machine.of(options, medium(built, tmp_path), tmp_path / "state")
    with Guest(machine, tmp_path / "console") as guest:
        assert guest.http_get(port, seconds=SECONDS).status == 200


@contextlib.contextmanager
def micro_machine(directory: Path, console: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What config.json describes, under QEMU: an ELF kernel, started directly, and with `pci=off` no devices.

    NB: QEMU's microvm would be nearer to Firecracker, but emulated it has no clock that this kernel can calibrate by.
    """
    if not (program := shutil.which("qemu-system-x86_64")):
        pytest.skip("needs qemu-system-x86_64")
    config = json.loads((directory / "config.json").read_text())
    source, machine = config["boot-source"], config["machine-config"]
    command = [
        program, "-M", "q35", "-accel", "tcg", "-cpu", "max", "-nodefaults", "-no-user-config",
        "-no-reboot", "-display", "none", "-serial", f"file:{console}",
        "-smp", str(machine["vcpu_count"]), "-m", str(machine["mem_size_mib"]),
        "-kernel", str(directory / source["kernel_image_path"]), "-initrd", str(directory / source["initrd_path"]),
        "-append", source["boot_args"],
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(os.environ.get("LKBUILD_BOOT") != "all", reason="LKBUILD_BOOT=all boots it")
def test_firecrackers_machine_starts_its_services(built: Path, tmp_path: Path) -> None:
    console = tmp_path / "console"
    with micro_machine(built.with_name("nginx-firecracker"), console) as process:
        end = time.monotonic() + SECONDS
        while "rc.init: up after" not in (said_so := console.read_text(errors="replace") if console.exists() else ""):
            assert process.poll() is None, said_so[-3000:]
            assert time.monotonic() < end, said_so[-3000:]
            time.sleep(1)


# -- images ------------------------------------------------------------------------------------------------------------


def contents(path: Path) -> dict[str, tuple[str, int, str]]:
    """What a root filesystem in a tar holds: kind, size and target of each path, as a container's export has them."""
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.removeprefix("./").strip("/")
            kind = "file" if member.isreg() or member.islnk() else member.type.decode()
            size = tar.getmember(member.linkname).size if member.islnk() else member.size
            found[name] = (kind, size, member.linkname if member.issym() else "")
    return found


BY_DOCKER = {".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc", "etc/hostname", "etc/hosts", "etc/mtab"}
BY_DOCKER |= {"etc/resolv.conf", "proc", "sys", "Dockerfile", ""}
"""What the daemon puts into every container itself, or leaves out of its export."""


def in_container(host: str, image: str, scratch: Path) -> dict[str, tuple[str, int, str]]:
    """The root filesystem of a container of an image, as the daemon exports it."""
    name = said("docker", "--host", host, "create", "--network", "none", image, "/x").split()[-1]
    said("docker", "--host", host, "export", "-o", scratch / "export.tar", name)
    return {path: what for path, what in contents(scratch / "export.tar").items() if path not in BY_DOCKER}


def of_tar(name: Path, leave_out: str = "") -> dict[str, tuple[str, int, str]]:
    """What the machine's tar holds, without what is below `leave_out`."""
    whole = contents(name.with_name(name.name + ".tar"))
    kept = {path: what for path, what in whole.items() if path not in BY_DOCKER}
    return {path: what for path, what in kept.items() if not leave_out or f"{path}/".split("/")[0] != leave_out}


@pytest.mark.docker
def test_docker_builds_and_runs_what_it_is_given(
    built: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with docker_daemon(tmp_path_factory.mktemp("d")) as host:  # its sockets' names must be short
        with built.with_name("nginx.docker").open("rb") as source:
            environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
            command = ["docker", "--host", host, "build", "-q", "-t", "machine", "-"]
            subprocess.run(command, stdin=source, env=environment, check=True, capture_output=True)
        assert in_container(host, "machine", tmp_path) == of_tar(built)
        config = json.loads(said("docker", "--host", host, "inspect", "machine"))[0]["Config"]
        assert config["Entrypoint"] == ["/bin/rc.init"]
        ls = ("run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/ls", "machine", "/containers/services")
        assert "nginx" in said("docker", "--host", host, *ls).split()


@pytest.mark.docker
def test_the_layout_goes_to_a_registry_and_a_daemon_and_back(
    built: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layout = f"oci:{built.with_name('nginx-oci')}:nginx:latest"
    digest = json.loads(said("skopeo", "inspect", layout))["Digest"]
    copy = ("skopeo", "--insecure-policy", "copy")
    with docker_registry(tmp_path) as registry:
        pushed = f"docker://{registry}/nginx:1"
        said(*copy, "--preserve-digests", "--dest-tls-verify=false", layout, pushed)
        assert json.loads(said("skopeo", "inspect", "--tls-verify=false", pushed))["Digest"] == digest
        said(*copy, "--preserve-digests", "--src-tls-verify=false", pushed, f"oci:{tmp_path / 'back'}:nginx")
        answer = urllib3.PoolManager().request("GET", f"http://{registry}/v2/nginx/tags/list")
        assert answer.json()["tags"] == ["1"]
    assert json.loads(said("skopeo", "inspect", f"oci:{tmp_path / 'back'}:nginx"))["Digest"] == digest
    with docker_daemon(tmp_path_factory.mktemp("d")) as host:
        said(*copy, "--dest-daemon-host", host, layout, "docker-daemon:nginx:1")
        assert in_container(host, "nginx:1", tmp_path) == of_tar(built, "boot")


def test_umoci_unpacks_the_layout(built: Path, tmp_path: Path) -> None:
    said("umoci", "unpack", "--rootless", "--image", f"{built.with_name('nginx-oci')}:nginx:latest", tmp_path / "b")
    root = tmp_path / "b" / "rootfs"
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    wanted = {path for path in contents(built.with_name("nginx.tar")) if path and path.split("/")[0] != "boot"}
    assert {path for path in found if path.split("/")[0] != "boot"} == wanted
