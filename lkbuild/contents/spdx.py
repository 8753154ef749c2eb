"""A machine's contents as an SPDX 2.3 document in JSON (https://spdx.github.io/spdx-spec/v2.3/).

Relationships: the document DESCRIBES the machine, which CONTAINS its containers, its kernel and the images at its
root; a container CONTAINS its image, an image its packages.  Identifiers follow from what they name, the namespace from
all of it, and the time is fixed: two builds write the same bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lkbuild.contents.bill import (
    CREATED,
    Bill,
    Listed,
    container_id,
    image_id,
    is_container,
    package_id,
    part_of,
    title,
)
from lkbuild.contents.licenses import NONE, license_of
from lkbuild.contents.model import Component

_ADDRESS = re.compile(r"\s*<([^<>\s]+@[^<>\s]+)>\s*$")
_MANY = re.compile(
    r"\b(?:team|maintainers?|developers?|group|project|packagers|inc|ltd|foundation|qa)\b", re.IGNORECASE
)
_DOCUMENT = "SPDXRef-DOCUMENT"
_MACHINE = "SPDXRef-machine"


def document(bill: Bill) -> bytes:
    """The document, in UTF-8 with a newline at its end."""
    digest = bill.identity
    writer = _Writer(supplier(bill.supplier))
    writer.relate(_DOCUMENT, "DESCRIBES", _MACHINE)
    writer.add(
        _MACHINE,
        bill.name,
        f"sha256:{digest.hex}",
        primaryPackagePurpose="OPERATING-SYSTEM",
        comment=f"a machine for {bill.architecture}, made of {len(bill.images)} images",
    )
    if bill.kernel is not None:
        _kernel(writer, bill.kernel, supplier(bill.kernel_supplier))
    for image in bill.images:
        _image(writer, image)
    made = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": bill.name,
        "documentNamespace": f"https://spdx.org/spdxdocs/lkbuild-{part_of(bill.name)}-{digest.hex}",
        "creationInfo": {"created": CREATED, "creators": ["Tool: lkbuild"]},
        "packages": list(writer.packages.values()),
        "relationships": writer.relationships,
    }
    if writer.licenses:
        made["hasExtractedLicensingInfos"] = [
            {"licenseId": key, "extractedText": text, "name": text} for key, text in sorted(writer.licenses.items())
        ]
    return json.dumps(made, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


class _Writer:
    """Packages by identifier, each once; relationships; and the texts of licences that are not SPDX's.

    `supplier` is that of packages with no other.
    """

    def __init__(self, supplier: str) -> None:
        self.supplier = supplier
        self.packages: dict[str, dict[str, Any]] = {}
        self.relationships: list[dict[str, str]] = []
        self.licenses: dict[str, str] = {}

    def add(self, key: str, name: str, version: str, **more: Any) -> str:
        """A package; what is empty is left out.  Returns its identifier."""
        self.packages[key] = {
            "SPDXID": key,
            "name": name,
            "supplier": self.supplier,
            "downloadLocation": NONE,
            "filesAnalyzed": False,
            **{field: value for field, value in {"versionInfo": version, **more}.items() if value},
        }
        return key

    def relate(self, one: str, how: str, other: str, comment: str = "") -> None:
        """A relationship."""
        said = {"comment": comment} if comment else {}
        self.relationships.append({"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other, **said})


def _kernel(writer: _Writer, version: str, maker: str) -> None:
    cpe = kernel_cpe(version)
    key = writer.add(
        "SPDXRef-kernel",
        "linux",
        version,
        supplier=maker,
        primaryPackagePurpose="OPERATING-SYSTEM",
        externalRefs=[_external("SECURITY", "cpe23Type", cpe)] if cpe else [],
    )
    writer.relate(_MACHINE, "CONTAINS", key, "kernel")


def _image(writer: _Writer, image: Listed) -> None:
    name = image.used.image
    key = writer.add(
        f"SPDXRef-{image_id(image)}",
        name.name,
        str(image.digest),
        supplier=supplier(name.publisher) if name.publisher else "",
        primaryPackagePurpose="CONTAINER",
        sourceInfo=name.reference or "a package built with the machine",
        comment=image.comment,
        checksums=[{"algorithm": image.digest.algorithm.upper(), "checksumValue": image.digest.hex}],
        externalRefs=[_external("PACKAGE-MANAGER", "purl", image.purl)] if image.purl else [],
    )
    for place in image.used.places:
        if is_container(place):
            container = f"SPDXRef-{container_id(place)}"
            writer.add(container, title(place), str(image.digest), primaryPackagePurpose="APPLICATION", comment=place)
            writer.relate(_MACHINE, "CONTAINS", container, place)
            writer.relate(container, "CONTAINS", key)
        else:
            writer.relate(_MACHINE, "CONTAINS", key, place)
    for package in image.contents.packages:
        writer.relate(key, "CONTAINS", _package(writer, package))


def _package(writer: _Writer, package: Component) -> str:
    key = f"SPDXRef-package-{package_id(package)}"
    if key in writer.packages:
        return key
    license = license_of(package.license)
    writer.licenses.update(license.texts)
    algorithm, _, value = package.digest.partition(":")
    return writer.add(
        key,
        package.name,
        package.version,
        supplier=supplier(package.supplier),
        homepage=package.homepage,
        sourceInfo=f"built from the source package {package.source}" if package.source else "",
        licenseDeclared=license.expression,
        checksums=[{"algorithm": algorithm.upper(), "checksumValue": value}] if value else [],
        externalRefs=[_external("PACKAGE-MANAGER", "purl", package.purl)] if package.purl else [],
    )


def kernel_cpe(release: str) -> str:
    """The name vulnerabilities of a kernel are filed under (NISTIR 7695), by its upstream version.

    That is 6.1.0 of 6.1.0-18-amd64.  "" where the release does not begin with a version.
    """
    found = re.match(r"[0-9]+(?:\.[0-9]+)+", release)
    return f"cpe:2.3:o:linux:linux_kernel:{found[0]}:*:*:*:*:*:*:*" if found else ""


def supplier(text: str) -> str:
    """`Name <address>` as SPDX writes an agent (7.5); without an address, it is nobody in person."""
    name = _ADDRESS.sub("", text).replace("(", "").replace(")", "").strip()
    address = _ADDRESS.search(text)
    if not name:
        return f"Person: {address[1]}" if address else NONE
    kind = "Person" if address and not _MANY.search(name) else "Organization"
    return f"{kind}: {name}{f' ({address[1]})' if address else ''}"


def _external(category: str, kind: str, locator: str) -> dict[str, str]:
    return {"referenceCategory": category, "referenceType": kind, "referenceLocator": locator}
