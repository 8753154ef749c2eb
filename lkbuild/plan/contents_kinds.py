"""The kinds of steps that say what a build is made of; see `plan.kinds`."""

from __future__ import annotations

from typing import Literal

from lkbuild.contents.bill import Used
from lkbuild.contents.provenance import Made
from lkbuild.digest import Digest
from lkbuild.frozen import frozen


@frozen
class ImageContents:
    """List the packages of an image.  `manifest` is what its own SBOMs must be about; `left` the sizes of those that
    are too large to be fetched.
    """

    manifest: Digest | None = None
    left: tuple[int, ...] = ()


@frozen
class KernelRelease:
    """Tell a kernel's release from its file."""

    architecture: str


@frozen
class MachineContents:
    """Write what is in a machine as a document: the inputs `contents<N>` belong to `images`, `kernel` its release."""

    name: str
    architecture: str
    supplier: str
    images: tuple[Used, ...]


@frozen
class Hashes:
    """Hash an output as it will be on disk: it is a `recipe`, a `blob` as it is, or a `tree` of recipes."""

    form: Literal["recipe", "blob", "tree"]


@frozen
class Provenance:
    """Write where outputs come from.  `subjects` are the names of what the inputs `hashes<N>` are of.

    `images` go with the inputs `contents<N>`.
    """

    subjects: tuple[str, ...]
    images: tuple[Used, ...]
    made: Made
