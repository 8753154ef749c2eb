"""Putting signatures beside an image in its registry, so that `sources.signatures` and cosign find them."""

from __future__ import annotations

import json
from typing import Any

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.document import parse_object
from lkbuild.oci.image import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor
from lkbuild.oci.referrers import (
    EMPTY,
    EMPTY_TYPE,
    Artifact,
    Referrer,
    artifact_manifest,
    descriptor_json,
    parse_referrers,
    referrers_index,
    referrers_tag,
)
from lkbuild.reference import Reference
from lkbuild.sources.signatures import MAX_MANIFEST, PREDICATE, signature_tag
from lkbuild.sources.source import AbsentError, Source
from lkbuild.sources.upload import Upload
from lkbuild.trust import bundle, simple_signing
from lkbuild.trust.statement import SIGN

_TRIES = 5
"""How often a tag is written that others write too, until it holds what was added."""


def attach_classic(source: Source, upload: Upload, reference: Reference, signed: tuple[Digest, bytes, str]) -> str:
    """Add a classic signature of an image (its digest, the payload, the signature in base64); returns where it lies.

    What the tag holds already stays, whoever signed it.
    """
    digest, payload, signature = signed
    place = Reference(reference.registry, reference.repository, signature_tag(digest))
    layer = upload.blob(place, simple_signing.MEDIA_TYPE, payload)
    mine = descriptor_json(layer) | {"annotations": {simple_signing.SIGNATURE: signature}}

    def add() -> bytes:
        layers = [each for each in _layers(source, place) if each != mine]
        layers.append(mine)
        config = {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in layers]},
        }
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor_json(upload.blob(place, OCI_CONFIG, json.dumps(config).encode())),
            "layers": layers,
        }
        return json.dumps(document).encode()

    for _ in range(_TRIES):
        upload.manifest(place, OCI_MANIFEST, add())
        if mine in _layers(source, place):
            return f"tag {place.tag}"
    raise _lost(place)


def attach_bundle(source: Source, upload: Upload, reference: Reference, signed: tuple[Descriptor, bytes]) -> str:
    """Add a bundle that refers to an image (what points at it, the bundle); returns how it is found.

    Where the registry does not list it by itself, the referrers tag does (distribution-spec 1.1, "Pushing Manifests
    with Subject").
    """
    subject, data = signed
    place = Reference(reference.registry, reference.repository, None, subject.digest)
    layer = upload.blob(place, bundle.MEDIA_TYPE, data)
    upload.blob(place, EMPTY_TYPE, EMPTY)
    notes = (("dev.sigstore.bundle.content", "dsse-envelope"), (PREDICATE, SIGN))
    what = Referrer(Descriptor(OCI_MANIFEST, layer.digest, 0, None, notes), bundle.MEDIA_TYPE)
    raw = artifact_manifest(what, layer, subject)
    mine = Referrer(Descriptor(OCI_MANIFEST, Digest.of(raw), len(raw), None, notes), bundle.MEDIA_TYPE)
    if upload.manifest(place, OCI_MANIFEST, raw):
        return "referrers API"
    if _has_api(source, place, subject.digest):
        return "referrers API"
    tag = Reference(reference.registry, reference.repository, referrers_tag(subject.digest))
    for _ in range(_TRIES):
        listed = tuple(each for each in _listed(source, tag) if each.descriptor.digest != mine.descriptor.digest)
        upload.manifest(tag, OCI_INDEX, referrers_index((*listed, mine)))
        if any(each.descriptor.digest == mine.descriptor.digest for each in _listed(source, tag)):
            return f"tag {tag.tag}"
    raise _lost(tag)


def _has_api(source: Source, place: Reference, digest: Digest) -> bool:
    """Whether the registry lists referrers; one that answers anything but a list does not."""
    try:
        return source.referrers(place, digest, bundle.MEDIA_TYPE) is not None
    except ImageError:
        return False


def _lost(place: Reference) -> ImageError:
    return ImageError(f"{place} does not hold what was added to it", "does somebody else sign this image? try again")


def _layers(source: Source, place: Reference) -> list[dict[str, Any]]:
    """The layers of the manifest of signatures, just as they are there; ImageError where the tag is something else."""
    try:
        raw = source.find(place, None).raw
    except AbsentError:
        return []
    if any(layer.media_type != simple_signing.MEDIA_TYPE for layer in Artifact.parse(raw, MAX_MANIFEST).layers):
        raise ImageError(f"{place} is there, and is no manifest of signatures", "it is left as it is")
    return list(parse_object(raw, MAX_MANIFEST, str(place))["layers"])


def _listed(source: Source, place: Reference) -> tuple[Referrer, ...]:
    try:
        return parse_referrers(source.find(place, None).raw)
    except AbsentError:
        return ()
