"""What the formats are made of for machines without a BIOS."""

from __future__ import annotations

from pathlib import Path

import pytest

from lkbuild.plan.endings import ENDINGS
from lkbuild.plan.graph import Graph
from lkbuild.plan.materials import Style
from lkbuild.plan.media_kinds import Medium
from lkbuild.plan.outputs import FORMATS, plan
from lkbuild.plan.possible import RULES
from lkbuild.reference import Reference
from tests.unit.test_plan_machine import machine, pulled

LOADERS = Reference.parse("b/loaders:1")
SPEC = 'kernel: {image: "k/k:1"}\n'


def planned(directory: Path, format: str, architecture: str) -> Graph:
    spec, materials = machine(directory, SPEC)
    materials.images[LOADERS] = pulled("b/loaders:1")  # type: ignore[index]
    return plan(spec, materials, Style(architecture=architecture, bootloader=LOADERS), (format,), Path("/out"))


def media(graph: Graph) -> list[Medium]:
    return [step.params for step in graph.steps if isinstance(step.params, Medium)]


ON_ARM64 = {
    **dict.fromkeys(("kernel+squashfs", "kernel+erofs", "kernel+iso"), ""),
    **dict.fromkeys(("kernel+initrd", "tar", "docker", "oci", "tar-kernel-initrd", "firecracker", "rpi3"), ""),
    **dict.fromkeys(("raw-efi", "qcow2-efi", "aws", "gcp", "vhd", "dynamic-vhd", "vhdx", "vmdk"), "efi-disk"),
    "iso-efi": "efi-iso",
    "iso-efi-initrd": "efi-initrd-iso",
    "uki": "uki",
}
"""The formats there are for arm64, and what boots in them."""


@pytest.mark.parametrize("format", ON_ARM64)
def test_what_formats_are_made_of_for_arm64(tmp_path: Path, format: str) -> None:
    graph = planned(tmp_path, format, "arm64")
    assert [medium.maker for medium in media(graph)] == ([ON_ARM64[format]] if ON_ARM64[format] else [])
    kernels = [step for step in graph.steps if step.name == "program:m"]
    assert bool(kernels) == bool(ON_ARM64[format]), "firmware is given a program"


def test_others_are_refused_and_what_is_named_instead_is_there() -> None:
    offered = {name for name, rule in RULES.items() if not rule.on or "arm64" in rule.on}
    assert offered == set(ON_ARM64)
    assert {RULES[name].instead for name in FORMATS.keys() - offered} <= offered


@pytest.mark.parametrize("format", ["aws", "gcp", "vhd", "vhdx", "vmdk"])
def test_clouds_get_what_boots_by_bios_where_there_is_one(tmp_path: Path, format: str) -> None:
    (medium,) = media(planned(tmp_path, format, "amd64"))
    assert medium.maker == ("hybrid-disk" if format == "vhdx" else "bios-disk")


def test_googles_disk_ends_where_its_partition_table_does(tmp_path: Path) -> None:
    """Its size is made whole GiB, which a GPT must know; an MBR need not, so that the disk serves other formats too."""
    for architecture, unit in (("arm64", 1024), ("amd64", 1)):
        (medium,) = media(planned(tmp_path, "gcp", architecture))
        assert medium.unit == unit


@pytest.mark.parametrize(("size", "unit", "made"), [(None, 1024, None), (70, 1, 70), (70, 64, 128), (128, 64, 128)])
def test_a_size_of_whole_units(size: int | None, unit: int, made: int | None) -> None:
    assert Medium("efi-disk", "m", size, unit).bytes == (None if made is None else made << 20)


@pytest.mark.parametrize("format", FORMATS)
def test_the_files_are_called_what_is_known_beforehand(tmp_path: Path, format: str) -> None:
    (output,) = [o for o in planned(tmp_path, format, "amd64").outputs if not o.beside]
    assert {file.path.removeprefix("/out/m") for file in output.files if not file.optional} == {*ENDINGS[format]}
