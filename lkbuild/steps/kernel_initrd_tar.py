"""Kernel and initrd as a tar, as `linuxkit build --format tar-kernel-initrd` writes it."""

from __future__ import annotations

from lkbuild.archive.entry import Entry
from lkbuild.archive.tarwrite import END_OF_ARCHIVE, header, padding
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.layout import total
from lkbuild.plan.media_kinds import KernelInitrdTar
from lkbuild.steps.rootfs import finish
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe

_FILES = ((b"kernel", "kernel"), (b"initrd.img", "initrd"), (b"cmdline", "cmdline"), (b"ucode.cpio", "ucode"))


def _whole(work: Work, role: str) -> list[Extent]:
    blob = work.inputs[role].blob
    return [Slice(blob.digest, 0, blob.size)]


def kernel_initrd_tar(params: KernelInitrdTar, work: Work) -> None:
    """Writes `recipe`."""
    files = {name: _whole(work, role) for name, role in _FILES if role in work.inputs}
    files[b"initrd.img"] = list(Recipe.decode(work.input("initrd").read_bytes()).extents)
    made: list[Extent] = []
    for name, extents in files.items():
        size = total(extents)
        made += [Data(header(Entry(name, "file", 0o600, size=size))), *extents, Data(padding(size))]
    finish([*made, Data(END_OF_ARCHIVE), Zeros(-(total(made) + len(END_OF_ARCHIVE)) % 10240)], work)
