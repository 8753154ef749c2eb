"""The SBOM an image brings itself: an in-toto statement with an SPDX document, as BuildKit attaches it to an index.

https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md.  It is the claim of whoever built
the image, and is not signed; what of it can be said in a line of ours is taken over, the rest left.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lkbuild.contents.model import Component
from lkbuild.contents.text import homepage, line, name
from lkbuild.digest import Digest

MAX_BYTES = 16 << 20
"""The most bytes an attestation may have; those of images with a thousand packages have some 5 MB."""

PREDICATE = "https://spdx.dev/Document"
_STATEMENT = "https://in-toto.io/Statement/"
_PURL = re.compile(r"pkg:([a-z][a-z0-9.+-]*)/[\x21-\x7e]+")
_ARCHITECTURE = re.compile(r"[?&]arch=([A-Za-z0-9_-]+)")
_ACTOR = re.compile(r"(?:Organization|Person):\s*(.*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse(data: bytes, subject: Digest) -> tuple[list[Component], list[str]]:
    """The packages an attestation of the image `subject` (its manifest) lists; and what is wrong with it, in words.

    NB: the words get into documents, so that none are Python's, whose versions have other ones.
    """
    try:
        statement = json.loads(data)
    except (ValueError, RecursionError):
        return _left_aside("it is no JSON that can be read")
    try:
        if not str(statement["_type"]).startswith(_STATEMENT) or statement["predicateType"] != PREDICATE:
            raise ValueError(f"it is a {statement['predicateType']!r:.80}")
        subjects = [each["digest"].get(subject.algorithm) for each in statement["subject"]]
        if subject.hex not in subjects:
            raise ValueError(f"it is about {', '.join(map(str, subjects))[:200] or 'nothing'}, not about {subject}")
        packages = statement["predicate"]["packages"]
        found = [_component(each) for each in packages if isinstance(each, dict)]
    except KeyError as error:
        return _left_aside(f"it has no {error}")
    except (TypeError, AttributeError):
        return _left_aside("it does not have the form of a statement")
    except ValueError as error:
        return _left_aside(str(error))
    return [package for package in found if package is not None], []


def _left_aside(why: str) -> tuple[list[Component], list[str]]:
    return [], [f"the image's own SBOM is left aside: {line(why, 300)}"]


def _component(package: dict[str, Any]) -> Component | None:
    """A package of an SPDX document; None for one that has no name, version or purl, such as the image itself."""
    title, version, address = name(package.get("name")), name(package.get("versionInfo")), _purl(package)
    kind = _PURL.fullmatch(address)
    if not title or not version or kind is None or kind[1] == "oci":
        return None
    architecture = _ARCHITECTURE.search(address)
    supplier = _ACTOR.fullmatch(line(package.get("supplier")))
    declared = line(package.get("licenseDeclared"))
    return Component(
        type=kind[1],
        name=title,
        version=version,
        architecture=architecture[1] if architecture else "",
        supplier=re.sub(r"\(([^()\s]+@[^()\s]+)\)\s*$", r"<\1>", supplier[1]) if supplier else "",
        homepage=homepage(package.get("homepage")),
        license="" if declared in ("NOASSERTION", "NONE") else declared,
        digest=_digest(package),
        purl=address,
    )


def _purl(package: dict[str, Any]) -> str:
    for each in package.get("externalRefs") or ():
        if isinstance(each, dict) and each.get("referenceType") == "purl":
            return line(each.get("referenceLocator"))
    return ""


def _digest(package: dict[str, Any]) -> str:
    for each in package.get("checksums") or ():
        if isinstance(each, dict) and each.get("algorithm") == "SHA256":
            value = line(each.get("checksumValue")).lower()
            return f"sha256:{value}" if _SHA256.fullmatch(value) else ""
    return ""
