"""Builds of every format compared: what differs is told, exactly that, also between two formats; damage is refused."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lkbuild.plan.outputs import FORMATS
from tests.integration.test_diff import diff
from tests.integration.test_formats import Project, root_project, rpi_project
from tests.unit.disk_images import loader, noise
from tests.unit.test_disk_boot import pe
from tests.unit.test_steps_formats import ELF, bzimage

SPEC = """\
kernel:
  image: conf/kernel:1
  cmdline: console=tty0 quiet
init:
  - conf/init:1
  - conf/runc:1
services:
  - {name: web, image: conf/base:1}
files:
  - {path: etc/motd, contents: hello}
  - {path: Dockerfile, contents: the user's}
"""
OTHER_ELF = ELF + b"more"
KERNEL = (
    "files:\n",
    "files:\n  - {path: boot, directory: true, mode: '0755'}\n  - {path: boot/kernel, source: ./other}\n",
)
"""Another kernel in the place of the image's; the directory is that which is there."""

TOLD = "  ~ etc/motd  content, size 5 → 8"
PLACES = {
    "syslinux": "usr/bin/syslinux",
    "ldlinux.c32": "usr/lib/syslinux/modules/bios/ldlinux.c32",
    "mbr.bin": "usr/lib/syslinux/mbr/mbr.bin",
    "gptmbr.bin": "usr/lib/syslinux/mbr/gptmbr.bin",
    "isolinux.bin": "usr/lib/ISOLINUX/isolinux.bin",
    "isohdpfx.bin": "usr/lib/ISOLINUX/isohdpfx.bin",
}
SIZED = ("aws", "qcow2-bios")
ROOTS = ("kernel+squashfs", "kernel+erofs", "kernel+iso")
NO_CMDLINE = ("oci",)
"""Formats that do not tell the command line."""


class Builds:
    """A spec built into every format, before a change and after it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._done: dict[tuple[str, str], Path] = {}

    def project(self, name: str, format: str) -> tuple[Project, dict[str, object]]:
        root = self.root / ("pi" if format == "rpi3" else "pc")
        project = Project(root, self.root / "cache", self.root / name / format)
        if not root.exists():
            root.mkdir(parents=True)
            (root / "machine.yml").write_text(SPEC)
            (root / "kernel").write_bytes(bzimage(gzip.compress(ELF)))
            (root / "other").write_bytes(bzimage(gzip.compress(OTHER_ELF)))
            if format == "rpi3":
                rpi_project(project, script=False)
            else:
                root_project(project)
                for each, path in PLACES.items():
                    self._loader(path, loader(each))
                self._loader("usr/lib/systemd/boot/efi/linuxx64.efi.stub", pe())
                self._loader("usr/lib/systemd/boot/efi/systemd-bootx64.efi", pe())
        if format == "rpi3":
            return project, {"arch": "arm64", "bootloader": f"@pkg:{root / 'firmware'}"}
        return project, {"bootloader": f"@pkg:{root / 'loaders'}", **({"size": 64} if format in SIZED else {})}

    def _loader(self, path: str, data: bytes) -> None:
        file = self.root / "pc" / "loaders" / "root" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def built(self, name: str, format: str, old: str = "", new: str = "", lock: bool = False) -> Path:
        """What the outputs of a format have in common, the spec's text `old` having become `new`.

        With `lock` the machine has the record of its build.
        """
        if (name, format) not in self._done:
            project, options = self.project(name, format)
            spec = project.root / "machine.yml"
            text = spec.read_text()
            assert old in text
            spec.write_text(text.replace(old, new))
            project.build(format, **options, lock=lock)
            spec.write_text(text)
            self._done[name, format] = project.out / "machine"
        return self._done[name, format]

    def before(self, format: str) -> Path:
        return self.built("before", format)

    def after(self, format: str) -> Path:
        return self.built("after", format, "contents: hello", "contents: good-bye")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("builds"))


def needs(format: str) -> None:
    if format == "kernel+squashfs" and shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed")


def lines(text: str) -> list[str]:
    """What is told file by file."""
    return [line for line in text.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_changed_is_told_and_nothing_else(builds: Builds, format: str) -> None:
    needs(format)
    before, after = builds.before(format), builds.after(format)
    done = diff(before, after)
    assert (done.returncode, done.stderr) == (1, "")
    assert lines(done.stdout) == [TOLD]
    document = json.loads(diff("--json", before, after).stdout)
    assert [(each["path"], each["what"], each["before"], each["after"]) for each in document["files"]] == [
        ("etc/motd", "changed", 5, 8)
    ]
    same = diff(before, before)
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    in_directory = diff(before.parent, after)
    assert (in_directory.returncode, in_directory.stdout) == (1, done.stdout)


def test_the_record_of_the_build_is_no_difference_of_formats(builds: Builds) -> None:
    """A medium's names the package of boot loaders, an initrd's does not."""
    medium, initrd = (builds.built("recorded", format, lock=True) for format in ("iso-efi", "kernel+initrd"))
    same = diff(medium, initrd)
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    other = builds.built("changed record", "kernel+initrd", "contents: hello", "contents: good-bye", lock=True)
    assert "  ~ lkbuild.json" in diff(initrd, other).stdout, "of two builds of one format it is one"


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("tar", "rpi3")])
def test_formats_of_one_build_are_the_same(builds: Builds, format: str) -> None:
    """Each beside the tar and the initrd, before a change and across it."""
    needs(format)
    for other in ("tar", "kernel+initrd"):
        same = diff(builds.before(format), builds.before(other))
        assert (same.returncode, same.stdout, same.stderr) == (0, "", ""), other
        done = diff(builds.before(format), builds.after(other))
        assert (done.returncode, lines(done.stdout), done.stderr) == (1, [TOLD], ""), other


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in NO_CMDLINE])
def test_command_lines_are_compared_word_by_word(builds: Builds, format: str) -> None:
    needs(format)
    loud = builds.built("loud", format, "quiet", "loud ro")
    for other in (format,) if format == "rpi3" else (format, "tar"):
        done = diff(builds.before(other), loud)
        assert (done.returncode, done.stderr) == (1, "")
        head, words = lines(done.stdout)
        assert re.fullmatch(r"  ~ boot/cmdline  content, size \d+ → \d+", head)
        assert words == "      words: - quiet, + loud, + ro"
    (change,) = json.loads(diff("--json", builds.before(format), loud).stdout)["files"]
    assert [(each["added"], each["removed"]) for each in change["settings"]] == [(["loud", "ro"], ["quiet"])]


@pytest.mark.parametrize("format", ["kernel+initrd", "tar-kernel-initrd", "iso-bios", "raw-efi", "uki", "kernel+erofs"])
def test_kernels_are_compared(builds: Builds, format: str) -> None:
    other = builds.built("kernel", format, *KERNEL)
    for before in (format, "tar"):
        done = diff(builds.before(before), other)
        assert (done.returncode, done.stderr) == (1, "")
        (line,) = lines(done.stdout)
        assert re.fullmatch(r"  ~ boot/kernel  content, size \d+ → \d+", line)


def test_a_kernel_that_is_unpacked_in_one_is_not_compared(builds: Builds) -> None:
    """Firecracker's against the others; against another of its own it is."""
    other = builds.built("kernel", "firecracker", *KERNEL)
    assert diff(builds.before("kernel+initrd"), other).returncode == 0
    assert lines(diff(builds.before("firecracker"), other).stdout) == [
        f"  ~ boot/kernel  content, size {len(ELF)} → {len(OTHER_ELF)}"
    ]


def test_an_oci_archive_is_read_as_the_directory_is(builds: Builds, tmp_path: Path) -> None:
    """A packed one is refused; so is a layout of several images."""
    layout = builds.before("oci").with_name("machine-oci")
    plain = tmp_path / "machine.tar"
    subprocess.run(["tar", "-cf", plain, "-C", layout, "."], check=True)
    assert diff(plain, layout).returncode == 0
    assert lines(diff(plain, builds.after("oci")).stdout) == [TOLD]
    packed = tmp_path / "machine.tar.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    done = diff(packed, layout)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {packed}: an OCI layout in a packed tar")
    several = tmp_path / "several"
    shutil.copytree(layout, several)
    index = json.loads((several / "index.json").read_text())
    index["manifests"] *= 2
    (several / "index.json").write_text(json.dumps(index))
    assert diff(several, layout).stderr.startswith(f"error: {several}: 2 images are in the layout")


