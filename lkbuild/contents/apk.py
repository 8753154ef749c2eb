"""Packages as Alpine's database tells them (apk-tools, "apk v2 installed database"): one letter a field, P:musl."""

from __future__ import annotations

import io
from itertools import chain

from lkbuild.contents.model import MAX_PACKAGES, Component
from lkbuild.contents.purl import Distribution, apk_purl
from lkbuild.contents.text import homepage, line, name, word

DATABASES = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
"""Where the database lies; newer releases with a merged /usr have it at the second."""

_FIELDS = frozenset(b"PVAmoUL")


def parse(data: bytes, where: Distribution) -> tuple[list[Component], list[str]]:
    """The packages of an installed database, up to one more than are listed; and what is wrong with it, in words."""
    found, strange = list[Component](), 0
    record: dict[str, str] = {}
    for raw in chain(io.BytesIO(data), (b"",)):
        raw = raw.rstrip(b"\r\n")
        if len(found) > MAX_PACKAGES:
            break
        if not raw:
            if record:
                package = _component(record, where)
                if package is None:
                    strange += 1
                else:
                    found.append(package)
                record = {}
        elif raw[1:2] == b":" and raw[0] in _FIELDS:
            record.setdefault(chr(raw[0]), raw[2:].decode("utf-8", "replace"))
    said = f"{strange} records of apk's database have no name and version that could be read"
    return found, [said] if strange else []


def _component(record: dict[str, str], where: Distribution) -> Component | None:
    package, version, architecture = (word(record.get(key)) for key in "PVA")
    if not package or not version:
        return None
    return Component(
        type="apk",
        name=package,
        version=version,
        architecture=architecture,
        supplier=line(record.get("m")),
        source=name(record.get("o")) or package,
        homepage=homepage(record.get("U")),
        license=line(record.get("L")),
        purl=apk_purl(package, version, architecture, where),
    )
