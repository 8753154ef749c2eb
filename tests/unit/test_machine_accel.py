"""KVM or TCG: decided by a guest, tried once per host, remembered."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lkbuild.errors import MachineError
from lkbuild.machine.accel import Accelerator, Host, Outcome, Trial, cache_directory, choose, forced
from lkbuild.machine.media import Media
from lkbuild.machine.options import Accel, Arch, MachineOptions
from lkbuild.machine.probe import accelerator_for, try_kvm
from tests.fakes.qemu import fake_qemu

HOST = Host("x86_64", "0123", "model name A", "6.1.0", "QEMU emulator version 7.2")


class Probe:
    """A guest whose outcome is known; counts how often it is started."""

    def __init__(self, outcome: Outcome, cpu: str = "host") -> None:
        self.trial = Trial(outcome, cpu, "failed to set MSR")
        self.count = 0

    def __call__(self) -> Trial:
        self.count += 1
        return self.trial


@pytest.mark.parametrize(
    ("outcome", "name", "words", "tries"),
    [
        ("works", "kvm", "KVM guests run on this host", 1),
        ("hangs", "tcg", "KVM guests hang on this host; using TCG", 1),
        ("refused", "tcg", "failed to set MSR", 2),  # that comes at once, and what it is for may be put right
    ],
)
def test_a_guest_decides_and_is_tried_once(outcome: Outcome, name: str, words: str, tries: int, tmp_path: Path) -> None:
    probe = Probe(outcome)
    first, second = (choose(HOST, tmp_path / "cache", probe) for _ in range(2))
    assert first == second
    assert first.name == name
    assert words in first.reason
    assert probe.count == tries


def test_the_processor_model_that_worked_is_remembered(tmp_path: Path) -> None:
    choose(HOST, tmp_path, Probe("works", "host,arch-capabilities=off"))
    assert choose(HOST, tmp_path, None).argv == ["-accel", "kvm", "-cpu", "host,arch-capabilities=off"]


@pytest.mark.parametrize("field", ["arch", "machine", "processor", "kernel", "qemu"])
def test_another_host_is_tried_anew(field: str, tmp_path: Path) -> None:
    choose(HOST, tmp_path, Probe("hangs"))
    other = Probe("works")
    assert choose(replace(HOST, **{field: "other"}), tmp_path, other).name == "kvm"
    assert other.count == 1
    assert choose(HOST, tmp_path, other).name == "tcg"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"outcome": "perhaps", "cpu": "host"}', '{"outcome": "works"}', "\xff"]
)
def test_what_cannot_be_read_is_forgotten(text: str, tmp_path: Path) -> None:
    choose(HOST, tmp_path, Probe("hangs"))
    (file,) = tmp_path.iterdir()
    file.write_text(text, "latin-1")
    assert choose(HOST, tmp_path, Probe("works")).name == "kvm"
    assert json.loads(file.read_text())["outcome"] == "works"


def test_what_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    probe = Probe("works")
    for _ in range(2):
        assert choose(HOST, tmp_path / "file" / "cache", probe).name == "kvm"
    assert probe.count == 2


def test_without_a_kernel_nothing_is_tried(tmp_path: Path) -> None:
    assert choose(HOST, tmp_path, None).name == "tcg"
    choose(HOST, tmp_path, Probe("works"))
    assert choose(HOST, tmp_path, None).name == "kvm"


@pytest.mark.parametrize(
    ("requested", "arch", "host", "device", "expected"),
    [
        ("tcg", "x86_64", "x86_64", True, ["-accel", "tcg,thread=multi", "-cpu", "max"]),
        ("tcg", "aarch64", "x86_64", True, ["-accel", "tcg,thread=multi", "-cpu", "max"]),
        # x86 guests expect more of memory's order than Arm hosts keep
        ("tcg", "x86_64", "aarch64", True, ["-accel", "tcg,thread=single", "-cpu", "max"]),
        ("auto", "x86_64", "aarch64", True, ["-accel", "tcg,thread=single", "-cpu", "max"]),
        ("auto", "x86_64", "x86_64", False, ["-accel", "tcg,thread=multi", "-cpu", "max"]),
        ("auto", "x86_64", "x86_64", True, None),
        ("kvm", "x86_64", "x86_64", True, ["-accel", "kvm", "-cpu", "host"]),
    ],
)
def test_where_nothing_has_to_be_tried(
    requested: Accel, arch: Arch, host: str, device: bool, expected: list[str] | None, tmp_path: Path
) -> None:
    if device:
        (tmp_path / "kvm").touch()
    found = forced(requested, arch, host, tmp_path / "kvm")
    assert (None if found is None else found.argv) == expected


def test_kvm_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"accel=kvm: there is no .*/kvm"):
        forced("kvm", "x86_64", "x86_64", tmp_path / "kvm")
    with pytest.raises(MachineError, match=r"accel=kvm: .* cannot be opened"):
        forced("kvm", "x86_64", "x86_64", tmp_path)
    with pytest.raises(MachineError, match="KVM on x86_64 runs no guests of aarch64"):
        forced("kvm", "aarch64", "x86_64", tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("kvm-works", Trial("works", "host")),
        ("kvm-hangs", Trial("hangs", "host")),
        ("kvm-wants-less", Trial("works", "host,arch-capabilities=off")),
        ("kvm-wants-less kvm-hangs", Trial("hangs", "host,arch-capabilities=off")),
        ("kvm-refuses", Trial("refused", "host", "qemu: error: failed to set MSR 0x10a")),
    ],
)
def test_a_guest_is_tried(behaviour: str, expected: Trial, tmp_path: Path) -> None:
    began = time.monotonic()
    assert try_kvm(fake_qemu(tmp_path, behaviour), "x86_64", tmp_path / "kernel", seconds=1.5) == expected
    assert time.monotonic() - began < 10


def test_where_it_is_remembered() -> None:
    assert cache_directory({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/lkbuild")
    assert cache_directory({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/lkbuild")
    assert cache_directory({"HOME": "/h"}) == Path("/h/.cache/lkbuild")
    assert cache_directory({}) == Path("/.cache/lkbuild")


def test_asking_for_tcg_needs_no_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = accelerator_for(MachineOptions(accel="tcg"), Media(tmp_path, "iso-bios"), {})
    assert found == Accelerator("tcg", "max", "tcg was asked for")


def test_this_host_has_a_name() -> None:
    here = Host.here("QEMU 1")
    assert here == Host.here("QEMU 1")
    assert here.arch and here.kernel
    assert "MHz" not in here.processor
