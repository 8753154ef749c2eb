"""Looking for an image in several places, and saying where it was not."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Platform
from lkbuild.reference import Reference
from lkbuild.sources.source import Image, Images, Missing, Source


@frozen
class Found:
    """An image, and the source its blobs are fetched from."""

    source: Source
    image: Image


@frozen
class FoundIndex:
    """The images of all platforms, and the source their blobs are fetched from."""

    source: Source
    images: Images


def search(
    sources: Iterable[Source], reference: Reference, platform: Platform
) -> tuple[Found | None, tuple[Missing, ...]]:
    """The first source that has the image, and where it was missing before that.

    ImageError from a source ends the search: an image that is there but broken is not quietly taken from elsewhere.
    """
    looked: list[Missing] = []
    for source in sources:
        answer = source.resolve(reference, platform)
        if isinstance(answer, Image):
            return Found(source, answer), tuple(looked)
        looked.append(answer)
    return None, tuple(looked)


def search_index(
    sources: Iterable[Source], reference: Reference, platforms: tuple[Platform, ...] = ()
) -> tuple[FoundIndex | None, tuple[Missing, ...]]:
    """The same for all platforms, or those listed."""
    looked: list[Missing] = []
    for source in sources:
        answer = source.resolve_index(reference, platforms)
        if isinstance(answer, Images):
            return FoundIndex(source, answer), tuple(looked)
        looked.append(answer)
    return None, tuple(looked)


def not_found(reference: Reference, platform: Platform | None, looked: Iterable[Missing]) -> ImageError:
    """The error for an image that is nowhere: its name, every place looked at and why not there, and how to get it."""
    looked = tuple(looked)
    wanted = f" for {platform}" if platform else ""
    lines = [f"image {reference}{wanted} was not found"]
    lines += [f"  {missing.where}: {missing.reason}" for missing in looked] or ["  nowhere was looked"]
    hints = [missing.hint for missing in looked if missing.hint]
    which = f"--override-arch {platform.architecture}" if platform else "--all"
    copy = f"skopeo copy {which} docker://{reference} oci:DIR:{reference}"
    hints.append(f"check the name; or fetch it into a layout: `{copy}`, images=DIR")
    return ImageError("\n".join(lines), "; ".join(dict.fromkeys(hints)))
