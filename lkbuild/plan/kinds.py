"""The kinds of steps: name, version, and the parameters each takes.

A kind's version goes up when the same params and inputs give other bytes than before.  The functions that do the work
stand in `steps/`, one file a kind.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from lkbuild.digest import Digest
from lkbuild.frozen import frozen
from lkbuild.oci.image import RunConfig
from lkbuild.packages.params import (
    DebFile,
    DebianLayer,
    DockerfileBuild,
    ImageDocuments,
    KernelLayer,
    PackageLayer,
)
from lkbuild.plan.contents_kinds import Hashes, ImageContents, KernelRelease, MachineContents, Provenance
from lkbuild.plan.media_kinds import (
    Converted,
    FirecrackerConfig,
    Firmware,
    KernelInitrdTar,
    Loaders,
    Medium,
    OciLayout,
    Rpi3,
    Unpacked,
)
from lkbuild.plan.root_kinds import RootDisk, RootInitrd, SquashedRoot
from lkbuild.reference import Reference
from lkbuild.spec.model import ContainerConfig
from lkbuild.trust.policy import Called, Policy, Subject

ArchiveFormat = Literal["cpio", "tar"]
"""What a segment is: part of an initrd, or part of a tar."""

Codec = Literal["gzip", "zstd", "none"]
Profile = Literal["dev", "release"]
"""How hard a segment is compressed: `dev` for the time it takes, `release` for its size."""


@frozen
class Segment:
    """How a segment is written.  `codec` is None where the step's input `codec` decides (see `kernel`)."""

    archive: ArchiveFormat = "cpio"
    codec: Codec | None = "gzip"
    profile: Profile = "dev"


@frozen
class PullLayer:
    """One layer of an image to be fetched."""

    digest: Digest
    size: int


@frozen
class Pull:
    """Fetch the layers of an image.  NB: where they come from does not matter, their digests are what they are.

    `history` is what made each of them, for people to read; empty where nobody says.
    """

    layers: tuple[PullLayer, ...]
    reference: Reference = field(compare=False)
    history: tuple[str, ...] = field(compare=False, default=())


@frozen
class Verify:
    """Verify that somebody who counts signed an image; the input `root` is sigstore's trusted root, for identities.

    NB: the whole policy stands here, keys by what they are, so that no other policy's result passes for this one's;
    what they are `called` is for messages.
    """

    subject: Subject
    policy: Policy
    reference: Reference = field(compare=False)
    called: Called = field(default=(), compare=False)


@frozen
class Kernel:
    """Take the kernel, its tar and its microcode out of a kernel image."""

    binary: str = "kernel"
    tar: str | None = "kernel.tar"
    ucode: str | None = None
    decompress: bool = False


@frozen
class Modules:
    """Lay the kernel's tar down at the root."""

    segment: Segment = Segment()


@frozen
class Boot:
    """Lay kernel, microcode and command line down in boot/ (tar only: nothing under boot/ enters an initrd)."""

    cmdline: str = ""
    ucode: bool = False


@frozen
class Tree:
    """Lay an image down under `prefix` ("" is the root).  `init`: by the rules for init images and image volumes."""

    prefix: str
    init: bool = False
    segment: Segment = Segment()


@frozen
class Bundle:
    """A container's config.json, runtime.json and empty directories.

    `directory` is its place, `root` where its image lies (its own, or the first container's with the same image).
    NB: `ids` and `volumes` hold only the names this container mentions, or a new neighbour would rebuild it.
    """

    directory: str
    root: str
    readonly: bool
    entry: ContainerConfig
    image: RunConfig
    ids: tuple[tuple[str, int], ...] = ()
    volumes: tuple[tuple[str, bool], ...] = ()
    segment: Segment = Segment()


@frozen
class VolumeDirectories:
    """The directories of a volume: `lower` (unless an image fills it), `tmp` and `merged`."""

    name: str
    blank: bool = True
    segment: Segment = Segment()


@frozen
class VolumeLayout:
    """A volume that holds an image as an OCI layout: `index` is its index.json, the inputs `blob<N>` are its blobs.

    Where `index` is empty, it lists the one image whose manifest is the input `manifest`.
    """

    name: str
    index: str
    segment: Segment = Segment()


@frozen
class FileEntry:
    """A resolved entry of `files`; `contents` is None where the input `file<N>` holds them."""

    path: str
    kind: Literal["file", "directory", "symlink"]
    contents: str | None = None
    target: str | None = None
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


def leading(path: str) -> list[str]:
    """The directories above `path`, the highest first: of a/b/c they are a and a/b."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


@frozen
class Files:
    """The files section."""

    entries: tuple[FileEntry, ...]
    segment: Segment = Segment()


@frozen
class ApkDatabase:
    """The apk databases of several init images as one; an empty segment where fewer than two have one."""

    segment: Segment = Segment()


@frozen
class Rootfs:
    """Put segments together, in order, to an initrd or a tar.  `names` are for messages: whose segment it is."""

    names: tuple[str, ...]
    archive: ArchiveFormat = "cpio"
    ucode: bool = False


@frozen
class Text:
    """A file with this text, or, where there is an input `file`, with its bytes."""

    text: str = ""


@frozen
class Kind:
    """A kind of step: what its params are, and the version of what it makes of them.

    A `gate` must hold whenever something behind it is wanted, however much of that is there already.
    """

    name: str
    version: int
    params: type
    gate: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("verify", 1, Verify, gate=True),
        Kind("pull", 1, Pull),
        Kind("deb", 1, DebFile),
        Kind("debian-layer", 1, DebianLayer),
        Kind("kernel-layer", 1, KernelLayer),
        Kind("package-layer", 1, PackageLayer),
        Kind("image-documents", 1, ImageDocuments),
        Kind("dockerfile", 1, DockerfileBuild),
        Kind("kernel", 3, Kernel),
        Kind("modules", 3, Modules),
        Kind("boot", 1, Boot),
        Kind("tree", 3, Tree),
        Kind("bundle", 3, Bundle),
        Kind("volume-directories", 3, VolumeDirectories),
        Kind("volume-layout", 3, VolumeLayout),
        Kind("files", 3, Files),
        Kind("apk-database", 3, ApkDatabase),
        Kind("initrd", 1, Rootfs),
        Kind("tar", 1, Rootfs),
        Kind("text", 1, Text),
        Kind("loaders", 1, Loaders),
        Kind("medium", 2, Medium),
        Kind("converted", 2, Converted),
        Kind("kernel-initrd-tar", 1, KernelInitrdTar),
        Kind("docker", 1, Rootfs),
        Kind("oci-layout", 2, OciLayout),
        Kind("unpacked", 1, Unpacked),
        Kind("firecracker-config", 2, FirecrackerConfig),
        Kind("firmware", 1, Firmware),
        Kind("rpi3", 1, Rpi3),
        Kind("root-disk", 1, RootDisk),
        Kind("squashed-root", 1, SquashedRoot),
        Kind("root-initrd", 2, RootInitrd),
        Kind("image-contents", 2, ImageContents),
        Kind("kernel-release", 1, KernelRelease),
        Kind("spdx", 1, MachineContents),
        Kind("cyclonedx", 1, MachineContents),
        Kind("hashes", 1, Hashes),
        Kind("provenance", 1, Provenance),
    )
}
