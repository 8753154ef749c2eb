"""What can be asked of each format, and what is refused before anything is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lkbuild.errors import Origin
from lkbuild.plan.endings import ENDINGS, shared
from lkbuild.plan.outputs import FORMATS
from lkbuild.plan.possible import RULES, Asked, problems, sized
from lkbuild.spec.load import load
from lkbuild.spec.model import Spec

KERNEL = "kernel:\n  image: k:1\nservices:\n  - {name: a, image: a:1}\n"
HERE = Origin("format")


def spec(directory: Path, text: str = KERNEL) -> Spec:
    (directory / "m.yml").write_text(text)
    return load([directory / "m.yml"])


def refused(machine: Spec, names: str, arch: str = "amd64", size: int | None = None, bootloader: bool = False) -> str:
    """The problems' messages and hints."""
    asked = Asked(tuple((name, HERE) for name in names.split(",")), arch, size, bootloader)
    return "\n".join(f"{p.message} | {p.hint}" for p in problems(machine, asked))


def test_every_format_has_a_rule() -> None:
    assert RULES.keys() == FORMATS.keys() == ENDINGS.keys()


@pytest.mark.parametrize(
    ("formats", "kernel", "found"),
    [
        (("tar", "docker"), True, []),
        (("tar", "tar"), True, []),  # asked for twice
        (("kernel+initrd", "kernel+erofs"), True, [("kernel+initrd", "kernel+erofs", "-kernel")]),
        (("kernel+initrd", "kernel+erofs"), False, []),
        (("iso-bios", "tar", "kernel+iso"), False, [("iso-bios", "kernel+iso", ".iso")]),
        (("rpi3", "tar"), True, [("rpi3", "tar", ".tar")]),
    ],
)
def test_formats_of_one_path(formats: tuple[str, ...], kernel: bool, found: list[tuple[str, str, str]]) -> None:
    assert list(shared(formats, kernel)) == found


BIOS = "iso-bios,iso-hybrid,raw-bios,raw-hybrid,qcow2-bios,qcow2-hybrid"
CLOUD = "aws,gcp,vhd,dynamic-vhd,vhdx,vmdk"
UEFI = "iso-efi,raw-efi,qcow2-efi,uki"


@pytest.mark.parametrize(
    ("names", "arch", "refusing"),
    [
        (BIOS, "amd64", ()),
        (BIOS, "arm64", BIOS.split(",")),
        (BIOS, "s390x", BIOS.split(",")),
        (CLOUD, "amd64", ()),
        (CLOUD, "arm64", ()),  # by UEFI
        (CLOUD, "s390x", CLOUD.split(",")),
        (UEFI, "amd64", ()),
        (UEFI, "arm64", ()),
        (UEFI, "riscv64", ()),
        (UEFI, "s390x", UEFI.split(",")),
        ("firecracker", "amd64", ()),
        ("firecracker", "arm64", ()),
        ("firecracker", "riscv64", ("firecracker",)),
        ("rpi3", "amd64", ("rpi3",)),
        ("kernel+initrd,tar,docker,oci,tar-kernel-initrd", "s390x", ()),
    ],
)
def test_architectures(tmp_path: Path, names: str, arch: str, refusing: tuple[str, ...]) -> None:
    said = refused(spec(tmp_path), names, arch)
    assert tuple(line.split()[0] for line in said.splitlines()) == tuple(refusing)
    assert all(arch in line for line in said.splitlines())


@pytest.mark.parametrize(
    ("names", "arch", "hint"),
    [
        ("raw-bios", "arm64", "use raw-efi, or build with arch=amd64"),
        ("iso-hybrid", "arm64", "use iso-efi, or"),
        ("aws", "s390x", "arch=amd64 or arch=arm64"),
        ("raw-bios", "s390x", "arch=amd64"),
        ("rpi3", "amd64", "arch=arm64"),
        ("raw-efi", "s390x", "arch=amd64 or arch=arm64"),
    ],
)
def test_what_to_do_instead(tmp_path: Path, names: str, arch: str, hint: str) -> None:
    assert hint in refused(spec(tmp_path), names, arch)


def test_a_pis_firmware_is_the_users(tmp_path: Path) -> None:
    assert "needs a Raspberry Pi's firmware" in refused(spec(tmp_path), "rpi3", "arm64")
    assert refused(spec(tmp_path), "rpi3", "arm64", bootloader=True) == ""


def test_what_boots_needs_a_kernel(tmp_path: Path) -> None:
    machine = spec(tmp_path, "services:\n  - {name: a, image: a:1}\n")
    said = refused(machine, ",".join(FORMATS), "amd64", bootloader=True)
    without = {"kernel+initrd", "kernel+squashfs", "kernel+erofs", "kernel+iso", "tar", "docker", "oci"}
    assert {line.split()[0] for line in said.splitlines() if "no kernel" in line} == FORMATS.keys() - without


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("raw-bios", 1, "raw-bios cannot have size=1M | it can be from 34M to 2097152M"),
        ("raw-bios", 34, ""),
        ("raw-efi", 34, "raw-efi cannot have size=34M | it can be from 35M"),
        ("raw-efi", 35, ""),
        ("vhd", 2040 * 1024, ""),
        ("vhd", 2040 * 1024 + 1, "vhd cannot have size=2088961M | it can be from 34M to 2088960M"),
        ("vmdk", 2 << 20, ""),
        ("aws", (2 << 20) + 1, "aws cannot have size=2097153M"),
        ("tar", 1, ""),  # has none, and is not asked alone
    ],
)
def test_sizes(tmp_path: Path, name: str, size: int, words: str) -> None:
    said = refused(spec(tmp_path), name, size=size)
    assert said.startswith(words) if words else said == ""


@pytest.mark.parametrize(("name", "arch", "least"), [("aws", "amd64", 34), ("aws", "arm64", 35), ("vhd", "arm64", 35)])
def test_disks_for_uefi_alone_have_a_larger_partition_table(tmp_path: Path, name: str, arch: str, least: int) -> None:
    assert refused(spec(tmp_path), name, arch, size=least) == ""
    assert f"from {least}M" in refused(spec(tmp_path), name, arch, size=least - 1)


def test_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    said = refused(spec(tmp_path), "rpi3,raw-efi,vhd,uki", size=3)
    assert [line.split()[0] for line in said.splitlines()] == ["rpi3", "raw-efi", "vhd"]


def test_those_with_a_size() -> None:
    assert sized(("tar", "aws", "uki", "vhdx")) == ("aws", "vhdx")
