"""KVM or QEMU's own emulation (TCG): what works on this host is found out once, with a real guest, and remembered.

On some hosts (nested virtualisation) /dev/kvm opens, virtual machines can be made and firmware runs, yet every kernel
hangs at its start or QEMU aborts.  Only a kernel that has said its first line shows that KVM works.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from lkbuild.digest import identity
from lkbuild.errors import MachineError
from lkbuild.frozen import frozen
from lkbuild.machine.options import Accel, Arch

Outcome = Literal["works", "hangs", "refused"]
KVM = Path("/dev/kvm")
_PROCESSOR = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)


@frozen
class Accelerator:
    """How QEMU runs the guest's instructions, with which processor model, and why.

    TCG gives each processor a thread of its own only where the host keeps memory in the order the guest expects.
    """

    name: Literal["kvm", "tcg"]
    cpu: str
    reason: str
    threads: Literal["multi", "single"] = "multi"

    @property
    def argv(self) -> list[str]:
        """QEMU's options for it."""
        how = "kvm" if self.name == "kvm" else f"tcg,thread={self.threads}"
        return ["-accel", how, "-cpu", self.cpu]


@frozen
class Host:
    """What KVM's working depends on: the machine, its processor, its kernel, its QEMU."""

    arch: str
    machine: str
    processor: str
    kernel: str
    qemu: str

    @classmethod
    def here(cls, qemu: str) -> Host:
        """This host; `qemu` is what `qemu-system-… --version` says."""
        system = os.uname()
        return cls(system.machine, _text(Path("/etc/machine-id")), _processor(), system.release, qemu)


@frozen
class Trial:
    """How a guest under KVM went: `detail` is what QEMU said where it refused."""

    outcome: Outcome
    cpu: str = "host"
    detail: str = ""


Probe = Callable[[], Trial]
"""Runs a guest under KVM until its kernel says something, or for a few seconds."""


def forced(requested: Accel, arch: Arch, host_arch: str, device: Path = KVM) -> Accelerator | None:
    """The accelerator where nothing has to be tried: it was asked for, or cannot be KVM.  None where a guest decides.

    MachineError for KVM that was asked for and cannot be had.
    """
    threads: Literal["multi", "single"] = "multi" if arch in (host_arch, "aarch64") else "single"
    if requested == "tcg":
        return Accelerator("tcg", "max", "tcg was asked for", threads)
    refusal = _no_kvm(arch, host_arch, device)
    if requested == "kvm":
        if refusal is not None:
            raise MachineError(f"accel=kvm: {refusal[0]}", refusal[1])
        return Accelerator("kvm", "host", "kvm was asked for")
    return None if refusal is None else Accelerator("tcg", "max", f"{refusal[0]}; using TCG", threads)


def choose(host: Host, cache: Path, probe: Probe | None) -> Accelerator:
    """KVM if guests run under it on this host.  What `probe` finds is remembered in `cache` for the same host.

    A refusal by QEMU comes at once, so it is asked again each time.  Without a probe only what is remembered counts.
    """
    file = cache / f"kvm-{identity(asdict(host)).hex[:16]}.json"
    trial = _recall(file)
    if trial is None:
        if probe is None:
            return _tcg("no guest was ever tried under KVM here, and there is no kernel to try; using TCG")
        trial = probe()
        if trial.outcome != "refused":
            _remember(file, trial, host)
    if trial.outcome == "works":
        return Accelerator("kvm", trial.cpu, "KVM guests run on this host")
    if trial.outcome == "hangs":
        return _tcg(f"KVM guests hang on this host; using TCG (remembered in {file})")
    return _tcg(f"QEMU cannot run KVM guests on this host; using TCG ({trial.detail})")


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where what was found out about this host is remembered (XDG Base Directory Specification)."""
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path(environment.get("HOME") or "/").absolute() / ".cache"
    return base / "lkbuild"


def _tcg(reason: str) -> Accelerator:
    return Accelerator("tcg", "max", reason)


def _no_kvm(arch: Arch, host_arch: str, device: Path) -> tuple[str, str] | None:
    """Why KVM is out of the question, and what could be done."""
    if arch != host_arch:
        return f"KVM on {host_arch} runs no guests of {arch}", "leave accel= out"
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {device}", "load the module kvm_intel or kvm_amd, or say accel=tcg"
    except PermissionError:
        return f"{device} may not be opened", "join its group: sudo usermod -aG kvm $USER, then log in anew"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}", "say accel=tcg"
    return None


def _recall(file: Path) -> Trial | None:
    """What is remembered; None where it cannot be read, which only means trying again."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text("utf-8"))
        if isinstance(found, dict) and found.get("outcome") in ("works", "hangs") and isinstance(found.get("cpu"), str):
            return Trial(found["outcome"], found["cpu"])
    return None


def _remember(file: Path, trial: Trial, host: Host) -> None:
    """Losing this costs trying again, so failing here is no failure."""
    text = json.dumps({"outcome": trial.outcome, "cpu": trial.cpu, "host": asdict(host)}, indent=1, sort_keys=True)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".kvm-", delete=False) as temporary:
            temporary.write(text + "\n")
        Path(temporary.name).replace(file)


def _processor() -> str:
    """What the first processor of /proc/cpuinfo is; not how fast it runs just now."""
    lines = _text(Path("/proc/cpuinfo")).split("\n\n")[0].splitlines()
    told = (line.partition(":") for line in lines)
    return "; ".join(f"{name.strip()} {value.strip()}" for name, _, value in told if name.strip() in _PROCESSOR)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
