"""What a build was asked for, as one value; `doit` and `lkbuild` make the same one from their own words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lkbuild.frozen import frozen

Pull = Literal["missing", "always", "never"]
Compression = Literal["auto", "gzip", "zstd"]
Profile = Literal["dev", "release"]
Sbom = Literal["no", "spdx", "cyclonedx"]
Trusting = Literal["verify", "ignore"]

IN_IMAGE = "sbom.spdx.json"
"""Where a machine has the list of what is in it, unless told otherwise: LinuxKit's place for it (moby/build.go)."""

LOCAL = "local build"
"""Who supplies a machine where nobody says."""

RECORDED = (
    "arch",
    "compression",
    "profile",
    "decompress_kernel",
    "size",
    "bootloader",
    "sbom",
    "sbom_output",
    "supplier",
    "trust",
    "lock",
)
"""What stands in the provenance: the options outputs depend on, and whether signatures were verified.

Where things lie and are looked for does not count.
"""


@frozen
class BuildOptions:
    """What to build and how.

    `machines`: for each machine its spec files, which are merged.  `formats` empty: what the spec's `outputs` say, else
    kernel+initrd.  `name` None: the spec's file name.  `directory`: where outputs go.  `images`: layouts, archives
    and caches that are looked into first.  `pull` never: nothing is asked of any network (offline).
    `docker_host`: where the daemon listens, as DOCKER_HOST writes it; Dockerfiles are built there also without
    `docker`, which is for finding images.  `size`: MB, for formats that have one.
    `bootloader`: the image boot loaders are taken from, as a spec would name it; None is lkbuild's own package.
    `sbom`: what says what is in a machine: nothing, SPDX, or CycloneDX besides; `sbom_output`: where SPDX's
    lies in it; `supplier`: who makes it, for these.  `provenance`: say where outputs come
    from; `key`: the file with the private key this is signed with.
    `trust` ignore: what specs want verified is not.  `lock`: the machine carries what it was built from, so that it can
    be built again.
    """

    machines: tuple[tuple[Path, ...], ...]
    formats: tuple[str, ...] = ()
    arch: str = "amd64"
    name: str | None = None
    directory: Path = Path()
    pull: Pull = "missing"
    cache: Path = Path("cache")
    images: tuple[Path, ...] = ()
    docker: bool = False
    docker_host: str | None = None
    compression: Compression = "auto"
    profile: Profile = "dev"
    decompress_kernel: bool = False
    size: int | None = None
    bootloader: str | None = None
    sbom: Sbom = "spdx"
    sbom_output: str = IN_IMAGE
    supplier: str = LOCAL
    provenance: bool = True
    key: Path | None = None
    trust: Trusting = "verify"
    lock: bool = True

    @property
    def recorded(self) -> tuple[tuple[str, str], ...]:
        """The options in `RECORDED` that have a value, as words."""
        values = ((name, getattr(self, name)) for name in RECORDED)
        words = {True: "yes", False: "no"}
        return tuple(
            (name, words.get(v, str(v)) if isinstance(v, bool) else str(v)) for name, v in values if v is not None
        )
