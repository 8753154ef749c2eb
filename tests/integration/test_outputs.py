"""Several formats in one build: what they share is made once, none waits for another, and each is a task."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lkbuild.engine.prepare import prepare
from lkbuild.plan.graph import reached
from lkbuild.sources import Registry, RegistryOptions
from tests.integration.test_limits import bootloader
from tests.support.building import IMAGES, digests, kinds, offline, run

__all__ = ["bootloader"]

SPEC = "kernel:\n  image: conf/kernel:1\ninit:\n  - conf/init:1\nservices:\n  - {name: web, image: conf/base:1}\n"
DISKS = ("raw-bios", "qcow2-bios", "aws", "gcp", "vhd", "vmdk")
FORMATS = ("kernel+initrd", "tar-kernel-initrd", "iso-bios", "iso-efi", "raw-efi", "qcow2-efi", "uki", *DISKS)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "machine.yml"
    path.write_text(SPEC)
    return path


def test_what_formats_share_is_made_once(tmp_path: Path, spec: Path, bootloader: str) -> None:
    more = {"formats": FORMATS, "size": 64, "bootloader": bootloader}
    ran = kinds(run(offline(spec, tmp_path / "cache", tmp_path / "out", **more)).ran)
    once = ("kernel", "modules", "initrd", "bundle", "bios-disk", "efi-disk", "bios-iso", "efi-iso", "uki", "package")
    assert {name: ran[name] for name in once} == dict.fromkeys(once, 1)
    assert ran["tree"] == 2  # init and web
    assert {name: ran[name] for name in ("gcp", "vhd", "vmdk", "raw")} == dict.fromkeys(
        ("gcp", "vhd", "vmdk", "raw"), 1
    )
    assert ran["qcow2"] == 2  # of bios-disk and of efi-disk


@pytest.mark.parametrize("added", ["iso-bios", "uki", "vmdk", "tar-kernel-initrd"])
def test_a_format_added_runs_its_own_steps_alone(tmp_path: Path, spec: Path, bootloader: str, added: str) -> None:
    """Kernel and segments are there; what compresses or copies them does not run again."""
    run(offline(spec, tmp_path / "cache", tmp_path / "out"))
    more = {"formats": (added,), "bootloader": bootloader}
    ran = kinds(run(offline(spec, tmp_path / "cache", tmp_path / "out", **more)).ran)
    assert ran.keys().isdisjoint({"kernel", "modules", "initrd", "tree", "bundle", "files", "pull"})


def test_no_format_waits_for_another(tmp_path: Path, spec: Path, bootloader: str) -> None:
    """An output needs no step that only another output needs, so that all can be made at the same time."""
    formats = ("kernel+initrd", "tar", "iso-bios", "raw-efi", "uki", "oci")
    registry = Registry(RegistryOptions())
    options = offline(spec, tmp_path / "cache", tmp_path / "out", formats=formats, bootloader=bootloader)
    prepared = prepare(options, lambda _event: None, registry)
    try:
        steps, outputs = prepared.session.steps, prepared.session.graph.outputs
        last = {output.format: set(output.needs) for output in outputs}
        assert all(name.split(":")[0] in ("kernel", "initrd") for name in last["kernel+initrd"])
        for one, other in itertools.permutations(outputs, 2):
            if other.format != "kernel+initrd":  # kernel and initrd are in what boots
                assert reached(steps, one.needs).isdisjoint(last[other.format]), (one.name, other.name)
    finally:
        prepared.close()
        registry.close()


def test_outputs_and_format_agree(tmp_path: Path, spec: Path, bootloader: str) -> None:
    formats = ("tar", "iso-efi", "raw-bios")
    more = {"bootloader": bootloader}
    run(offline(spec, tmp_path / "cache", tmp_path / "one", formats=formats, **more))
    spec.write_text(SPEC + "outputs:\n" + "".join(f"  - format: {name}\n" for name in formats))
    built = run(offline(spec, tmp_path / "cache", tmp_path / "two", **more))
    assert built.ran == ()
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    only = run(offline(spec, tmp_path / "cache", tmp_path / "three", formats=("tar",), **more))
    assert only.wrote == ("machine.tar",)  # what is said goes before what the spec says


def doit(directory: Path, *words: str) -> list[str]:
    """The lines doit prints, run as in somebody's own repository."""
    (directory / "dodo.py").write_text("from lkbuild.dodo import *\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "doit", *words, f"images={IMAGES}", "pull=never"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_each_output_is_a_task(tmp_path: Path, spec: Path, bootloader: str) -> None:
    words = ("spec=machine.yml", "format=tar,iso-bios,kernel+initrd", f"bootloader={bootloader}", "sbom=no", "lock=no")
    listed = {line.split()[0]: " ".join(line.split()[1:]) for line in doit(tmp_path, "list", "--all", *words) if line}
    assert listed["build:machine:tar"] == "writes machine.tar"
    assert listed["build:machine:iso-bios"] == "writes machine.iso"
    assert listed["build:machine:kernel+initrd"].startswith("writes machine-kernel, machine-initrd.img")
    doit(tmp_path, "build:machine:tar", *words)
    assert (tmp_path / "machine.tar").exists() and not (tmp_path / "machine.iso").exists()
    one = digests(tmp_path)["machine.tar"]
    doit(tmp_path, "build", *words, "-n", "4")
    assert digests(tmp_path)["machine.tar"] == one
    alone = offline(spec, tmp_path / "c2", tmp_path / "o2", formats=("iso-bios",), bootloader=bootloader)
    run(alone)
    assert digests(tmp_path / "o2")["machine.iso"] == digests(tmp_path)["machine.iso"]