@pytest.mark.parametrize("format", ["kernel+initrd", "oci", "iso-efi", "gcp"])
def test_an_output_that_changes_hands_is_told_by_what_is_in_it(builds: Builds, tmp_path: Path, format: str) -> None:
    """Of any name: formats are known by their bytes."""
    output = builds.before(format)
    (file,) = (path for path in output.parent.iterdir() if not path.name.endswith(("-kernel", "-cmdline")))
    other = tmp_path / "renamed"
    (shutil.copytree if file.is_dir() else shutil.copyfile)(file, other)
    assert lines(diff(other, builds.after("tar")).stdout) == [TOLD]


# -- damage ------------------------------------------------------------------------------------------------------------


def holder(builds: Builds, format: str) -> Path:
    """The file of a build that has the root filesystem or the initrd."""
    output = builds.before(format)
    others = ("-kernel", "vmlinux", *(("-initrd.img",) if format in ROOTS else ()))
    files = [path for path in output.parent.rglob("*") if path.is_file() and not path.name.endswith(others)]
    return max(files, key=lambda path: path.stat().st_size)


def copied(builds: Builds, format: str, to: Path) -> tuple[Path, Path]:
    """A build copied: what it is called by, and the file in the copy that is to be damaged."""
    file, output = holder(builds, format), builds.before(format)
    shutil.copytree(output.parent, to)
    return to / output.name, to / file.relative_to(output.parent)


def place_of_initrd(data: bytes, builds: Builds) -> int:
    """Where the middle of the initrd stands; of what has none of its bytes as they are, the middle of the file."""
    initrd = builds.before("kernel+initrd").with_name("machine-initrd.img").read_bytes()
    at = data.find(initrd[len(initrd) // 2 :][:512])
    return at if at > 0 else len(data) // 2


def heads(file: Path, data: bytes) -> int:
    """Where the headers of a file end.  NB: an initrd that is cut between two of its archives is an initrd."""
    if data[0x8001:0x8006] == b"CD001":
        return 0x8800
    return 60 if file.name.endswith("initrd.img") else 1536


@pytest.mark.parametrize("how", ["cut in the initrd", "cut behind the headers", "noise", "nothing"])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_damaged_is_refused(builds: Builds, tmp_path: Path, format: str, how: str) -> None:
    """With the name of what was to be compared and what to do, and without a traceback."""
    needs(format)
    name, file = copied(builds, format, tmp_path / "copy")
    data = file.read_bytes()
    file.write_bytes(
        {
            "cut in the initrd": lambda: data[: place_of_initrd(data, builds)],
            "cut behind the headers": lambda: data[: heads(file, data)],
            "noise": lambda: data[:1024] + noise(min(len(data), 200_000)),
            "nothing": lambda: b"",
        }[how]()
    )
    done = diff(builds.before(format), name)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout
    assert done.stderr.startswith(f"error: {name}")
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
