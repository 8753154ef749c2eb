"""The formats that are no disks, built from images and read back by programs that are not ours."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.errors import LkbuildError, SpecError
from tests.support.building import Built, digests, kinds, offline, run
from tests.unit.disk_images import noise
from tests.unit.test_packages_kernel import elf
from tests.unit.test_steps_formats import ELF, IMAGE, bzimage

SPEC = """\
kernel:
  image: conf/kernel:1
  cmdline: console=tty0 panic=3
init:
  - conf/init:1
  - conf/runc:1
services:
  - name: web
    image: conf/base:1
files:
  - path: etc/motd
    contents: hello
  - path: Dockerfile
    contents: the user's
  - path: boot/kernel
    source: ./kernel
"""


@dataclass
class Project:
    root: Path
    cache: Path
    out: Path

    def build(self, *formats: str, **more: object) -> Built:
        return run(offline(self.root / "machine.yml", self.cache, self.out, formats=formats, **more))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    (root / "machine.yml").write_text(SPEC)
    (root / "kernel").write_bytes(bzimage(gzip.compress(ELF)))
    return Project(root, tmp_path / "cache", tmp_path / "out")


def has(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def said(*argv: object) -> str:
    done = subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True)
    return done.stdout


def tar_names(path: Path) -> list[str]:
    return said("tar", "-tf", path).splitlines()


def test_docker_is_the_tar_with_a_dockerfile_at_its_end(project: Project) -> None:
    project.build("tar")
    built = project.build("docker")
    assert kinds(built.ran) == {"docker": 1}  # the segments are there
    path = project.out / "machine.docker"
    assert tar_names(path) == [*tar_names(project.out / "machine.tar"), "Dockerfile"]
    assert path.stat().st_size % 10240 == 0
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
        body = tar.extractfile(last)
        assert body is not None
        assert body.read() == b'\nFROM scratch\n\nCOPY . ./\n\nENTRYPOINT ["/bin/rc.init"]\n'
        assert (last.mode, last.mtime) == (0o644, 1492533000)


def test_oci_is_what_skopeo_and_umoci_read(project: Project, tmp_path: Path) -> None:
    project.build("oci", "tar")
    layout = project.out / "machine-oci"
    seen = json.loads(said(has("skopeo"), "inspect", f"oci:{layout}:machine:latest"))
    assert (seen["Architecture"], seen["Os"]) == ("amd64", "linux")
    copied = tmp_path / "copy"  # skopeo checks every digest, and the diff id
    said(has("skopeo"), "--insecure-policy", "copy", f"oci:{layout}:machine:latest", f"oci:{copied}:there")
    image = json.loads(said("skopeo", "inspect", "--config", f"oci:{layout}:machine:latest"))
    assert image["config"]["Entrypoint"] == ["/bin/rc.init"]
    assert image["rootfs"]["diff_ids"] == seen["Layers"]
    said(has("umoci"), "unpack", "--rootless", "--image", f"{layout}:machine:latest", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    assert (root / "etc" / "motd").read_text() == "hello"
    layers = [tar_names(layout / "blobs" / "sha256" / digest.partition(":")[2]) for digest in seen["Layers"]]
    for layer in layers:
        assert len(layer) == len(set(layer))  # Docker takes no other
    without = {name for name in tar_names(project.out / "machine.tar") if not name.startswith("boot/")}
    # The kernel that `files` brings is the user's own file, and stays.
    assert {name for layer in layers for name in layer if not name.startswith("boot/")} == without
    assert not any("boot/cmdline" in layer for layer in layers)


def test_oci_directory_is_kept_as_it_should_be(project: Project) -> None:
    project.build("oci")
    layout = project.out / "machine-oci"
    first = digests(layout)
    assert len(first) == 6
    assert project.build("oci").wrote == ()
    (layout / "mine.txt").write_text("of the user")
    layer = max(layout.rglob("*"), key=lambda path: path.stat().st_size)
    layer.unlink()
    built = project.build("oci")
    assert (built.ran, built.wrote) == ((), ("machine-oci",))
    assert digests(layout) == {**first, "mine.txt": digests(layout)["mine.txt"]}
    spec = project.root / "machine.yml"
    spec.write_text(spec.read_text().replace("hello", "good-bye"))
    project.build("oci")
    now = digests(layout)
    assert "mine.txt" in now
    assert len(now) == 7  # the old layer, config and manifest are gone
    said(has("umoci"), "ls", "--layout", layout)


def test_a_stamp_tells_of_a_file_that_is_gone(project: Project) -> None:
    """Through the door that looks at stamps first, as the command line does."""
    environment = {**os.environ, "LKBUILD_CACHE": str(project.cache)}
    images = Path(__file__).parents[1] / "conformance" / "images"
    environment["PYTHONPATH"] = str(images.parents[2])
    words = ["build", f"images={images}", "pull=never", "format=oci", "machine.yml"]
    program = [sys.executable, "-c", "import sys; from lkbuild.cli import main; sys.exit(main(sys.argv[1:]))"]

    def build(*more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*program, *words, *more], cwd=project.root, env=environment, capture_output=True)

    refused = build("-o", "-")
    assert refused.returncode != 0
    assert b"oci is a directory" in refused.stderr
    words.append(f"dir={project.out}")
    assert build().returncode == 0
    assert build().returncode == 0
    assert list(project.cache.glob("stamps/*"))
    files = sorted(path for path in (project.out / "machine-oci" / "blobs").rglob("*") if path.is_file())
    files[0].unlink()
    assert build().returncode == 0
    assert files[0].exists()


def test_firecracker(project: Project) -> None:
    project.build("firecracker", "kernel+initrd")
    made = project.out / "machine-firecracker"
    assert sorted(path.name for path in made.iterdir()) == ["config.json", "initrd.img", "vmlinux"]
    assert (made / "vmlinux").read_bytes() == ELF
    assert (made / "initrd.img").read_bytes() == (project.out / "machine-initrd.img").read_bytes()
    config = json.loads((made / "config.json").read_text())
    assert config == {
        "boot-source": {
            "kernel_image_path": "vmlinux",
            "initrd_path": "initrd.img",
            "boot_args": "console=tty0 panic=3 console=ttyS0 reboot=k pci=off",
        },
        "drives": [],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 1024},
        "network-interfaces": [],
    }


@pytest.mark.parametrize(
    ("megabytes", "memory"),
    [
        (100, 1024),
        (600, 1280),  # 48 + 2 * 600 and a little, as it compresses to next to nothing
    ],
)
def test_firecracker_gives_a_machine_the_memory_its_initrd_needs(megabytes: int, memory: int, project: Project) -> None:
    with (project.root / "large").open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    (project.root / "machine.yml").write_text(SPEC + "  - {path: large, source: ./large}\n")
    project.build("firecracker")
    config = json.loads((project.out / "machine-firecracker" / "config.json").read_text())
    assert config["machine-config"]["mem_size_mib"] == memory


def test_firecracker_says_how_a_kernel_is_compressed(project: Project) -> None:
    (project.root / "kernel").write_bytes(bzimage(b"\x89LZO" + noise(1000, 3)))
    with pytest.raises(LkbuildError, match="compressed with lzo"):
        project.build("firecracker")


FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "config.txt", "u-boot.bin")
SCRIPT = 'setenv bootargs "root=/dev/ram0"\nbootm\n'


def rpi_project(project: Project, script: bool = True, leave_out: str = "") -> None:
    """A package with the names of a Raspberry Pi's firmware, and a spec whose kernel is a gzip'd Image."""
    boot = project.root / "firmware" / "root" / "boot"
    (boot / "dtb" / "broadcom").mkdir(parents=True)
    for name in FIRMWARE:
        if name != leave_out:
            (boot / name).write_text(f"this is {name}")
    (boot / "dtb" / "broadcom" / "bcm2837-rpi-3-b.dtb").write_text("device tree")
    (boot / "kernel.uimg").write_text("left over from another build")
    if script:
        (boot / "boot.script").write_text(SCRIPT)
    (boot.parent / "bin").mkdir()
    (boot.parent / "bin" / "tool").write_text("not for the card")
    (project.root / "firmware" / "build.yml").write_text("image: firmware\n")
    (project.root / "kernel").write_bytes(gzip.compress(IMAGE, mtime=0))
    spec = project.root / "machine.yml"
    spec.write_text(
        "kernel:\n  image: '@pkg:./kernelpkg'\n  cmdline: console=ttyS0 quiet\n  tar: none\n"
        "files:\n  - path: etc/motd\n    contents: hello\n"
    )
    package = project.root / "kernelpkg"
    (package / "root").mkdir(parents=True)
    (package / "build.yml").write_text("image: kernel\n")
    (package / "root" / "kernel").write_bytes((project.root / "kernel").read_bytes())


def build_rpi3(project: Project) -> Built:
    return project.build("rpi3", arch="arm64", bootloader=f"@pkg:{project.root / 'firmware'}")


def uboot_image(tar: tarfile.TarFile, name: str) -> tuple[tuple[int, ...], bytes]:
    """OS, architecture, type and compression of a legacy image, and what is in it."""
    file = tar.extractfile(name)
    assert file is not None
    header, body = file.read(64), file.read()
    assert int.from_bytes(header[12:16], "big") == len(body)
    return struct.unpack_from("4B", header, 28), body


def test_rpi3(project: Project, tmp_path: Path) -> None:
    rpi_project(project)
    built = build_rpi3(project)
    assert any("boot.script" in text for text in built.said)  # whose command line wins
    path = project.out / "machine.tar"
    made = ["boot.scr", "kernel.uimg", "initrd.uimg"]
    tree = ["dtb/", "dtb/broadcom/", "dtb/broadcom/bcm2837-rpi-3-b.dtb"]
    assert sorted(tar_names(path)) == sorted([*FIRMWARE, "boot.script", *tree, *made])
    with tarfile.open(path) as tar:
        assert uboot_image(tar, "kernel.uimg") == ((5, 22, 2, 1), (project.root / "kernel").read_bytes())
        kind, text = uboot_image(tar, "boot.scr")
        assert (kind, text[8:]) == ((5, 22, 6, 0), SCRIPT.encode())
        kind, initrd = uboot_image(tar, "initrd.uimg")
        assert kind == (5, 22, 3, 0)
        assert b"070701" in gzip.GzipFile(fileobj=io.BytesIO(initrd)).read(6)
        if dumpimage := shutil.which("dumpimage"):
            tar.extract("kernel.uimg", tmp_path, filter="data")
            assert "AArch64 Linux Kernel Image (gzip compressed)" in said(dumpimage, "-l", tmp_path / "kernel.uimg")


def test_rpi3_script_of_its_own(project: Project) -> None:
    rpi_project(project, script=False)
    build_rpi3(project)
    with tarfile.open(project.out / "machine.tar") as tar:
        text = uboot_image(tar, "boot.scr")[1][8:].decode()
    assert text.startswith('setenv bootargs "console=ttyS0 quiet"\n')
    assert text.endswith("bootm ${kernel_addr_r} ${ramdisk_addr_r} ${fdt_addr_r}\n")


def test_rpi3_without_firmware(project: Project) -> None:
    rpi_project(project, leave_out="start.elf")
    with pytest.raises(LkbuildError, match=r"no boot/start\.elf") as raised:
        build_rpi3(project)
    assert "bootloader=IMAGE" in str(raised.value.hint)


def test_rpi3_is_for_arm64(project: Project) -> None:
    with pytest.raises(SpecError, match="rpi3 is for arm64"):
        project.build("rpi3", bootloader="conf/base:1")
    assert not project.cache.exists()  # nothing was looked for


def test_two_formats_of_one_name(project: Project) -> None:
    rpi_project(project)
    with pytest.raises(LkbuildError, match=r"would both write .*machine\.tar"):
        project.build("rpi3", "tar", arch="arm64", bootloader=f"@pkg:{project.root / 'firmware'}")


def test_the_same_bytes_elsewhere(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats = ("docker", "oci", "firecracker")
    project.build(*formats)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    other = Project(project.root, tmp_path / "other-cache", tmp_path / "other-out")
    other.build(*formats)
    assert digests(other.out) == digests(project.out)
    rpi_project(project)
    build_rpi3(project)
    build_rpi3(other)
    assert digests(other.out) == digests(project.out)


# -- roots on disks ----------------------------------------------------------------------------------------------------

ROOTS = {"kernel+squashfs": "-squashfs.img", "kernel+erofs": "-erofs.img", "kernel+iso": ".iso"}


def root_project(project: Project, builtin: str = "") -> str:
    """A kernel with the file systems as modules, unless `builtin` names them; returns the package of busybox."""
    package = project.root / "kernelpkg"
    (package / "root").mkdir(parents=True, exist_ok=True)
    (package / "build.yml").write_text("image: kernel\n")
    (package / "root" / "kernel").write_bytes((project.root / "kernel").read_bytes())
    names = ("squashfs", "erofs", "isofs", "virtio_pci", "virtio_blk")
    modules = [name for name in names if name not in builtin.split()]
    with tarfile.open(package / "root" / "kernel.tar", "w") as tar:
        for path, data in (
            ("modules.dep", "".join(f"kernel/{name}.ko:\n" for name in modules).encode()),
            ("modules.builtin", "".join(f"kernel/{name}.ko\n" for name in builtin.split()).encode()),
            *((f"kernel/{name}.ko", elf()) for name in modules),
        ):
            member = tarfile.TarInfo(f"usr/lib/modules/6/{path}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    spec = project.root / "machine.yml"
    spec.write_text(spec.read_text().replace("conf/kernel:1", "'@pkg:./kernelpkg'"))
    loaders = project.root / "loaders"
    (loaders / "root" / "usr" / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(has("busybox"), loaders / "root" / "usr" / "bin" / "busybox")
    (loaders / "build.yml").write_text("image: loaders\n")
    return f"@pkg:{loaders}"


@pytest.mark.parametrize("format", ROOTS)
def test_a_root_on_a_disk_is_the_same_bytes_elsewhere(
    format: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format == "kernel+squashfs":
        has("mksquashfs")
    loaders = root_project(project)
    built = project.build(format, bootloader=loaders)
    assert sorted(built.wrote) == sorted(
        ["machine-kernel", "machine-cmdline", "machine-initrd.img", f"machine{ROOTS[format]}"]
    )
    assert project.build(format, bootloader=loaders).wrote == ()
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    other = Project(project.root, tmp_path / "other-cache", tmp_path / "other-out")
    other.build(format, bootloader=loaders)
    assert digests(other.out) == digests(project.out)
    motd = project.root / "machine.yml"
    motd.write_text(motd.read_text().replace("panic=3", "panic=4"))
    ran = kinds(project.build(format, bootloader=loaders).ran)
    assert ran.keys() <= {"text"}, "the command line is no part of the root"


def test_an_initrd_that_is_not_needed_is_not_there(project: Project) -> None:
    loaders = root_project(project)
    project.build("kernel+erofs", bootloader=loaders)
    initrd = project.out / "machine-initrd.img"
    assert initrd.exists()
    loaders = root_project(project, builtin="squashfs erofs isofs virtio_pci virtio_blk")
    assert "machine-initrd.img" not in project.build("kernel+erofs", bootloader=loaders).wrote
    assert not initrd.exists(), "one of before is of another kernel"
    again = project.build("kernel+erofs", bootloader=loaders)
    assert (again.ran, again.wrote) == ((), ())
    initrd.write_bytes(b"somebody's")
    assert project.build("kernel+erofs", bootloader=loaders).wrote == ()
    assert not initrd.exists()


def test_a_kernel_that_cannot_read_its_root(project: Project) -> None:
    loaders = root_project(project, builtin="squashfs isofs")
    with tarfile.open(project.root / "kernelpkg" / "root" / "kernel.tar", "w") as tar:
        for name, data in (("modules.dep", b"kernel/virtio_pci.ko:\n"), ("modules.builtin", b"kernel/isofs.ko\n")):
            member = tarfile.TarInfo(f"lib/modules/6/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(LkbuildError, match=r"machine\.yml:\d+.*this kernel has no erofs"):
        project.build("kernel+erofs", bootloader=loaders)


@pytest.mark.parametrize(
    ("formats", "path"),
    [
        (("kernel+initrd", "kernel+erofs"), "machine-kernel"),
        (("kernel+squashfs", "kernel+erofs"), "machine-kernel"),
        (("kernel+iso", "iso-bios"), "machine.iso"),
    ],
)
def test_formats_that_write_the_same_files(formats: tuple[str, str], path: str, project: Project) -> None:
    if "kernel+squashfs" in formats:
        has("mksquashfs")
    loaders = root_project(project)
    first, second = (f"build:machine:{format}" for format in formats)
    with pytest.raises(LkbuildError, match=re.escape(f"{first} and {second} would both write ") + f".*{path}"):
        project.build(*formats, bootloader=loaders)
    assert not list(project.cache.glob("results/*/*")), "no step ran"


def test_squashfs_without_the_program(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders = root_project(project)
    monkeypatch.setenv("PATH", str(project.root))
    with pytest.raises(LkbuildError, match="mksquashfs, which is not installed"):
        project.build("kernel+squashfs", bootloader=loaders)
    assert not list(project.cache.glob("results/*/*"))


def test_a_stamp_where_a_file_is_left_out(project: Project) -> None:
    """Nothing to do is seen without a look at the graph, although one of the format's files is not there."""
    loaders = root_project(project, builtin="squashfs erofs isofs virtio_pci virtio_blk")
    environment = {**os.environ, "LKBUILD_CACHE": str(project.cache)}
    images = Path(__file__).parents[1] / "conformance" / "images"
    environment["PYTHONPATH"] = str(images.parents[2])
    words = ["build", f"images={images}", "pull=never", "format=kernel+erofs", f"bootloader={loaders}", "machine.yml"]
    program = [sys.executable, "-c", "import sys; from lkbuild.cli import main; sys.exit(main(sys.argv[1:]))"]

    def build() -> str:
        argv = [*program, *words, f"dir={project.out}"]
        done = subprocess.run(argv, cwd=project.root, env=environment, check=True, capture_output=True, text=True)
        return done.stdout + done.stderr

    build()
    build()
    assert list(project.cache.glob("stamps/*"))
    assert "nothing to do" in build()
    (project.out / "machine-initrd.img").write_bytes(b"somebody's")
    assert "nothing to do" not in build()
    assert not (project.out / "machine-initrd.img").exists()
