"""Taking a kernel image apart: kernel, tar, microcode, and what compression the kernel is known to read."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from lkbuild.archive.extract import Found, extract_files
from lkbuild.disk.bzimage import embedded_config, payload
from lkbuild.errors import StepError
from lkbuild.plan.kinds import Kernel
from lkbuild.steps.segment import layers
from lkbuild.steps.work import Work

CONFIG = "boot/config-*"
_READS_ZSTD = b"\nCONFIG_RD_ZSTD=y\n"
_SQUASHFS_ZSTD = b"\nCONFIG_SQUASHFS_ZSTD=y\n"
_MAX_CONFIG = 16 << 20


def kernel(params: Kernel, work: Work) -> None:
    """Writes `kernel`, `tar` and `ucode` (where wanted), `facts` (their modes), and what it reads: `codec` of an
    initrd and `squashfs`, each `zstd` or `gzip`.

    StepError where the image lacks one of them.
    """
    roles = {"kernel": params.binary, "tar": params.tar, "ucode": params.ucode}
    wanted = {role: name for role, name in roles.items() if name}
    found = _extract({**wanted, "config": CONFIG}, work)
    for role, name in wanted.items():
        if name not in found:
            raise StepError(
                f"{_KEYS[role]}: the kernel image has no file {name!r}",
                f"say in `kernel: {_KEYS[role]}:` what it is called" + _NO_TAR.get(role, ""),
            )
    facts = {role: {"mode": found[name].entry.mode} for role, name in wanted.items()}
    work.output("facts").write_text(json.dumps(facts, sort_keys=True), "utf-8")
    config = _config(work)
    work.output("codec").write_text("zstd" if _READS_ZSTD in config else "gzip", "ascii")
    work.output("squashfs").write_text("zstd" if _SQUASHFS_ZSTD in config else "gzip", "ascii")
    if params.decompress:
        _decompress(work)


_KEYS = {"kernel": "binary", "tar": "tar", "ucode": "ucode"}
_NO_TAR = {"tar": ", or `tar: none` if it has no modules"}


def _extract(wanted: Mapping[str, str], work: Work) -> dict[str, Found]:
    """The files that `wanted` names, as outputs called after their roles; one file may have several roles."""
    first: dict[str, str] = {}
    for role, name in wanted.items():
        first.setdefault(name, role)
    with contextlib.ExitStack() as files:
        targets = {name: files.enter_context(work.output(role).open("w+b")) for name, role in first.items()}
        found = extract_files(layers(work), targets)
    for role, name in wanted.items():
        if first[name] != role:
            shutil.copyfile(work.output(first[name]), work.output(role))
    return found


def _config(work: Work) -> bytes:
    """The kernel's configuration, beside it or inside it, a newline before each line; where there is none, a newline.

    What is not in it is not read: then it is gzip, which all kernels read.
    """
    path = work.output("config")
    if path.stat().st_size > _MAX_CONFIG:
        raise StepError(f"the kernel's configuration has {path.stat().st_size} bytes, which is not believable")
    return b"\n" + (path.read_bytes() or embedded_config(work.output("kernel")))


def _decompress(work: Work) -> None:
    """Replace a gzip'd kernel, or a bzImage with a gzip payload, by what is in it (LinuxKit's decompressKernel)."""
    packed = work.output("kernel")
    plain: Path = work.output("kernel.plain")
    with plain.open("wb") as target:
        size = payload(packed, target)
    if size:
        plain.replace(packed)
    else:
        plain.unlink()
        work.note("the kernel is not compressed with gzip, and stays as it is")
