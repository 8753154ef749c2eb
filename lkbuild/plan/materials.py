"""What a plan is made from besides the spec: what was found, and how the machine is to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from lkbuild.digest import Digest
from lkbuild.frozen import frozen
from lkbuild.plan.images import PackageFiles, PlannedImage, PlannedLayout
from lkbuild.plan.kinds import Profile
from lkbuild.spec.model import ImageName, PackageDir

Sbom = Literal["no", "spdx", "cyclonedx"]
"""Which documents say what is in a machine: none, SPDX's, or both."""


@frozen
class Materials:
    """What was found before planning: images by name, images kept whole by volume, local files by absolute path.

    For the provenance: `sources` are all local files by what they are called, and `lock` is the lock file's digest.
    For the record of the build: `packages` are what lies in the package directories.
    """

    images: Mapping[ImageName, PlannedImage]
    layouts: Mapping[str, PlannedLayout] = field(default_factory=dict)
    files: Mapping[str, tuple[Digest, int]] = field(default_factory=dict)
    sources: tuple[tuple[str, Digest], ...] = ()
    lock: Digest | None = None
    packages: Mapping[PackageDir, PackageFiles] = field(default_factory=dict)


@frozen
class Style:
    """How a machine is written: `compression` is a codec, or `auto` for what the kernel is known to read.

    `bootloader` is the image boot loaders are taken from; `size` in MB, for formats that have one; `mksquashfs` is the
    version of the program (see `tools`), where a format needs it.  `sbom`: the machine has a list of what is in it at
    `sbom_path`, which names `supplier` as who made it, and one lies beside its outputs.  `recorded`: the options that
    stand in the provenance; None where none is wanted.  `embedded`: the machine carries the record of its build
    (`plan.record`).
    """

    compression: str = "auto"
    profile: Profile = "dev"
    decompress_kernel: bool = False
    architecture: str = "amd64"
    bootloader: ImageName | None = None
    size: int | None = None
    mksquashfs: str = ""
    sbom: Sbom = "no"
    sbom_path: str = "sbom.spdx.json"
    supplier: str = "local build"
    recorded: tuple[tuple[str, str], ...] | None = None
    embedded: bool = False
