"""Which kernel a kernel's file is: its release, as `uname -r` says it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from lkbuild.disk.bzimage import payload_offset
from lkbuild.disk.vmlinux import unpack
from lkbuild.errors import StepError

_BANNER = re.compile(rb"Linux version ([0-9]+\.[0-9][\x21-\x7e]{0,63}) ")
"""init/version.c, in any kernel that is not compressed."""
_RELEASE = re.compile(rb"[0-9]+\.[0-9][\x21-\x7e]{0,63}")
_PIECE = 1 << 20
_LONGEST = 128


def kernel_release(kernel: Path, architecture: str, plain: Path) -> str:
    """The release of `kernel`; "" where it cannot be told.  `plain` is where it may be unpacked to, and is left there.

    A bzImage says it in its header (Documentation/arch/x86/boot.rst, kernel_version), others only when unpacked.
    """
    with kernel.open("rb") as file:
        found = _header(file) or _banner(file)
    if found:
        return found
    with plain.open("w+b") as target:
        try:
            unpack(kernel, architecture, target)
        except StepError:
            return ""
        return _banner(target)


def _header(file: BinaryIO) -> str:
    if not payload_offset(file):
        return ""
    file.seek(0x20E)
    at = int.from_bytes(file.read(2), "little")
    if not at:
        return ""
    file.seek(at + 0x200)
    match = _RELEASE.match(file.read(_LONGEST))
    return match[0].decode("ascii") if match else ""


def _banner(file: BinaryIO) -> str:
    file.seek(0)
    held = b""
    while piece := file.read(_PIECE):
        held = held[-_LONGEST:] + piece
        if match := _BANNER.search(held):
            return match[1].decode("ascii")
    return ""
