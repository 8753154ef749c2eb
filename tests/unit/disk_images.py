"""What the tests of disk images share: blobs in memory, extents written to a file, and the programs that read it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pytest

from lkbuild.digest import Digest
from lkbuild.disk.extents import Extent, Slice
from lkbuild.disk.layout import read

SEED = bytes(range(32))
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

LOADERS = {
    "syslinux": "/usr/bin/syslinux",
    "ldlinux.c32": "/usr/lib/syslinux/modules/bios/ldlinux.c32",
    "mbr.bin": "/usr/lib/syslinux/mbr/mbr.bin",
    "gptmbr.bin": "/usr/lib/syslinux/mbr/gptmbr.bin",
    "isolinux.bin": "/usr/lib/ISOLINUX/isolinux.bin",
    "isohdpfx.bin": "/usr/lib/ISOLINUX/isohdpfx.bin",
    "stub": "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
    "systemd-boot": "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
}


class Blobs:
    """Blobs in memory, and whole ones as extents."""

    def __init__(self) -> None:
        self.held: dict[Digest, bytes] = {}

    def add(self, data: bytes) -> tuple[Extent, ...]:
        digest = Digest.of(data)
        self.held[digest] = data
        return (Slice(digest, 0, len(data)),)

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.held[digest])

    def bytes(self, extents: Iterable[Extent]) -> bytes:
        return b"".join(read(extents, self.open))

    def write(self, extents: Iterable[Extent], path: Path) -> Path:
        with path.open("wb") as file:
            for piece in read(extents, self.open):
                file.write(piece)
        return path


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, the same every time."""
    made = bytearray()
    value = seed
    while len(made) < size:
        value = (value * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        made += value.to_bytes(8, "little")
    return bytes(made[:size])


def run(program: str, *arguments: str | Path, fails: bool = False) -> str:
    """What a program prints; the test is skipped where it is not installed, and fails where the program does."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        pytest.skip(f"{program} is not installed")
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
    command = [found, *map(os.fspath, arguments)]
    done = subprocess.run(command, capture_output=True, env=environment, check=False, timeout=120)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert fails or done.returncode == 0, text
    return text


def loader(name: str) -> bytes:
    """A boot loader's file as Debian installs it; the test is skipped without."""
    path = Path(LOADERS[name])
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    return path.read_bytes()
