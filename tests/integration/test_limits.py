"""Builds that cannot be are refused before they begin, or as soon as what is known is too much."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lkbuild.engine.build import build
from lkbuild.engine.events import Event, Finished
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import prepare
from lkbuild.errors import LkbuildError, SpecError
from lkbuild.sources import Registry, RegistryOptions
from tests.support.building import offline, run
from tests.support.layouts import many_files
from tests.unit.test_disk_boot import loader, pe

BOOTS = "kernel:\n  image: conf/kernel:1\n"
SERVICES = "init:\n  - conf/init:1\nservices:\n  - {name: web, image: conf/base:1}\n"
LOADERS = ("syslinux", "ldlinux.c32", "mbr.bin", "gptmbr.bin", "isolinux.bin", "isohdpfx.bin")


@pytest.fixture
def bootloader(tmp_path: Path) -> str:
    """A package with the files of boot loaders, where Debian's packages have them."""
    for name, content in {**{name: loader(name) for name in LOADERS}, "linuxx64.efi.stub": pe()}.items():
        places = {
            "syslinux": "usr/bin", "ldlinux.c32": "usr/lib/syslinux/modules/bios", "isolinux.bin": "usr/lib/ISOLINUX",
            "isohdpfx.bin": "usr/lib/ISOLINUX", "linuxx64.efi.stub": "usr/lib/systemd/boot/efi",
        }  # fmt: skip
        path = tmp_path / "loaders" / "root" / places.get(name, "usr/lib/syslinux/mbr") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "loaders" / "build.yml").write_text("image: loaders\n")
    return f"@pkg:{tmp_path / 'loaders'}"


def machine(directory: Path, text: str) -> Path:
    path = directory / "machine.yml"
    path.write_text(text)
    return path


def refused(options: BuildOptions) -> tuple[LkbuildError, list[str]]:
    """The error of a build, and the steps that ran until then."""
    events: list[Event] = []
    registry = Registry(RegistryOptions())
    try:
        with pytest.raises(LkbuildError) as raised:
            prepared = prepare(options, events.append, registry)
            try:
                build(prepared)
            finally:
                prepared.close()
    finally:
        registry.close()
    return raised.value, [event.step for event in events if isinstance(event, Finished) and event.how == "ran"]


@pytest.mark.parametrize(
    ("text", "formats", "more", "words"),
    [
        (BOOTS, ("rpi3",), {}, ["format: rpi3 is for arm64"]),
        (BOOTS, ("rawbios",), {}, ["format: unknown output format 'rawbios'", "did you mean 'raw-bios'?"]),
        (BOOTS, ("raw-bios",), {"size": 1}, ["raw-bios cannot have size=1M", "from 34M"]),
        (BOOTS, ("tar", "oci"), {"size": 100}, ["no size can be given to oci, tar", "aws"]),
        (SERVICES, ("raw-bios", "uki", "tar"), {}, ["raw-bios boots, and the spec has no kernel", "uki boots"]),
        (
            BOOTS, ("rpi3", "raw-efi", "nope", "vhd"), {"size": 5},
            ["rpi3 is for arm64", "raw-efi cannot", "unknown output format 'nope'", "vhd cannot"],
        ),
        (f"{BOOTS}outputs:\n  - format: rpi3\n  - format: isobios\n", (), {}, ["machine.yml:4", "machine.yml:5"]),
        (f"{BOOTS}outputs:\n  - format: iso-bios\n", (), {"arch": "arm64"}, ["machine.yml:4", "arm64 machines do not"]),
        (f"{BOOTS}outputs:\n  - format: tar\n", (), {"size": 9}, ["no size can be given to tar"]),
    ],
)  # fmt: skip
def test_nothing_is_looked_for(
    tmp_path: Path, text: str, formats: tuple[str, ...], more: dict[str, object], words: list[str]
) -> None:
    """Not even the cache is made."""
    options = offline(machine(tmp_path, text), tmp_path / "cache", tmp_path / "out", formats=formats, **more)
    error, ran = refused(options)
    assert isinstance(error, SpecError)
    assert all(word in str(error) for word in words), str(error)
    assert ran == []
    assert not (tmp_path / "cache").exists() and not (tmp_path / "out").exists()


def sized(directory: Path, megabytes: int) -> Path:
    """A machine with a file that does not compress."""
    (directory / "noise").write_bytes(os.urandom(megabytes << 20))
    return machine(directory, f"{BOOTS}init:\n  - conf/init:1\nfiles:\n  - {{path: a/noise, source: ./noise}}\n")


def test_what_is_in_the_cache_is_refused_before_work(tmp_path: Path, bootloader: str) -> None:
    spec = sized(tmp_path, megabytes=60)
    options = offline(spec, tmp_path / "cache", tmp_path / "out")
    run(options)
    more = {"formats": ("raw-bios", "qcow2-efi", "oci"), "size": 40, "bootloader": bootloader}
    error, ran = refused(offline(spec, tmp_path / "cache", tmp_path / "out2", **more))
    assert ran == []
    assert isinstance(error, SpecError)
    assert len(error.problems) == 2
    assert "raw-bios: a disk of 41.9 MB" in str(error) and "qcow2-efi: a disk of 41.9 MB" in str(error)
    assert "the largest parts: files:machine 62.9 MB" in str(error) and "at least size=6" in str(error)


