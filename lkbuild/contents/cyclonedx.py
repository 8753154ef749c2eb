"""A machine's contents as a CycloneDX 1.6 document in JSON (https://cyclonedx.org/docs/1.6/json/).

`dependencies` tells what is in what: the machine's are its containers and the images at its root, a container's its
image, an image's its packages.
"""

from __future__ import annotations

import json
from typing import Any

from lkbuild.contents.bill import CREATED, Bill, Listed, container_id, image_id, is_container, package_id, title
from lkbuild.contents.licenses import KNOWN, NONE, license_of
from lkbuild.contents.model import Component
from lkbuild.contents.spdx import kernel_cpe, supplier
from lkbuild.digest import Digest

_MACHINE = "machine"


def document(bill: Bill) -> bytes:
    """The document, in UTF-8 with a newline at its end."""
    components: dict[str, dict[str, Any]] = {}
    inside: dict[str, list[str]] = {_MACHINE: []}
    if bill.kernel is not None:
        components["kernel"] = _component("operating-system", "kernel", "linux", bill.kernel)
        components["kernel"]["supplier"] = {"name": supplier(bill.kernel_supplier).partition(": ")[2]}
        if bill.kernel:
            components["kernel"]["cpe"] = kernel_cpe(bill.kernel)
        inside[_MACHINE].append("kernel")
    for image in bill.images:
        _image(image, components, inside)
    digest = bill.identity
    made = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_uuid(digest)}",
        "version": 1,
        "metadata": {
            "timestamp": CREATED,
            "tools": {"components": [{"type": "application", "name": "lkbuild"}]},
            "component": {
                **_component("operating-system", _MACHINE, bill.name, f"sha256:{digest.hex}"),
                "supplier": {"name": bill.supplier},
            },
        },
        "components": list(components.values()),
        "dependencies": [
            {"ref": key, "dependsOn": list(dict.fromkeys(inside.get(key, ())))} for key in (_MACHINE, *components)
        ],
    }
    return json.dumps(made, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def _uuid(digest: Digest) -> str:
    """A UUID of version 8, whose bits are ours to choose (RFC 9562, 5.8)."""
    text = digest.hex
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def _component(kind: str, key: str, name: str, version: str) -> dict[str, Any]:
    return {"type": kind, "bom-ref": key, "name": name, **({"version": version} if version else {})}


def _image(image: Listed, components: dict[str, dict[str, Any]], inside: dict[str, list[str]]) -> None:
    name, key = image.used.image, image_id(image)
    made = _component("container", key, name.name, str(image.digest))
    made["description"] = image.comment
    if name.publisher:
        made["supplier"] = {"name": name.publisher}
    made["hashes"] = [{"alg": _ALGORITHMS[image.digest.algorithm], "content": image.digest.hex}]
    if image.purl:
        made["purl"] = image.purl
    components[key] = made
    for place in image.used.places:
        if is_container(place):
            ref = container_id(place)
            components[ref] = _component("application", ref, title(place), str(image.digest))
            components[ref]["properties"] = [{"name": "lkbuild:place", "value": place}]
            inside[_MACHINE].append(ref)
            inside[ref] = [key]
        else:
            made.setdefault("properties", []).append({"name": "lkbuild:place", "value": place})
            inside[_MACHINE].append(key)
    inside[key] = [_package(package, components) for package in image.contents.packages]


_ALGORITHMS = {"sha256": "SHA-256", "sha512": "SHA-512"}


def _package(package: Component, components: dict[str, dict[str, Any]]) -> str:
    key = package_id(package)
    if key in components:
        return key
    made = components[key] = _component("library", key, package.name, package.version)
    agent = supplier(package.supplier).partition(": ")[2]
    if agent:
        made["supplier"] = {"name": agent}
    algorithm, _, value = package.digest.partition(":")
    if value:
        made["hashes"] = [{"alg": _ALGORITHMS[algorithm], "content": value}]
    license = license_of(package.license)
    if license.expression in KNOWN:
        made["licenses"] = [{"license": {"id": license.expression}}]
    elif license.texts:
        made["licenses"] = [{"license": {"name": package.license}}]
    elif license.expression != NONE:
        made["licenses"] = [{"expression": license.expression}]
    if package.purl:
        made["purl"] = package.purl
    if package.homepage:
        made["externalReferences"] = [{"type": "website", "url": package.homepage}]
    return key
