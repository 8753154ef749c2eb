"""Kernels without compression, and what Firecracker is told of a machine (docs/getting-started.md there).

Paths in the configuration are relative: Firecracker is to be started in the directory of the files.
"""

from __future__ import annotations

import json

from lkbuild.disk.loader_config import check_cmdline
from lkbuild.disk.vmlinux import is_program, unpack
from lkbuild.errors import StepError
from lkbuild.plan.media_kinds import FirecrackerConfig, Unpacked
from lkbuild.steps.medium import cmdline
from lkbuild.steps.work import Work

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
    """Writes `config`."""
    arguments = boot_arguments(cmdline(work))
    check_cmdline(arguments)
    try:
        arguments.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StepError("the kernel's command line is no UTF-8, which JSON has to be", "write it in UTF-8") from error
    document = {
        "boot-source": {"kernel_image_path": "vmlinux", "initrd_path": "initrd.img", "boot_args": arguments},
        "drives": [],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": params.memory},
        "network-interfaces": [],
    }
    work.output("config").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


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
