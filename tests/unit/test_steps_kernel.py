"""Taking a kernel image apart, one file in several roles too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lkbuild.errors import StepError
from lkbuild.plan.kinds import Kernel
from lkbuild.store import Result, Store
from tests.support.layouts import layer
from tests.support.steps import carry_out

FILES = {"kernel": b"the kernel", "kernel.tar": b"its modules", "boot/config-6": b"CONFIG_RD_ZSTD=y\n"}


def taken(tmp_path: Path, params: Kernel, files: dict[str, bytes] = FILES) -> tuple[Store, Result]:
    store = Store.open(tmp_path / "cache")
    return store, carry_out(store, "kernel", params, {"layer0": store.add(layer(files.items()))})


@pytest.mark.parametrize(
    ("params", "outputs"),
    [
        (Kernel(), {"kernel": "kernel", "tar": "kernel.tar"}),
        (Kernel(tar=None, ucode="kernel.tar"), {"kernel": "kernel", "ucode": "kernel.tar"}),
        (Kernel(tar="kernel"), {"kernel": "kernel", "tar": "kernel"}),  # one file, two roles
        (Kernel(ucode="kernel"), {"kernel": "kernel", "tar": "kernel.tar", "ucode": "kernel"}),
        (Kernel(tar="kernel", ucode="kernel"), {"kernel": "kernel", "tar": "kernel", "ucode": "kernel"}),
        (Kernel(ucode="boot/config-6"), {"kernel": "kernel", "ucode": "boot/config-6"}),  # also by a pattern
        (Kernel(tar=None, ucode="boot/config-*"), {"kernel": "kernel", "ucode": "boot/config-6"}),
    ],
)
def test_each_role_has_its_file(tmp_path: Path, params: Kernel, outputs: dict[str, str]) -> None:
    store, result = taken(tmp_path, params)
    assert {role: store.read(result[role].digest) for role in outputs} == {r: FILES[n] for r, n in outputs.items()}
    assert store.read(result["codec"].digest) == b"zstd"
    assert set(json.loads(store.read(result["facts"].digest))) >= set(outputs)


@pytest.mark.parametrize(
    ("config", "initrd", "squashfs"),
    [
        (b"CONFIG_RD_ZSTD=y\nCONFIG_SQUASHFS_ZSTD=y\n", b"zstd", b"zstd"),
        (b"CONFIG_RD_ZSTD=y\n# CONFIG_SQUASHFS_ZSTD is not set\n", b"zstd", b"gzip"),
        (b"CONFIG_SQUASHFS_ZSTD=y\n", b"gzip", b"zstd"),
        (b"", b"gzip", b"gzip"),  # nothing is known of it
    ],
)
def test_what_the_kernel_reads(tmp_path: Path, config: bytes, initrd: bytes, squashfs: bytes) -> None:
    store, result = taken(tmp_path, Kernel(), {**FILES, "boot/config-6": config})
    assert [store.read(result[role].digest) for role in ("codec", "squashfs")] == [initrd, squashfs]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"ucode: the kernel image has no file 'kernel\.ucode'"):
        taken(tmp_path, Kernel(ucode="kernel.ucode"))
