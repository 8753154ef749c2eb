"""Packages of an image, and all that is known of its contents, as values with a JSON form."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import fields

from lkbuild.digest import Digest, canonical
from lkbuild.errors import StepError
from lkbuild.frozen import frozen, ordered

MAX_PACKAGES = 20_000
"""The most packages of one image that are listed; a large desktop has some 4,000."""

DEBIAN = "Debian packages"
"""Where the packages of an image made of Debian packages are known from: their files themselves."""


@ordered
class Component:
    """A package as its database, its file or an attestation tells it; "" is what none of them says.

    `type` is purl's ("deb", "apk"); `supplier` is written `Name <address>`; `source` is the source package it was built
    from; `license` is as written there; `digest` is that of the package's file.
    """

    type: str
    name: str
    version: str
    architecture: str = ""
    supplier: str = ""
    source: str = ""
    homepage: str = ""
    license: str = ""
    digest: str = ""
    purl: str = ""

    @property
    def same(self) -> tuple[str, str, str, str]:
        """What two accounts of one package agree in."""
        return self.type, self.name, self.version, self.architecture


@frozen
class Contents:
    """What is in one image: its layers, its packages and where they are known from, and what is to be said.

    `sources` are words such as "dpkg"; it is empty where there is nothing to know packages from.
    """

    layers: tuple[Digest, ...]
    sources: tuple[str, ...] = ()
    packages: tuple[Component, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def chain(self) -> Digest:
        """The ChainID of the layers (image-spec config.md): the image's name where it has no manifest.

        NB: that of the layers as they are packed; those of our own packages are not, so that there it is the ChainID.
        """
        found = self.layers[0] if self.layers else Digest.of(b"")
        for layer in self.layers[1:]:
            found = Digest.of(f"{found} {layer}".encode())
        return found

    def encode(self) -> bytes:
        """As JSON."""
        return canonical(self)

    @classmethod
    def decode(cls, data: bytes) -> Contents:
        """What `encode` wrote; StepError for anything else."""
        try:
            document = json.loads(data)
            names = [field.name for field in fields(Component)]
            packages = tuple(Component(*(str(item[name]) for name in names)) for item in document["packages"])
            texts = (tuple(map(str, document[name])) for name in ("sources", "notes"))
            sources, notes = texts
            return cls(tuple(map(Digest.parse, document["layers"])), sources, packages, notes)
        except (ValueError, KeyError, TypeError) as error:
            raise StepError(f"not the contents of an image: {error}", "build again") from error


def merged(*accounts: tuple[Component, ...]) -> tuple[Component, ...]:
    """The packages of several accounts of one image, sorted, each once; later ones fill in what the first left."""
    found: dict[tuple[str, str, str, str], Component] = {}
    for account in accounts:
        for package in account:
            before = found.setdefault(package.same, package)
            missing = {f.name: getattr(package, f.name) for f in fields(package) if not getattr(before, f.name)}
            if missing:
                found[package.same] = dataclasses.replace(before, **missing)
    return tuple(sorted(found.values()))