def test_work_ends_when_what_was_made_is_too_much(tmp_path: Path, bootloader: str) -> None:
    """Sizes are known as segments are made: neither initrd nor medium is begun then."""
    spec = sized(tmp_path, megabytes=60)
    more = {"formats": ("raw-bios",), "size": 40, "bootloader": bootloader}
    error, ran = refused(offline(spec, tmp_path / "cache", tmp_path / "out", **more))
    assert "files:machine 62.9 MB" in str(error)
    assert "files:machine" in ran
    assert not [name for name in ran if name.startswith(("initrd:", "bios-disk:"))]


def test_what_others_need_is_made_all_the_same(tmp_path: Path, bootloader: str) -> None:
    spec = sized(tmp_path, megabytes=60)
    more = {"formats": ("kernel+initrd", "raw-bios"), "size": 40, "bootloader": bootloader}
    error, ran = refused(offline(spec, tmp_path / "cache", tmp_path / "out", **more))
    assert "raw-bios: a disk of" in str(error)
    assert "initrd:machine" in ran and "bios-disk:machine" not in ran


def test_a_kernel_that_is_too_large_is_known_before_it_is_taken(tmp_path: Path, bootloader: str) -> None:
    with (tmp_path / "kernel").open("wb") as file:
        file.truncate(70 << 20)
    text = f"{BOOTS}files:\n  - {{path: boot/kernel, source: ./kernel}}\n"
    more = {"formats": ("raw-efi",), "size": 50, "bootloader": bootloader}
    error, ran = refused(offline(machine(tmp_path, text), tmp_path / "cache", tmp_path / "out", **more))
    assert ran == []
    assert "the largest parts: text:machine/boot/kernel 73.4 MB (73400320 bytes)" in str(error)


def test_two_formats_of_one_file_are_refused_before_work(tmp_path: Path, bootloader: str) -> None:
    """All of them at once, and not even the cache is made."""
    formats = ("vhd", "kernel+iso", "iso-bios", "dynamic-vhd", "kernel+erofs")
    more = {"formats": formats, "bootloader": bootloader}
    error, _ = refused(offline(machine(tmp_path, BOOTS), tmp_path / "cache", tmp_path / "out", **more))
    assert isinstance(error, SpecError)
    out = tmp_path / "out" / "machine"
    assert {problem.message for problem in error.problems} == {
        f"build:machine:vhd and build:machine:dynamic-vhd would both write {out}.vhd",
        f"build:machine:kernel+iso and build:machine:iso-bios would both write {out}.iso",
        f"build:machine:kernel+iso and build:machine:kernel+erofs would both write {out}-kernel",
    }
    assert all("dir=DIR" in str(problem.hint) for problem in error.problems)
    assert not (tmp_path / "cache").exists()


def test_two_outputs_of_one_file_are_refused_where_the_spec_asks_for_them(tmp_path: Path) -> None:
    text = f"{BOOTS}outputs:\n  - format: vhd\n  - format: dynamic-vhd\n"
    error, _ = refused(offline(machine(tmp_path, text), tmp_path / "cache", tmp_path / "out"))
    assert "machine.yml:5" in str(error) and "would both write" in str(error)


def test_a_size_is_a_size_in_every_format_that_has_one(tmp_path: Path, bootloader: str) -> None:
    spec = sized(tmp_path, megabytes=1)
    formats = ("raw-bios", "raw-efi", "aws", "vhd")
    run(offline(spec, tmp_path / "cache", tmp_path / "out", formats=formats, size=64, bootloader=bootloader))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    footer = 512
    assert sizes == {
        "machine-bios.img": 64 << 20,
        "machine-efi.img": 64 << 20,
        "machine.raw": 64 << 20,
        "machine.vhd": (64 << 20) + footer,
    }


BUILD = """
import sys
from lkbuild.cli import main
code = main(["build", *sys.argv[1:]])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", int(peak.split()[1]) // 1024)
sys.exit(code)
"""


def test_a_hundred_thousand_files_take_less_than_200_mb(tmp_path: Path) -> None:
    spec = many_files(tmp_path, 100_000)
    environment = {**os.environ, "LKBUILD_CACHE": str(tmp_path / "cache")}
    for format in ("tar", "kernel+erofs", "kernel+iso"):
        words = (f"images={tmp_path / 'layout'}", "pull=never", "bootloader=large/many:1", f"format={format}")
        argv = [sys.executable, "-c", BUILD, *words, f"dir={tmp_path / 'out'}", str(spec)]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        assert int(done.stdout.split()[-1]) < 200, format
