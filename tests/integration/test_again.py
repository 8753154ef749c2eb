"""`lkbuild rebuild`: every format built again elsewhere, as somebody else, and damaged ones told apart."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lkbuild.plan.kinds import KINDS
from lkbuild.plan.outputs import FORMATS
from lkbuild.plan.record import PATH, decode
from tests.integration.test_formats import Project, rpi_project
from tests.integration.test_record import SPEC, Machine, make
from tests.support.layouts import Layout, layer
from tests.unit.disk_images import noise
from tests.unit.test_steps_formats import ELF, bzimage

REPOSITORY = Path(__file__).parents[2]
OTHER = 65534
KERNEL = "kernel:\n  image: again/kernel:1\n  cmdline: console=ttyS0 quiet\n"
ON_DISK = {
    "usr/bin/syslinux": "/usr/bin/syslinux",
    "usr/lib/syslinux/modules/bios/ldlinux.c32": "/usr/lib/syslinux/modules/bios/ldlinux.c32",
    "usr/lib/syslinux/mbr/mbr.bin": "/usr/lib/syslinux/mbr/mbr.bin",
    "usr/lib/syslinux/mbr/gptmbr.bin": "/usr/lib/syslinux/mbr/gptmbr.bin",
    "usr/lib/ISOLINUX/isolinux.bin": "/usr/lib/ISOLINUX/isolinux.bin",
    "usr/lib/ISOLINUX/isohdpfx.bin": "/usr/lib/ISOLINUX/isohdpfx.bin",
    "usr/lib/systemd/boot/efi/linuxx64.efi.stub": "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
    "usr/lib/systemd/boot/efi/systemd-bootx64.efi": "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
}
AMD64 = [name for name in FORMATS if name != "rpi3"]
"""NB: those of one file name are built into directories of their own."""


KERNEL_BYTES = bzimage(gzip.compress(ELF, mtime=0))


def kernel_layer() -> bytes:
    module = "lib/modules/6.1.0/kernel/fs/own.ko"
    tar = gzip.decompress(layer([(module, noise(5000, 7)), ("lib/modules/6.1.0/modules.dep", b"kernel/fs/own.ko:\n")]))
    return layer([("kernel", KERNEL_BYTES), ("kernel.tar", tar)])


def bootable(root: Path) -> Machine:
    """The machine of test_record with a kernel, and an image of the boot loaders that are installed here."""
    missing = [path for path in ON_DISK.values() if not Path(path).exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    machine = make(root, KERNEL + SPEC)
    layout = Layout(root / "boot")
    layout.add("again/kernel:1", [kernel_layer()])
    busybox = [("usr/bin/busybox", b"\x7fELF" + noise(3000, 9))]
    layout.add(
        "again/loaders:1", [layer([*((name, Path(path).read_bytes()) for name, path in ON_DISK.items()), *busybox])]
    )
    return machine


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine in every format, each in a directory called as the format."""
    machine = bootable(tmp_path_factory.mktemp("built"))
    images = (machine.root / "layout", machine.root / "boot")
    for name in AMD64:
        if name == "kernel+squashfs" and shutil.which("mksquashfs") is None:
            continue
        machine.build(name, out=f"out/{name}", images=images, bootloader="again/loaders:1", sbom="spdx")
    return machine


@pytest.fixture(scope="module")
def elsewhere(built: Machine) -> Iterator[Path]:
    """Another directory, which anybody may read, with the images, the packages and the sources, but with no spec."""
    place = Path(tempfile.mkdtemp(prefix="again-"))
    try:
        for name in ("layout", "boot", "own", "out"):
            shutil.copytree(built.root / name, place / "x" / name, symlinks=True)
        shutil.copy(built.root / "source.txt", place / "x" / "renamed.txt")
        (place / "tmp").mkdir()
        for path in (place, place / "tmp"):
            path.chmod(0o777)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def rebuild(place: Path, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and words of `lkbuild rebuild` in `place`: as another user (unshare(1)), in another time zone."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed")
    sources = ("--images", "x/layout", "--images", "x/boot", "--context", "x", "--offline")
    other = [unshare, "--user", f"--map-user={OTHER}", f"--map-group={OTHER}"]
    environment = {"TZ": "Pacific/Kiritimati", "TMPDIR": str(place / "tmp"), "HOME": "/nowhere"}
    return lkbuild(place, *sources, *map(str, arguments), before=other, environment=environment)


