"""What is in a machine: its images, what each is used for, and the packages of each."""

from __future__ import annotations

import re

from lkbuild.contents.model import Component, Contents
from lkbuild.contents.purl import oci_purl
from lkbuild.digest import Digest, identity
from lkbuild.errors import StepError
from lkbuild.frozen import frozen
from lkbuild.reference import Reference

CREATED = "2017-04-18T16:30:00Z"
"""`archive.entry.FIXED_TIME` as documents write it, which is what LinuxKit's say too."""

NO_DATABASE = "no package database found"


@frozen
class ImageTitle:
    """What an image is called: `reference` in full, or "" for a package, which has only its `name`.

    `manifest` is the digest of its manifest, None for what has none; `index` that of the index the reference named.
    `publisher`: under whose name it is to be had; "" where it is built with the machine, and nobody's name is on it.
    """

    name: str
    reference: str = ""
    architecture: str = ""
    manifest: Digest | None = None
    index: Digest | None = None
    publisher: str = ""


@frozen
class Used:
    """An image of the machine and the places it has in it, such as `services/nginx`, `init[0]` and `kernel`."""

    image: ImageTitle
    places: tuple[str, ...]


@frozen
class Listed:
    """An image and what is in it."""

    used: Used
    contents: Contents

    @property
    def digest(self) -> Digest:
        """Of the manifest where there is one, else of the layers."""
        return self.used.image.manifest or self.contents.chain

    @property
    def purl(self) -> str:
        """Its purl; "" for a package, which is in no registry."""
        image = self.used.image
        if not image.reference or image.manifest is None:
            return ""
        return oci_purl(Reference.parse(image.reference), str(image.manifest), image.architecture)

    @property
    def comment(self) -> str:
        """What is to be said of it besides its packages."""
        said = list(self.contents.notes)
        if self.contents.sources:
            said.insert(0, f"packages from: {', '.join(self.contents.sources)}")
        else:
            said.insert(0, NO_DATABASE)
        return "; ".join(said)


@frozen
class Bill:
    """A machine: its name, who makes it, its kernel's release ("" not known, None has no kernel), and its images."""

    name: str
    architecture: str
    supplier: str
    kernel: str | None
    images: tuple[Listed, ...]

    @property
    def kernel_supplier(self) -> str:
        """Who made the kernel: of a kernel in a Debian or Alpine package its maintainer, else who made its image."""
        for image in self.images:
            if "kernel" in image.used.places:
                named = (
                    p.supplier for p in image.contents.packages if p.name.startswith(("linux-image-", "linux-lts"))
                )
                return next(filter(None, named), image.used.image.publisher or self.supplier)
        return self.supplier

    @property
    def identity(self) -> Digest:
        """Of everything in it: two machines that have the same have the same."""
        images = tuple((i.used, i.contents) for i in self.images)
        return identity((self.name, self.architecture, self.supplier, self.kernel, images))


def part_of(text: str) -> str:
    """A text as part of an identifier (SPDX 2.3, 7.2: letters, digits, `.` and `-`)."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")[:80] or "x"


def package_id(package: Component) -> str:
    """What a package is called in documents: the same for equal packages, whatever image they are in."""
    return f"{part_of(f'{package.type}-{package.name}-{package.version}')}-{identity(package).hex[:12]}"


def image_id(image: Listed) -> str:
    """What an image is called in documents."""
    return f"image-{part_of(image.used.image.name)}-{identity((image.used.image, image.digest)).hex[:12]}"


def is_container(place: str) -> bool:
    """Whether a place is a container's: then it is a thing of its own in documents."""
    return place.partition("/")[0] in ("onboot", "onshutdown", "services")


def container_id(place: str) -> str:
    """What a container is called in documents."""
    return f"container-{part_of(place)}-{identity(place).hex[:8]}"


def title(place: str) -> str:
    """The name of the container at a place: `services/nginx` and `onboot/000-dhcpcd` are nginx and dhcpcd."""
    section, _, name = place.partition("/")
    return name if section == "services" else name.partition("-")[2]


def listed(images: tuple[Used, ...], contents: list[bytes]) -> tuple[Listed, ...]:
    """Each image with its contents, which stand in the same order; StepError where there are not as many."""
    if len(images) != len(contents):
        raise StepError(f"{len(contents)} lists of contents for {len(images)} images", "build again")
    return tuple(Listed(used, Contents.decode(data)) for used, data in zip(images, contents, strict=True))
