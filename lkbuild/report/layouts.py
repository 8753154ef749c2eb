"""The root filesystem in an OCI image layout, a directory or a tar."""

from __future__ import annotations

from typing import BinaryIO, cast

from lkbuild.archive.compress import decompressed
from lkbuild.archive.cpioread import Pieces
from lkbuild.archive.tar import TarReader
from lkbuild.errors import ArchiveError
from lkbuild.reference import Reference
from lkbuild.report.listing import Listing, listed
from lkbuild.sources.layout import Layout
from lkbuild.sources.source import Missing
from lkbuild.sources.tree import Tree

_ANY = Reference.parse("image")
_ONE = "name a layout of one image: `skopeo copy oci:DIR:NAME oci:NEW` takes one out"


def layout_listing(tree: Tree) -> Listing:
    """The listing of the one image of a layout, its layers merged; every blob is hashed.

    ArchiveError where it has several, or none; ImageError for a damaged one.
    """
    layout = Layout(tree)
    images = layout.images()
    if len(images) != 1:
        names = f": {', '.join(layout.image_names()[:5])}" if images else ""
        raise ArchiveError(f"{len(images)} images are in the layout{names}", _ONE)
    found = layout.resolve_index(_ANY.pinned(images[0].digest))
    if isinstance(found, Missing):
        raise ArchiveError(f"its image cannot be read: {found.reason}", found.hint)
    one, *others = [image for image in found.images if not image.platform.unknown] or found.images
    if others:
        platforms = ", ".join(str(image.platform) for image in (one, *others))
        raise ArchiveError(f"the image in the layout is there for several platforms: {platforms}", _ONE)
    layers = (cast(BinaryIO, Pieces(layout.pieces(layer))) for layer in one.layers)
    return listed((TarReader(decompressed(layer)) for layer in layers), "oci", whiteouts=True)
