"""Looking into kernels: what they carry, and what they may cost."""

from __future__ import annotations

import gzip
import io
import lzma
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from lkbuild.disk import bzimage
from lkbuild.disk.bzimage import embedded_config, payload
from lkbuild.errors import ArchiveError

CONFIG = b"CONFIG_RD_ZSTD=y\n" * 100
KERNEL = (
    bytes(range(256)) * 20000 + b"IKCFG_ST" + gzip.compress(CONFIG, mtime=0) + b"IKCFG_ED" + bytes(9 << 20) + b"end"
)
"""Longer than what is unpacked at once, and with zeros, so that little compressed is much unpacked."""

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "none": bytes,
}


def bzimage_of(packed: bytes) -> bytes:
    """The header of Documentation/arch/x86/boot.rst: setup_sects 1, version 0x20f, payload_offset 64."""
    head = bytearray(1024 + 64)
    head[0x1F1] = 1
    head[0x202:0x208] = b"HdrS\x0f\x02"
    head[0x248:0x250] = (64).to_bytes(4, "little") + len(packed).to_bytes(4, "little")
    return bytes(head) + packed + b"\x12\x34\x56\x00" + bytes(100)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_configuration_is_found(tmp_path: Path, packer: str, wrapped: bool) -> None:
    packed = PACKERS[packer](KERNEL)
    (tmp_path / "kernel").write_bytes(bzimage_of(packed) if wrapped else packed)
    assert embedded_config(tmp_path / "kernel") == CONFIG


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("cut", [-1, 40, 10])
def test_a_kernel_that_is_cut_has_no_configuration(tmp_path: Path, packer: str, cut: int) -> None:
    packed = PACKERS[packer](KERNEL.replace(b"IKCFG_ED", b""))[:cut]
    (tmp_path / "kernel").write_bytes(packed)
    assert embedded_config(tmp_path / "kernel") == b""


@pytest.mark.parametrize(
    "tail", [b"", b"\x12\x34\x56\x00", gzip.compress(b"another", mtime=0)], ids=["", "size", "member"]
)
def test_a_kernel_is_unpacked_whole(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "kernel").write_bytes(gzip.compress(KERNEL) + tail)
    target = io.BytesIO()
    assert payload(tmp_path / "kernel", target) == len(KERNEL)
    assert target.getvalue() == KERNEL


@pytest.mark.parametrize("plain", [bytes(5 << 20), bytes(8 << 20), KERNEL])
def test_a_kernel_that_ends_too_early_is_refused(tmp_path: Path, plain: bytes) -> None:
    (tmp_path / "kernel").write_bytes(gzip.compress(plain)[:-8])
    with pytest.raises(ArchiveError, match="ends too early"):
        payload(tmp_path / "kernel", io.BytesIO())


@pytest.mark.parametrize("packer", ["gzip", "xz", "zstd"])
def test_a_kernel_may_not_be_endless(tmp_path: Path, packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bzimage, "_MAX_KERNEL", len(KERNEL) - 1)
    late = bytes(len(KERNEL)) + KERNEL
    (tmp_path / "kernel").write_bytes(PACKERS[packer](late))
    assert embedded_config(tmp_path / "kernel") == b""
    if packer == "gzip":
        with pytest.raises(ArchiveError, match="more than"):
            payload(tmp_path / "kernel", io.BytesIO())


def bomb(kind: str) -> Iterable[bytes]:
    """150 MB of zeros, packed: less than one chunk of the file, and so unpacked in one piece by who sets no bound."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31) if kind == "gzip" else lzma.LZMACompressor()
    for _ in range(150):
        yield packer.compress(bytes(1 << 20))
    yield packer.flush()


PEAK = """\
import resource, sys
from pathlib import Path
from lkbuild.disk.bzimage import embedded_config
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert embedded_config(Path(sys.argv[1])) == b""
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_what_unpacks_to_much_does_not_take_much_memory(tmp_path: Path, kind: str) -> None:
    with (tmp_path / "kernel").open("wb") as file:
        file.writelines(bomb(kind))
    assert (tmp_path / "kernel").stat().st_size < 1 << 20
    command = [sys.executable, "-c", PEAK, str(tmp_path / "kernel")]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(grown) < 64 << 10, "KiB"
