"""Package URLs (purl-spec): `pkg:deb/debian/nginx@1.22.1-9?arch=amd64`."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from lkbuild.frozen import frozen
from lkbuild.reference import Reference


@frozen
class Distribution:
    """Whose packages an image has: `vendor` is os-release's ID, `release` ID and VERSION_ID; "" where not known."""

    vendor: str = ""
    release: str = ""


def purl(kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str] | None = None) -> str:
    """The canonical purl of these parts; qualifiers without a value are left out."""
    path = "/".join(_quoted(part) for part in (*namespace.split("/"), name) if part)
    found = sorted((key, value) for key, value in (qualifiers or {}).items() if value)
    query = "&".join(f"{key}={_quoted(value, ':/')}" for key, value in found)
    return f"pkg:{kind}/{path}{f'@{_quoted(version)}' if version else ''}{f'?{query}' if query else ''}"


def _quoted(text: str, safe: str = ":") -> str:
    """Percent-encoded; the colon is not (purl-spec, "Character encoding"), nor in a qualifier the slash."""
    return quote(text, safe=safe)


def deb_purl(name: str, version: str, architecture: str, where: Distribution) -> str:
    """A Debian package's."""
    qualifiers = {"arch": architecture, "distro": where.release}
    return purl("deb", (where.vendor or "debian").lower(), name.lower(), version, qualifiers)


def apk_purl(name: str, version: str, architecture: str, where: Distribution) -> str:
    """An Alpine package's."""
    qualifiers = {"arch": architecture, "distro": where.release}
    return purl("apk", (where.vendor or "alpine").lower(), name.lower(), version, qualifiers)


def oci_purl(reference: Reference, digest: str, architecture: str) -> str:
    """An image's, by the digest of its manifest."""
    place = {"arch": architecture, "repository_url": reference.name, "tag": reference.tag or ""}
    return purl("oci", "", reference.repository.rpartition("/")[2].lower(), digest, place)
