"""What the steps that make a package's image are told: params of the kinds, with canonical forms.

Nothing here says where a file came from; the files themselves are inputs, by digest.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from lkbuild.digest import Digest
from lkbuild.frozen import frozen, ordered
from lkbuild.oci.image import RunConfig

FIXED_TIME = 1492533000
"""The modification time of what no one gave a time, seconds since 1970: LinuxKit's."""

Pairs = tuple[tuple[str, str], ...]


@ordered
class Ownership:
    """Mode and owner a file gets whatever it had."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0


@frozen
class Concatenation:
    """A file made of others: `path` is what all files named by `sources` hold, in the order of their paths."""

    path: str
    sources: tuple[str, ...]


@frozen
class DebFile:
    """Bring one Debian package.  NB: where from does not matter, its digest is what it is."""

    digest: Digest
    size: int
    uri: str = field(default="", compare=False)


@frozen
class DebianLayer:
    """Unpack Debian packages (inputs `deb<N>`) into one layer.  `only`, `exclude`, `keep` are path globs."""

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    modes: tuple[Ownership, ...] = ()


@frozen
class KernelLayer:
    """Make a kernel image's layer of Debian packages (inputs `deb<N>`).  `modules` is None for all of them."""

    modules: tuple[str, ...] | None = None


@ordered
class LayerEntry:
    """A file of a layer.  A file's bytes are `contents`, or where that is None those of the next input `file<N>`."""

    path: str
    kind: Literal["file", "directory", "symlink"]
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    contents: str | None = None
    target: str = ""


@frozen
class PackageLayer:
    """Make a package's own layer of `entries`, sorted by path; of `concatenate` from them and the input `debian`.

    `base`: there is no layer below, so that the links of the merged /usr belong into this one.
    """

    entries: tuple[LayerEntry, ...]
    concatenate: tuple[Concatenation, ...] = ()
    base: bool = False


@frozen
class ImageDocuments:
    """Write the config and the manifest of an image of the layers `layer<N>`, the lowest first."""

    architecture: str
    run: RunConfig
    labels: Pairs = ()


@frozen
class DockerfileBuild:
    """Have the Docker daemon build an image from a context of `entries` (files are the inputs `file<N>`)."""

    architecture: str
    dockerfile: str
    entries: tuple[LayerEntry, ...]
    arguments: Pairs = ()
    labels: Pairs = ()
    network: bool = False