def lkbuild(
    place: Path, *arguments: str, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    done = subprocess.run(
        [*before, sys.executable, "-m", "lkbuild", "rebuild", *arguments],
        cwd=place,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("form", AMD64)
def test_every_format_again(elsewhere: Path, form: str) -> None:
    if not (elsewhere / "x" / "out" / form).exists():
        pytest.skip("mksquashfs is not installed")
    code, said = rebuild(elsewhere, f"x/out/{form}")
    assert (code, f"m, {form}: identical" in said) == (0, True), said


HOLDERS = [
    ("qcow2-bios", "m.qcow2"),
    ("vmdk", "m.vmdk"),
    ("gcp", "m.img.tar.gz"),
    ("dynamic-vhd", "m.vhd"),
    ("vhd", "m.vhd"),
    ("uki", "m.efi"),
    ("iso-hybrid", "m-hybrid.iso"),
    ("kernel+erofs", "m-erofs.img"),
    ("tar", "m.tar"),
    ("docker", "m.docker"),
    ("kernel+initrd", "m-initrd.img"),
]


@pytest.mark.parametrize(("form", "name"), HOLDERS)
def test_a_file_that_was_renamed(elsewhere: Path, form: str, name: str) -> None:
    shutil.copy(elsewhere / "x/out" / form / name, elsewhere / "what")
    code, said = rebuild(elsewhere, "what")
    assert (code, f"m, {form}: identical (what)" in said) == (0, True), said


def test_all_of_a_directory(elsewhere: Path) -> None:
    """Outputs of two records side by side: that of a medium has the boot loaders' image in it."""
    for form in ("kernel+initrd", "tar", "iso-bios", "oci"):
        shutil.copytree(elsewhere / "x/out" / form, elsewhere / "all", dirs_exist_ok=True)
    code, said = rebuild(elsewhere, "all")
    assert code == 0, said
    assert sorted(line.partition(":")[0] for line in said.splitlines() if "identical" in line) == [
        "m, iso-bios",
        "m, kernel+initrd",
        "m, oci",
        "m, tar",
    ]
    (elsewhere / "all" / "m-cmdline").unlink()
    code, said = rebuild(elsewhere, "all")
    assert (code, "m-cmdline is not there" in said) == (1, True), said


def test_rpi3(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path / "cache", tmp_path / "out")
    rpi_project(project)
    project.build("rpi3", arch="arm64", bootloader=f"@pkg:{tmp_path / 'firmware'}", lock=True)
    shutil.rmtree(tmp_path / "cache")
    code, said = lkbuild(tmp_path, "--offline", "--context", ".", "out")
    assert (code, "machine, rpi3: identical" in said) == (0, True), said


# -- damage ------------------------------------------------------------------------------------------------------------


def flipped(path: Path, needle: bytes, skip: int = 0) -> None:
    """A byte after the last place where `needle` stands is another."""
    data = bytearray(path.read_bytes())
    data[data.rindex(needle) + skip] ^= 1
    path.write_bytes(data)


def anew(change: str, text: str) -> str:
    """A record with something changed in it, its checksum made right again."""
    record = decode(text.encode())
    assert change in record.spec
    return replace(record, spec=record.spec.replace(change, change.swapcase())).encode()


def tampered(path: Path, change: str) -> None:
    data = path.read_bytes()
    at = data.index(b'{"lkbuild-record"')
    old = data[at : data.index(b"\n", at) + 1].decode()
    new = anew(change, old)
    assert len(new) == len(old)
    path.write_bytes(data.replace(old.encode(), new.encode()))


DAMAGE = [
    (
        "a byte of a service's file", "tar", "m.tar", lambda p: flipped(p, b"ownownown"),
        ["services/own", "the file containers/services/own/lower/usr/bin/own"],
    ),
    (
        "a byte of the files section", "tar", "m.tar", lambda p: flipped(p, b"sourcesource", 100),
        ["the files section", "the file etc/from"],
    ),
    (
        "a mode", "tar", "m.tar", lambda p: flipped(p, b"etc/from\0", 106),
        ["the files section", "the file etc/from"],
    ),
    (
        "a byte of a compressed segment", "kernel+initrd", "m-initrd.img", lambda p: _in_page(p, 1),
        ["the file lib/modules/6.1.0/"],
    ),
    (
        "a byte of the kernel", "kernel+initrd", "m-kernel", lambda p: flipped(p, b"HdrS", 2000),
        ["the kernel", "m-kernel differs"],
    ),
    (
        "a medium's own bytes", "iso-bios", "m.iso", lambda p: flipped(p, b"CD001", 40),
        ["m.iso differs from byte", "in what stands around its files"],
    ),
    (
        "a disk that is cut into clusters", "qcow2-bios", "m.qcow2", lambda p: _truncate(p, 5000),
        ["m.qcow2 differs from byte", "bytes, not"],
    ),
    (
        "a disk's identity and a file on it", "qcow2-bios", "m.qcow2",
        lambda p: (flipped(p, KERNEL_BYTES[-50000:-49980]), flipped(p, b"QFI\xfb", 30)),
        ["in the medium", "in the kernel (step kernel:docker.io/again/kernel:1)"],
    ),
    (
        "a kernel in a compressed disk", "vmdk", "m.vmdk", lambda p: flipped(p, KERNEL_BYTES[-50000:-49980]),
        ["the kernel"],
    ),
    (
        "a file cut short", "kernel+initrd", "m-initrd.img", lambda p: _truncate(p, 100),
        ["the record of the build", "bytes, not"],
    ),
    (
        "a byte of the record", "tar", "m.tar", lambda p: flipped(p, b'"lkbuild-record"', 400),
        ["m.tar: the record at byte", "is damaged: its bytes are not those its SHA-256 is of"],
    ),
    (
        "no record", "tar", "m.tar", lambda p: flipped(p, b'{"lkbuild-record"', 3),
        ["holds no record of its build", "lock=no"],
    ),
    (
        "a record made right again after a change", "tar", "m.tar", lambda p: tampered(p, "A=1"),
        ["services/web", "containers/services/web/config.json"],
    ),
]  # fmt: skip


def _in_page(path: Path, number: int) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * number + 300] ^= 1
    path.write_bytes(data)


def _truncate(path: Path, bytes_: int) -> None:
    os.truncate(path, path.stat().st_size - bytes_)


@pytest.mark.parametrize(("why", "form", "name", "damage", "told"), DAMAGE, ids=[case[0] for case in DAMAGE])
def test_damage_is_named(elsewhere: Path, why: str, form: str, name: str, damage: object, told: list[str]) -> None:
    place = elsewhere / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(elsewhere / "x/out" / form, place)
    assert callable(damage)
    damage(place / name)
    code, said = rebuild(elsewhere, "damaged")
    assert code == 1, said
    assert [text for text in told if text not in said] == [], said


def test_another_lkbuild_is_named(elsewhere: Path) -> None:
    """It is tried all the same: what differs then may be what the versions changed."""
    path = elsewhere / "other.tar"
    data = (elsewhere / "x/out/tar/m.tar").read_bytes()
    at = data.index(b'{"lkbuild-record"')
    old = data[at : data.index(b"\n", at) + 1]
    record = decode(old)
    kinds = tuple((name, 9 if name == "tree" else version) for name, version in record.kinds)
    new = replace(record, version="9" * len(record.version), kinds=kinds).encode().encode()
    assert len(new) == len(old)
    path.write_bytes(data.replace(old, new))
    code, said = rebuild(elsewhere, path.name)
    assert code == 1
    assert f"built by lkbuild {'9' * len(record.version)}, and this is {record.version}" in said
    assert f"tree 9->{KINDS['tree'].version}; what they make may differ" in said
    assert "in the record of the build (step record.tar:m), the file lkbuild.json" in said


def test_what_cannot_be_found_is_named(elsewhere: Path) -> None:
    (elsewhere / "empty").mkdir(exist_ok=True)
    code, said = rebuild(elsewhere, "--context", "empty", "x/out/tar")
    assert code == 1
    assert "own/root/usr" not in said
    for text in ("2 files that the machine was built from were not found", "own/root/bin/own: 9000 bytes, sha256:",
                 "the source of files[0]: 12000 bytes", "--context DIR"):  # fmt: skip
        assert text in said, said
    code, said = lkbuild(elsewhere, "--context", "x", "--offline", "--cache", "none", "x/out/tar")
    assert (code, "image docker.io/again/init:1@sha256:" in said) == (1, True), said


def test_from_the_cache_alone(built: Machine, tmp_path: Path) -> None:
    """What was fetched for the first build is taken from its cache, and so are files of packages; nothing else is."""
    shutil.copytree(built.root / "out/tar", tmp_path / "tar")
    layouts = [word for name in ("layout", "boot") for word in ("--images", str(built.root / name))]
    cache = str(built.root / "cache")
    code, said = lkbuild(tmp_path, "--offline", "--cache", cache, *layouts, "--keep", "kept", "tar")
    assert (code, "m, tar: identical (m.tar)" in said) == (0, True), said
    assert (tmp_path / "kept/m.tar").read_bytes() == (tmp_path / "tar/m.tar").read_bytes()


def test_the_record_is_the_one_the_reader_documents(built: Machine) -> None:
    text = (built.root / "out/kernel+initrd/m-initrd.img").read_bytes()
    name = text.rindex(PATH.encode() + b"\0")
    assert text[name - 110 :][:6] == b"070701", "a cpio's header stands before the name"
