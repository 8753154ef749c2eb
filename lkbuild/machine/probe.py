"""Trying a guest under KVM, and choosing the accelerator for a machine by it."""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lkbuild.errors import ToolError
from lkbuild.machine import qemu
from lkbuild.machine.accel import Accelerator, Host, Trial, cache_directory, choose, forced
from lkbuild.machine.media import Media
from lkbuild.machine.options import Arch, MachineOptions

_SECONDS = 8.0
_FIRST_WORDS = b"Linux version"
_MACHINES: dict[Arch, str] = {"x86_64": "q35", "aarch64": "virt,gic-version=host"}
_CMDLINES: dict[Arch, str] = {
    "x86_64": "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1",
    "aarch64": "console=ttyAMA0 earlycon=pl011,0x9000000 panic=-1",
}

_CPUS: dict[Arch, tuple[str, ...]] = {
    "x86_64": ("host", "host,arch-capabilities=off"),
    "aarch64": ("host",),
}
"""Processor models in the order in which they are tried: some hypervisors refuse what the first has QEMU set."""


def accelerator_for(options: MachineOptions, media: Media, environment: Mapping[str, str]) -> Accelerator:
    """What to run this machine with; may start a guest of a few seconds, once per host."""
    settled = forced(options.accel, options.arch, os.uname().machine)
    if settled is not None:
        return settled
    program, kernel = qemu.program(options.arch), media.kernel
    probe = None if kernel is None else lambda: try_kvm(program, options.arch, kernel)
    return choose(Host.here(_version(program)), cache_directory(environment), probe)


def try_kvm(program: Path, arch: Arch, kernel: Path, seconds: float = _SECONDS) -> Trial:
    """Start `kernel` under KVM and wait for its first line, `seconds` at most."""
    refusals = []
    for cpu in _CPUS[arch]:
        argv = [
            os.fspath(program), "-accel", "kvm", "-cpu", cpu, "-machine", _MACHINES[arch], "-m", "512M",
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
            "-kernel", os.fspath(kernel), "-append", _CMDLINES[arch],
        ]  # fmt: skip
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True
            )
            try:
                said = process.stdout is not None and _says(process.stdout, time.monotonic() + seconds)
                ended = not said and process.stdout is not None and _closed(process)
            finally:
                process.kill()
                process.communicate()
            if said:
                return Trial("works", cpu)
            if not ended:
                return Trial("hangs", cpu)
            complaints.seek(0)
            refusals.append(complaints.read(1000).decode("utf-8", "replace").strip().splitlines() or ["it ended"])
    return Trial("refused", "host", refusals[0][0])


def _says(output: IO[bytes], deadline: float) -> bool:
    """Whether the first words come before the deadline; the output may end before."""
    heard = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                data = os.read(output.fileno(), 1 << 16)
                if not data:
                    return False
                heard = (heard + data)[-(1 << 16) :]
                if _FIRST_WORDS in heard:
                    return True
    return False


def _closed(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended of itself; one that has closed its output is about to."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        return False
    return True


def _version(program: Path) -> str:
    """The first line of `--version`."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{program} cannot be executed: {error}", "install it anew") from error
    return done.stdout.partition("\n")[0].strip()
