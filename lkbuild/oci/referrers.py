"""What refers to an image: signatures, attestations and the like (image-spec 1.1 `subject`, distribution-spec 1.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lkbuild.digest import Digest
from lkbuild.frozen import frozen
from lkbuild.oci.document import Fields, parse_object
from lkbuild.oci.image import MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
"""What a manifest that needs no config has for one (image-spec manifest.md, "Guidance for an Empty Descriptor")."""


@frozen
class Referrer:
    """A manifest that refers to an image, as lists of referrers have it."""

    descriptor: Descriptor
    artifact_type: str


@frozen
class Artifact:
    """What of a manifest that is no image matters: what it is, what it refers to, and what it holds."""

    artifact_type: str
    subject: Digest | None
    layers: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, raw: bytes, limit: int = MAX_MANIFEST) -> Artifact:
        """The manifest in `raw`; ImageError if it is none, or larger than `limit`."""
        fields = Fields(parse_object(raw, limit, "artifact manifest"), "artifact manifest")
        subject = Descriptor.of(fields.object("subject")).digest if fields.has("subject") else None
        artifact_type = fields.text("artifactType") or fields.object("config").text("mediaType") or ""
        return cls(artifact_type, subject, tuple(map(Descriptor.of, fields.objects("layers"))))


def referrers_tag(digest: Digest) -> str:
    """The tag that lists what refers to `digest` where a registry has no API for it."""
    return f"{digest.algorithm}-{digest.hex}"


def parse_referrers(raw: bytes) -> tuple[Referrer, ...]:
    """The entries of a list of referrers, an image index; ImageError if it is none."""
    fields = Fields(parse_object(raw, MAX_MANIFEST, "list of referrers"), "list of referrers")
    return tuple(
        Referrer(Descriptor.of(entry), entry.text("artifactType") or "") for entry in fields.objects("manifests")
    )


def referrers_index(entries: Iterable[Referrer]) -> bytes:
    """The list of referrers that a tag holds."""
    manifests = []
    for entry in entries:
        manifest: dict[str, Any] = descriptor_json(entry.descriptor) | {"artifactType": entry.artifact_type}
        if entry.descriptor.annotations:
            manifest["annotations"] = dict(entry.descriptor.annotations)
        manifests.append({name: value for name, value in manifest.items() if value})
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


def artifact_manifest(what: Referrer, layer: Descriptor, subject: Descriptor) -> bytes:
    """The manifest of an artifact of one layer that refers to `subject`; of `what`, type and annotations count."""
    config = Descriptor(EMPTY_TYPE, Digest.of(EMPTY), len(EMPTY))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": what.artifact_type,
        "config": descriptor_json(config),
        "layers": [descriptor_json(layer)],
        "subject": descriptor_json(subject),
        "annotations": dict(what.descriptor.annotations),
    }
    return json.dumps(document).encode()


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor's media type, digest and size."""
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}
