"""Packages as dpkg's database tells them (deb822(5), deb-control(5)): var/lib/dpkg/status, or a file each in status.d.

Distroless images, and lkbuild's own packages, have the latter: the control files as they were in the packages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lkbuild.archive.deb import fields
from lkbuild.contents.model import MAX_PACKAGES, Component
from lkbuild.contents.purl import Distribution, deb_purl
from lkbuild.contents.text import homepage, line, name, word

STATUS = "var/lib/dpkg/status"
STATUS_DIRECTORY = "var/lib/dpkg/status.d"

MAX_STANZA = 1 << 20
"""The most bytes one package's record may have; Debian's longest has some 60 kB, with the list of its conffiles."""

_ABSENT = frozenset({"not-installed", "config-files"})
"""The states (dpkg(1)) in which none of a package's programs are there."""

_UBUNTU = re.compile(r"@(?:[a-z0-9-]+\.)*ubuntu\.com>?$")


def parse(data: bytes, where: Distribution) -> tuple[list[Component], list[str]]:
    """The unpacked packages of a status file, up to one more than are listed; and what is wrong with it, in words."""
    found, strange = list[Component](), 0
    for stanza in _stanzas(data):
        if len(found) > MAX_PACKAGES:
            break
        record = fields(stanza) if len(stanza) <= MAX_STANZA else {}
        if record.get("status", "install ok installed").rpartition(" ")[2] in _ABSENT:
            continue
        package = component(record, where)
        if package is None:
            strange += 1
        else:
            found.append(package)
    said = f"{strange} records of dpkg's database have no name and version that could be read"
    return found, [said] if strange else []


def _stanzas(data: bytes) -> Iterator[bytes]:
    at = 0
    for gap in re.finditer(rb"\n[ \t\r]*\n|\Z", data):
        if stanza := data[at : gap.start()].strip():
            yield stanza
        at = gap.end()


def component(record: Mapping[str, str], where: Distribution, digest: str = "") -> Component | None:
    """The package of one record, its field names in lower case; None where it has no name or no version.

    Where the image does not say whose packages it has, Ubuntu's are told by their maintainer, which it always sets.
    """
    package, version = word(record.get("package")), word(record.get("version"))
    if not package or not version:
        return None
    architecture, supplier = word(record.get("architecture")), line(record.get("maintainer"))
    if not where.vendor and _UBUNTU.search(supplier):
        where = Distribution("ubuntu")
    return Component(
        type="deb",
        name=package,
        version=version,
        architecture=architecture,
        supplier=supplier,
        source=name(record.get("source")) or package,
        homepage=homepage(record.get("homepage")),
        digest=digest,
        purl=deb_purl(package, version, architecture, where),
    )
