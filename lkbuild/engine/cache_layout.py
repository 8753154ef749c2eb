"""A part of a cache as an OCI image layout, for other machines: what is the same in writing and reading one.

A layout (image-spec, image-layout.md) has one manifest for each machine: an artifact whose layers are the blobs of the
cache, and whose config says which results they belong to and which steps made those:

    {"format": 1, "machine": NAME, "results": [{"step": STEP, "result": RESULT}, ...]}

STEP is a recorded step (plan.recorded), RESULT what `store.values.plain_result` makes of its result.  The key of a
result is not there: it follows from the step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lkbuild.digest import Digest, canonical_plain
from lkbuild.frozen import frozen
from lkbuild.plan.recorded import RecordedStep
from lkbuild.store import Blob, Result
from lkbuild.store.values import plain_result, result_of

FORMAT = 1
ARTIFACT = "application/vnd.lkbuild.cache.v1"
CONFIG = "application/vnd.lkbuild.cache.config.v1+json"
BLOB = "application/octet-stream"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@frozen
class Exported:
    """A result and the step that made it."""

    step: RecordedStep
    result: Result

    def plain(self) -> dict[str, Any]:
        """As the config has it."""
        return {"step": json.loads(self.step.encode()), "result": plain_result(self.result)}

    @classmethod
    def of(cls, document: Any) -> Exported:
        """What `plain` made; ValueError, KeyError or TypeError where it is none."""
        return cls(RecordedStep.decode(canonical_plain(document["step"])), result_of(document["result"]))


def config_text(machine: str, exported: Iterable[Exported]) -> bytes:
    """The config of a manifest."""
    return canonical_plain({"format": FORMAT, "machine": machine, "results": [each.plain() for each in exported]})


def descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    """What refers to a blob (image-spec, descriptor.md)."""
    return {"mediaType": media_type, "digest": str(blob.digest), "size": blob.size}


def blob_of(described: Any, media_type: str) -> Blob:
    """The blob of a descriptor of this type; ValueError where it is none."""
    match described:
        case {"mediaType": str(given), "digest": str(digest), "size": int(size)} if size >= 0 and given == media_type:
            return Blob(Digest.parse(digest), size)
    raise ValueError(f"no descriptor of {media_type}: {described!r:.200}")


def manifest_text(machine: str, config: Blob, blobs: Iterable[Blob]) -> bytes:
    """The manifest of a machine (image-spec, manifest.md, "Guidelines for Artifact Usage")."""
    return canonical_plain(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(BLOB, blob) for blob in blobs],
            "annotations": {TITLE: machine},
        }
    )


def index_text(manifests: Iterable[tuple[str, Blob]]) -> bytes:
    """The layout's index.json; each manifest under a name."""
    described = [
        {**descriptor(MANIFEST, blob), "artifactType": ARTIFACT, "annotations": {NAME: name}}
        for name, blob in manifests
    ]
    return canonical_plain({"schemaVersion": 2, "mediaType": INDEX, "manifests": described})
