"""Parts of the formats that are no disks: kernels unpacked, Firecracker's command line, U-Boot's images, trees."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.disk import uimage as images
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.layout import read
from lkbuild.disk.uimage import UImage, script, uimage
from lkbuild.disk.vmlinux import unpack
from lkbuild.errors import StepError, StoreError
from lkbuild.plan.media_kinds import Medium, Unpacked
from lkbuild.steps.firecracker import boot_arguments
from lkbuild.store import Store
from lkbuild.store.recipe import Recipe, Tree
from tests.support.steps import carry_out
from tests.unit.disk_images import noise
from tests.unit.test_disk_boot import pe

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ELF = b"\x7fELF" + bytes(9_000_000) + noise(300_000, 5)
IMAGE = bytes(56) + b"ARM\x64" + bytes(5_000_000) + noise(100_000, 6)


def bzimage(payload: bytes) -> bytes:
    """The setup sectors of a bzImage, a little code, the payload, and what stands behind it."""
    head = bytearray(2 * 512)
    head[0x1F1], head[0x202:0x208] = 1, b"HdrS\x0f\x02"
    struct.pack_into("<II", head, 0x248, 16, len(payload) + 4)
    return bytes(head) + b"\x90" * 16 + payload + struct.pack("<I", len(ELF)) + b"\xff" * 5000


def lz4_legacy(plain: bytes, block: int = 8 << 20) -> bytes:
    """What `lz4 -l` writes."""
    made = b"\x02\x21\x4c\x18"
    for at in range(0, len(plain), block):
        packed = lz4.block.compress(plain[at : at + block], store_size=False)
        made += struct.pack("<I", len(packed)) + packed
    return made


def zboot(payload: bytes) -> bytes:
    return b"MZ\0\0zimg" + struct.pack("<II", 512, len(payload)) + bytes(8) + b"zstd22".ljust(488, b"\0") + payload


def unpacked(kernel: bytes, directory: Path, architecture: str = "amd64") -> bytes:
    path, target = directory / "kernel", io.BytesIO()
    path.write_bytes(kernel)
    unpack(path, architecture, target)
    return target.getvalue()


XZ = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]


@pytest.mark.parametrize(
    "compressed",
    [
        gzip.compress(ELF),
        zstd.compress(ELF),
        lzma.compress(ELF, check=lzma.CHECK_CRC32, filters=XZ),  # as scripts/xz_wrap.sh does
        lzma.compress(ELF, lzma.FORMAT_ALONE, preset=0),
        bz2.compress(ELF),
        lz4_legacy(ELF),
        lz4_legacy(ELF) + b"\0",  # what comes behind is no matter
    ],
    ids=["gzip", "zstd", "xz", "lzma", "bzip2", "lz4", "lz4+"],
)
def test_the_kernel_in_a_bzimage(compressed: bytes, tmp_path: Path) -> None:
    assert unpacked(bzimage(compressed), tmp_path) == ELF


@pytest.mark.parametrize("compress", [gzip.compress, lz4_legacy])
@pytest.mark.parametrize("size", [(4 << 20) * 2, (4 << 20) * 2 + 1, (4 << 20) - 1, (4 << 20) * 4])
def test_a_kernel_that_fills_its_pieces(size: int, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    kernel = b"\x7fELF".ljust(size, b"\0")
    packed = compress(kernel) + struct.pack("<I", size)  # as the kernel's makefiles add it
    assert unpacked(bzimage(packed), tmp_path) == kernel


@pytest.mark.skipif(not shutil.which("lz4"), reason="needs lz4")
def test_what_lz4_packs(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(ELF)
    subprocess.run(["lz4", "-l", "-q", "plain", "packed"], cwd=tmp_path, check=True)
    assert unpacked(bzimage((tmp_path / "packed").read_bytes()), tmp_path) == ELF


@pytest.mark.parametrize(
    ("kernel", "architecture", "plain"),
    [
        (ELF, "amd64", ELF),  # plain already
        (IMAGE, "arm64", IMAGE),
        (gzip.compress(IMAGE), "arm64", IMAGE),  # Image.gz
        (zboot(zstd.compress(IMAGE)), "arm64", IMAGE),  # CONFIG_EFI_ZBOOT
    ],
    ids=["elf", "image", "gzip", "zboot"],
)
def test_other_kernels(kernel: bytes, architecture: str, plain: bytes, tmp_path: Path) -> None:
    assert unpacked(kernel, tmp_path, architecture) == plain


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (bzimage(b"\x02\x21\x4c\x18" + bytes(100)), "lz4 data is damaged: a block of 0 bytes"),
        (bzimage(b"\x02\x21\x4c\x18" + b"\xff" * 100), "lz4 data is damaged: a block of 4294967295 bytes"),
        (bzimage(b"\x02\x21\x4c\x18\x10\0\0\0" + b"\xff" * 100), "lz4 data is damaged: "),
        (bzimage(lz4_legacy(ELF))[:-6000], "has .* bytes"),
        (bzimage(b"\x89LZO\0\r\n\x1a\n"), "compressed with lzo"),
        (bzimage(b"what is this"), "begins with 77 68 61 74"),
        (b"no kernel", "neither plain nor compressed"),
        (b"", "neither plain nor compressed"),
        (bzimage(gzip.compress(IMAGE)), "compressed with gzip, is not an ELF for amd64"),
        (bzimage(gzip.compress(ELF))[:3000], "has 3000 bytes"),  # cut
        (bzimage(gzip.compress(ELF)[:-9]), "gzip data is damaged"),
        (bzimage(zstd.compress(ELF)[:-9]), "zstd data is damaged"),
        (bzimage(lzma.compress(ELF, preset=0)[:-9]), "xz data is damaged"),
        (zboot(b"")[:8] + b"\xff" * 8 + bytes(600), "compressed bytes begin at"),  # sizes that lie
    ],
    ids=lambda value: value if isinstance(value, str) else "kernel",
)
def test_kernels_that_cannot_be_unpacked(kernel: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=message):
        unpacked(kernel, tmp_path)


PROGRAM = b"MZ" + IMAGE[2:]
"""An Image with the EFI stub."""
RISCV = b"MZ" + bytes(54) + b"RSC\x05" + bytes(4_000_000)


@pytest.mark.parametrize(
    ("kernel", "architecture", "program"),
    [
        (PROGRAM, "arm64", PROGRAM),
        (gzip.compress(PROGRAM), "arm64", PROGRAM),
        (zboot(b"\x02\x21\x4c\x18 lz4"), "arm64", zboot(b"\x02\x21\x4c\x18 lz4")),  # it unpacks itself
        (gzip.compress(RISCV), "riscv64", RISCV),
        (gzip.compress(IMAGE), "arm64", None),
    ],
    ids=["image", "gzip", "zboot", "riscv", "without the stub"],
)
def test_the_kernel_as_a_uefi_program(kernel: bytes, architecture: str, program: bytes | None, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    inputs = {"kernel": store.add(kernel)}
    if program is None:
        with pytest.raises(StepError, match="has no EFI stub"):
            carry_out(store, "unpacked", Unpacked(architecture, program=True), inputs)
        return
    made = carry_out(store, "unpacked", Unpacked(architecture, program=True), inputs)
    assert store.read(made["kernel"].digest) == program


@given(st.binary(max_size=700))
def test_no_kernel_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.getbasetemp()
    for kernel in (data, bzimage(data)):
        try:
            unpacked(kernel, directory)
        except StepError as error:
            assert error.hint


ALL = "console=ttyS0 reboot=k panic=1 pci=off"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ALL),
        ("console=ttyS0", ALL),
        ("console=ttyS0,115200 quiet", "console=ttyS0,115200 quiet reboot=k panic=1 pci=off"),  # the same console
        ("console=tty0", f"console=tty0 {ALL}"),  # another console, and the kernel takes many
        ("panic=-1 reboot=t", "panic=-1 reboot=t console=ttyS0 pci=off"),  # said already, otherwise
        ("panic_on_oops=1", f"panic_on_oops=1 {ALL}"),  # another parameter
        ("quiet -- panic=1 x", f"quiet {ALL} -- panic=1 x"),  # init's
        ("quiet --", f"quiet {ALL} --"),
    ],
)
def test_boot_arguments(line: str, expected: str) -> None:
    assert boot_arguments(line).rstrip() == expected


@given(st.text("ab= -,cpnosletyS0", max_size=60))
def test_boot_arguments_are_added_once(line: str) -> None:
    once = boot_arguments(line)
    assert boot_arguments(once) == once


@pytest.mark.parametrize(
    ("size", "unit", "made"), [(None, 1, 35), (None, 64, 64), (70, 64, 128), (64, 64, 64), (70, 1, 70)]
)
def test_a_disk_of_whole_units(size: int | None, unit: int, made: int, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    initrd = Recipe.of([Data(b"initrd")]).encode()
    inputs = {"kernel": store.add(b"kernel"), "initrd": store.add(initrd), "stub": store.add(pe())}
    result = carry_out(store, "medium", Medium("efi-disk", "m", size, unit), inputs)
    disk = Recipe.decode(store.read(result["recipe"].digest))
    assert disk.size == made << 20
    disk.write(store, tmp_path / "disk")
    if sgdisk := shutil.which("sgdisk", path="/usr/sbin:/sbin:/usr/bin"):
        said = subprocess.run([sgdisk, "-v", tmp_path / "disk"], capture_output=True, text=True, check=True).stdout
        assert "No problems found" in said


def test_uimage_header() -> None:
    """Every field of `legacy_img_hdr` (U-Boot's include/image.h), read as it says."""
    blob = noise(100_000, 9)
    contents: list[Extent] = [Data(b"abc"), Zeros(5), Slice(Digest.of(blob), 10, 70_000)]
    made = uimage(UImage("kernel", True, 0x80000, "x" * 40), contents, lambda _: io.BytesIO(blob))
    header = made[0]
    assert isinstance(header, Data)
    assert made[1:] == contents
    body = b"abc" + bytes(5) + blob[10:70_010]
    magic, crc, when, size, load, entry, data_crc, *kind, name = struct.unpack(">7I4B32s", header.data)
    assert (magic, when, size, load, entry) == (0x27051956, 0, len(body), 0x80000, 0x80000)
    assert data_crc == zlib.crc32(body)
    assert crc == zlib.crc32(header.data[:4] + bytes(4) + header.data[8:])
    assert kind == [5, 22, 2, 1]  # Linux, arm64, a kernel, gzip
    assert name == b"x" * 32


def test_uimage_contents_come_back_checked() -> None:
    blob = noise(200_000)
    made = b"".join(read(uimage(UImage("ramdisk"), [Data(blob)], lambda _: io.BytesIO()), lambda _: io.BytesIO()))
    for size in (7, 64, 1000, 1 << 20):
        pieces = [made[at : at + size] for at in range(0, len(made), size)]
        assert b"".join(images.contents([*pieces, b"padding"])) == blob
    for damaged, words in (
        (made[:20], "20 bytes"),
        (made[:-1], "ends 1 bytes too early"),
        (b"x" + made[1:], "no U-Boot image"),
        (made[:-1] + b"x", "sum is wrong"),
    ):
        with pytest.raises(ValueError, match=words):
            list(images.contents([damaged]))


def test_uimage_script() -> None:
    assert script(b"boot\n") == b"\0\0\0\5" + bytes(4) + b"boot\n"


def test_uimage_over_4_gib() -> None:
    with pytest.raises(StepError, match="the ramdisk has 4"):
        uimage(UImage("ramdisk"), [Zeros(1 << 32)], lambda _: io.BytesIO())


def test_tree_comes_back() -> None:
    tree = Tree({"b/c": Recipe.of([Data(b"x"), Zeros(3)]), "a": Recipe.of([Slice(Digest.of(b""), 1, 2)])})
    assert Tree.decode(tree.encode()) == tree
    assert list(Tree.decode(tree.encode()).files) == ["a", "b/c"]


@pytest.mark.parametrize(
    "document",
    [
        *({path: []} for path in ("", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b")),
        [],
        {"a": 1},
        {"a": [["data", "zz"]]},
        {"a": [["file", "/etc/passwd"]]},
    ],
)
def test_a_tree_stays_in_its_directory(document: object) -> None:
    with pytest.raises(StoreError, match="not a tree of recipes"):
        Tree.decode(json.dumps(document).encode())
