"""Roots on disks, and the initrd that mounts them: read by sqfs2tar, cpio and modprobe, which we did not write."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from lkbuild import tools
from lkbuild.archive.entry import Entry
from lkbuild.archive.tarwrite import END_OF_ARCHIVE, header, padding
from lkbuild.disk.extents import Data, Extent
from lkbuild.errors import StepError, ToolError
from lkbuild.plan.root_kinds import RootDisk, RootInitrd, SquashedRoot
from lkbuild.steps.root_init import init
from lkbuild.steps.root_initrd import NEEDED
from lkbuild.store import Result, Store
from lkbuild.store.recipe import Recipe
from tests.support.steps import carry_out
from tests.unit.test_packages_kernel import elf

HERE = f"lib/modules/{os.uname().release}"
"""Where busybox looks for modules: those of the kernel that runs."""
BUSYBOX = b"\x7fELF\x02\x01".ljust(64, b"\0") + b"a program"
DYNAMIC = BUSYBOX[:32] + (64).to_bytes(8, "little") + bytes(14) + b"\x38\0\1\0" + bytes(6) + b"\3\0\0\0" + bytes(60)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


# -- the small initrd --------------------------------------------------------------------------------------------------

CRC = elf(alias="crc32c")
KERNEL = {
    f"usr/{HERE}/kernel/fs/squashfs/squashfs.ko.xz": lzma.compress(elf(depends="lz-4")),
    f"usr/{HERE}/kernel/lib/lz-4.ko": elf(),
    f"usr/{HERE}/kernel/fs/erofs/erofs.ko": elf(depends="libcrc32c"),
    f"usr/{HERE}/kernel/lib/libcrc32c.ko.gz": gzip.compress(elf(softdep="pre: crc32c")),
    f"usr/{HERE}/kernel/crypto/crc32c_generic.ko": CRC,
    f"usr/{HERE}/kernel/drivers/virtio/virtio_pci.ko": elf(alias="pci:v00001AF4d*"),
    f"usr/{HERE}/kernel/sound/loud.ko": elf(),
    f"usr/{HERE}/modules.builtin": b"kernel/drivers/block/virtio_blk.ko\n",
    f"usr/{HERE}/modules.softdep": b"# Soft\nsoftdep libcrc32c pre: crc32c\n",
    f"usr/{HERE}/modules.alias": b"# Aliases\nalias crc32c crc32c_generic\nalias pci:v00001AF4d* virtio_pci\n",
    f"usr/{HERE}/modules.dep": (
        b"kernel/fs/squashfs/squashfs.ko.xz: kernel/lib/lz-4.ko\nkernel/lib/lz-4.ko:\n"
        b"kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko.gz\nkernel/lib/libcrc32c.ko.gz:\n"
        b"kernel/crypto/crc32c_generic.ko:\nkernel/drivers/virtio/virtio_pci.ko:\nkernel/sound/loud.ko:\n"
    ),
}


def initrd(cache: Path, type: str, files: Mapping[str, bytes] = KERNEL, busybox: bytes = BUSYBOX) -> bytes:
    store = Store.open(cache)
    inputs = {}
    for role, data in (("tar", tar_of(files)), ("busybox", busybox)):
        file = cache / role
        file.write_bytes(data)
        inputs[role] = store.add_file(file)
    result = carry_out(store, "root-initrd", RootInitrd(type), inputs)  # type: ignore[arg-type]
    return store.read(result["file"].digest)


def unpacked(data: bytes, directory: Path) -> Path:
    """The initrd as the kernel lays it down: two archives, the second compressed."""
    second = data.index(b"\x1f\x8b\x08")
    directory.mkdir()
    for archive in (data[:second], gzip.decompress(data[second:].rstrip(b"\0") + bytes(8))[: 1 << 24]):
        subprocess.run(
            ["cpio", "-idmu", "--quiet"], input=archive, cwd=directory, check=True, stderr=subprocess.DEVNULL
        )
    return directory


def test_it_has_what_it_needs(tmp_path: Path) -> None:
    root = unpacked(initrd(tmp_path, "squashfs"), tmp_path / "root")
    there = sorted(str(path.relative_to(root / HERE)) for path in root.rglob("*.ko"))
    assert there == [
        "kernel/drivers/virtio/virtio_pci.ko",
        "kernel/fs/squashfs/squashfs.ko",
        "kernel/lib/lz-4.ko",
    ]
    assert (root / HERE / "kernel/fs/squashfs/squashfs.ko").read_bytes() == elf(depends="lz-4"), "decompressed"
    assert (root / "bin/busybox").read_bytes() == BUSYBOX
    assert (root / "bin/sh").readlink() == Path("busybox")
    assert (root / "init").read_text() == init("squashfs")


def test_busybox_finds_the_modules_in_the_order_in_which_they_load(tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None or os.geteuid() != 0:
        pytest.skip("needs busybox, and root for chroot")
    root = unpacked(initrd(tmp_path, "squashfs", busybox=Path(busybox).read_bytes()), tmp_path / "root")
    said = subprocess.run(
        ["chroot", root, "/sbin/modprobe", "-D", "squashfs"], check=True, capture_output=True, text=True
    )
    assert [line.rpartition("/")[2].strip() for line in said.stdout.splitlines()] == ["lz-4.ko", "squashfs.ko"]


def test_a_release_need_not_be_text(tmp_path: Path) -> None:
    release = "6.1-\udcff"
    files = {path.replace(os.uname().release, release): data for path, data in KERNEL.items()}
    root = unpacked(initrd(tmp_path, "squashfs", files), tmp_path / "root")
    assert (root / "lib/modules" / release / "modules.dep").exists()


def test_modules_that_are_wanted_softly_come_along(tmp_path: Path) -> None:
    root = unpacked(initrd(tmp_path, "erofs"), tmp_path / "root")
    there = {path.name for path in root.rglob("*.ko")}
    assert there == {"erofs.ko", "libcrc32c.ko", "crc32c_generic.ko", "virtio_pci.ko"}
    assert "softdep libcrc32c pre: crc32c" in (root / HERE / "modules.softdep").read_text()


BUILT_IN = b"".join(f"kernel/x/{name}.ko\n".encode() for name in (*NEEDED, "isofs", "erofs"))


@pytest.mark.parametrize(
    "files",
    [
        {f"{HERE}/modules.dep": b"kernel/sound/loud.ko:\n", f"{HERE}/modules.builtin": BUILT_IN},
        {f"{HERE}/modules.dep": b"kernel/sound/loud.ko:\n"},  # from before modules.builtin: it may be in it
        {f"{HERE}/kernel/loud.ko": elf()},  # no depmod ran
        {"etc/other": b""},
        {},
    ],
)
def test_none_is_made_where_none_is_needed(files: dict[str, bytes], tmp_path: Path) -> None:
    assert initrd(tmp_path, "iso9660", files) == b""


@pytest.mark.parametrize(
    ("type", "files", "busybox", "words"),
    [
        ("iso9660", KERNEL, BUSYBOX, "no isofs, neither as a module nor built in"),
        ("erofs", {**KERNEL, f"usr/{HERE}/kernel/fs/erofs/erofs.ko": None}, BUSYBOX, "the kernel's tar lacks erofs"),
        ("squashfs", {**KERNEL, f"usr/{HERE}/modules.dep": b"a/squashfs.ko: b/gone.ko\n"}, BUSYBOX, "needs gone"),
        ("squashfs", {**KERNEL, "lib/modules/7/modules.dep": b""}, BUSYBOX, "the modules of 2 kernels"),
        (
            "squashfs",
            {**KERNEL, f"usr/{HERE}/kernel/fs/squashfs/squashfs.ko.xz": b"junk"},
            BUSYBOX,
            "squashfs.ko.xz cannot be decompressed",
        ),
        ("squashfs", KERNEL, b"#!/bin/sh\n", "is not a static program"),
        ("squashfs", KERNEL, DYNAMIC, "is not a static program"),
    ],
)
def test_what_cannot_be(type: str, files: dict[str, bytes | None], busybox: bytes, words: str, tmp_path: Path) -> None:
    there = {path: data for path, data in files.items() if data is not None}
    with pytest.raises(StepError, match=words):
        initrd(tmp_path, type, there, busybox)


def test_the_script_is_one_that_a_shell_reads(tmp_path: Path) -> None:
    script = tmp_path / "init"
    script.write_text(init("iso9660"))
    subprocess.run(["busybox", "sh", "-n", script], check=True)
    assert "@" not in init("iso9660").replace("$@", "")


# -- the root ----------------------------------------------------------------------------------------------------------

FILES = [
    Entry(b"boot/kernel", "file", 0o600, size=6),
    Entry(b"boot/again", "hardlink", 0, target=b"boot/kernel"),
    Entry(b"bin/kernel", "hardlink", 0, target=b"boot/again"),
    Entry(b"bin/other", "hardlink", 0, target=b"boot/kernel"),
    Entry(b"bin/tool", "file", 0o4755, 7, 8, size=4, xattrs=((b"security.capability", b"\1\0\0\2" + bytes(16)),)),
    Entry(b"etc/old", "file", 0o644, mtime=5),
    Entry(b"etc/old", "symlink", 0o777, target=b"../" + b"x" * 200),
    Entry(b"dev/null", "char", 0o666, device=(1, 3)),
]
CONTENTS = {b"boot/kernel": b"kernel", b"bin/tool": b"tool"}


def made(cache: Path, params: RootDisk | SquashedRoot, files: list[Entry] = FILES) -> tuple[Store, Result]:
    extents: list[Extent] = []
    for entry in files:
        data = CONTENTS.get(entry.path, b"") if entry.kind == "file" else b""
        extents.append(Data(header(entry) + data + padding(len(data))))
    store, recipe = Store.open(cache), cache / "recipe"
    recipe.write_bytes(Recipe.of([*extents, Data(END_OF_ARCHIVE)]).encode())
    kind = "squashed-root" if isinstance(params, SquashedRoot) else "root-disk"
    return store, carry_out(store, kind, params, {"tar": store.add_file(recipe)})


def test_a_squashed_root_keeps_everything_but_what_is_under_boot(tmp_path: Path) -> None:
    if shutil.which("mksquashfs") is None or shutil.which("sqfs2tar") is None:
        pytest.skip("needs mksquashfs and sqfs2tar")
    store, result = made(tmp_path, SquashedRoot(True, tools.mksquashfs().version))
    image = store.path(result["file"].digest)
    done = subprocess.run(["sqfs2tar", image], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        shown = {member.name: member for member in tar}
        assert sorted(shown) == [
            "bin",
            "bin/kernel",
            "bin/other",
            "bin/tool",
            "boot",
            "dev",
            "dev/null",
            "etc",
            "etc/old",
        ]
        tool = shown["bin/tool"]
        assert (tool.mode, tool.uid, tool.gid) == (0o4755, 7, 8)
        assert any("security.capability" in key for key in tool.pax_headers)
        assert shown["etc/old"].linkname == "../" + "x" * 200
        assert (shown["dev/null"].devmajor, shown["dev/null"].devminor) == (1, 3)
        links = {member.linkname for member in shown.values() if member.islnk()}
        assert links == {"bin/kernel"}, "a file that only boot/ had is kept for its links"
        kernel = tar.extractfile("bin/other")
        assert kernel is not None
        assert kernel.read() == b"kernel"


def test_another_mksquashfs_than_the_plan_knew_is_refused(tmp_path: Path) -> None:
    if shutil.which("mksquashfs") is None:
        pytest.skip("needs mksquashfs")
    with pytest.raises(ToolError, match=r"and was 1\.0 a moment ago"):
        made(tmp_path, SquashedRoot(True, "1.0"))


def test_an_iso_loses_extended_attributes_and_says_so(tmp_path: Path) -> None:
    _, result = made(tmp_path, RootDisk("iso9660", False))
    assert len(result.notes) == 1
    assert (
        "'bin/tool': the extended attribute security.capability is lost in an ISO (a file capability" in result.notes[0]
    )
    _, result = made(tmp_path, RootDisk("erofs", False))
    assert result.notes == ()


def test_a_file_and_a_directory_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [Entry(b"a", "file", 0o644), Entry(b"a/b", "file", 0o644)]
    with pytest.raises(StepError, match="'a' is no directory"):
        made(tmp_path, RootDisk("erofs", False), files)
    assert list((tmp_path / "tmp").glob("*/*")) == [], "nothing is left behind"
