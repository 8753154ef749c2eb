"""Kernels without compression, and what Firecracker is told of a machine (docs/getting-started.md there).

Paths in the configuration are relative: Firecracker is to be started in the directory of the files.
"""

from __future__ import annotations

import json

from lkbuild.archive.compress import decompressed
from lkbuild.archive.initramfs import memory_needed
from lkbuild.digest import Digest
from lkbuild.disk.extents import Slice
from lkbuild.disk.layout import round_up
from lkbuild.disk.loader_config import check_cmdline
from lkbuild.disk.vmlinux import is_program, unpack
from lkbuild.errors import StepError
from lkbuild.plan.media_kinds import FirecrackerConfig, Unpacked
from lkbuild.steps.medium import cmdline
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe

_MEMORY_UNIT = 256 << 20
_WANTED = ("console=ttyS0", "reboot=k", "panic=1", "pci=off")


def unpacked(params: Unpacked, work: Work) -> None:
    """Writes `kernel`; StepError where it is to be a UEFI program and is none."""
    kernel = work.inputs["kernel"]
    if params.program and is_program(kernel.path):
        work.made["kernel"] = kernel.blob
        return
    with work.output("kernel").open("w+b") as target:
        unpack(kernel.path, params.architecture, target)
    if params.program and not is_program(work.output("kernel")):
        raise StepError(
            "the kernel has no EFI stub, so that UEFI firmware cannot start it",
            "use a kernel with CONFIG_EFI_STUB=y, or make kernel+initrd",
        )


def firecracker_config(params: FirecrackerConfig, work: Work) -> None:
    """Writes `config`.  Where the initrd needs more than the memory of `params`, the machine has more."""
    arguments = boot_arguments(cmdline(work))
    check_cmdline(arguments)
    try:
        arguments.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StepError("the kernel's command line is no UTF-8, which JSON has to be", "write it in UTF-8") from error
    document = {
        "boot-source": {"kernel_image_path": "vmlinux", "initrd_path": "initrd.img", "boot_args": arguments},
        "drives": [],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": max(params.memory, _memory(work))},
        "network-interfaces": [],
    }
    work.output("config").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _memory(work: Work) -> int:
    """MiB in which the machine's initrd can be unpacked, and that leave as much for the machine as it takes."""
    recipe = Recipe.decode(work.input("initrd").read_bytes())
    unpacked = 0
    for extent in recipe.extents:
        unpacked += _unpacked(extent.digest, work) if isinstance(extent, Slice) else extent.length
    return round_up(memory_needed(recipe.size, unpacked, ""), _MEMORY_UNIT) >> 20


def _unpacked(segment: Digest, work: Work) -> int:
    """Bytes of an archive without its compression."""
    with work.store.open_blob(segment) as file:
        return sum(map(len, decompressed(file)))


def boot_arguments(line: str) -> str:
    """A command line with what a machine in Firecracker needs, where it says nothing of its own of it.

    Of consoles there may be many; of the others the kernel heeds one.  What stands after `--` is init's.
    """
    ours, mark, inits = f"{line} ".partition(" -- ")
    words = ours.split()
    for wanted in _WANTED:
        key = wanted.partition("=")[0]
        same = wanted if key == "console" else key
        if not any(word.partition("=")[0] == same or word.partition(",")[0] == same for word in words):
            words.append(wanted)
    return " ".join([*words, *(["--", inits.strip()] if mark else [])])
