"""Debian packages as values: what is asked for, and what was found.  `sources.debian` finds them."""

from __future__ import annotations

from lkbuild.digest import Digest
from lkbuild.frozen import frozen, ordered


@frozen
class DebianRequest:
    """Debian packages wanted for an architecture (OCI's name for it), and globs of those to be left out."""

    architecture: str
    packages: tuple[str, ...]
    without: tuple[str, ...] = ()


@ordered
class Deb:
    """A Debian package as a file: its name, version and Debian architecture, SHA-256, size in bytes and address."""

    name: str
    version: str
    architecture: str
    digest: Digest
    size: int
    uri: str
