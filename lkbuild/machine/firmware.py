"""UEFI firmware of the host's distribution, and which file of variables goes with which code."""

from __future__ import annotations

from pathlib import Path

from lkbuild.errors import MachineError, ToolError
from lkbuild.machine.options import Arch

PLACES: dict[Arch, tuple[tuple[str, str], ...]] = {
    "x86_64": (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ),
    "aarch64": (
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ),
}
_PACKAGES: dict[Arch, str] = {"x86_64": "ovmf", "aarch64": "qemu-efi-aarch64"}


def find(arch: Arch, given: Path | None) -> tuple[Path, Path | None]:
    """Firmware's code and the variables to begin with; no variables where one file has both.

    A file that was `given` has its variables beside it, with VARS for CODE in its name, or in itself.
    """
    if given is not None:
        if not given.is_file():
            raise MachineError(f"there is no firmware {given}", f"sudo apt-get install {_PACKAGES[arch]}")
        variables = given.with_name(given.name.replace("CODE", "VARS"))
        return given, variables if variables != given and variables.is_file() else None
    for code, beginning in PLACES[arch]:
        if Path(code).is_file() and Path(beginning).is_file():
            return Path(code), Path(beginning)
    raise ToolError(
        f"UEFI firmware for {arch} is not installed: looked for {', '.join(code for code, _ in PLACES[arch])}",
        f"sudo apt-get install {_PACKAGES[arch]}, or name one with fw=",
    )
