"""Volumes: the directories init mounts, and images kept whole."""

from __future__ import annotations

import json

from lkbuild.archive.entry import Entry, path_bytes
from lkbuild.oci.document import Fields, parse_object
from lkbuild.oci.image import MAX_MANIFEST, OCI_MANIFEST
from lkbuild.plan.kinds import VolumeDirectories, VolumeLayout
from lkbuild.steps.segment import segment
from lkbuild.steps.work import InputFile, Work


def volume_directories(params: VolumeDirectories, work: Work) -> None:
    """Writes `segment` and `index`: `lower` where no image fills it, `tmp` and `merged`."""
    root = f"containers/volumes/{params.name}"
    with segment(params.segment, work) as sink:
        sink.directories(path_bytes(root))
        for name in ("lower", "tmp", "merged") if params.blank else ("tmp", "merged"):
            sink.add(Entry(path_bytes(f"{root}/{name}"), "directory", 0o755))


def volume_layout(params: VolumeLayout, work: Work) -> None:
    """Writes `segment` and `index`: the image as an OCI layout (image-spec image-layout.md) in `lower`."""
    index = params.index.encode() or _index(work.inputs["manifest"])
    root = f"containers/volumes/{params.name}/lower"
    small = (("index.json", index), ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'))
    with segment(params.segment, work) as sink:
        sink.directories(path_bytes(root))
        for name, data in small:
            sink.add(Entry(path_bytes(f"{root}/{name}"), "file", 0o644, size=len(data)), [data])
        for item in sorted({item.blob: item for item in work.numbered("blob")}.values(), key=lambda item: item.blob):
            place = f"{root}/blobs/{item.blob.digest.algorithm}"
            sink.directories(path_bytes(place))
            entry = Entry(path_bytes(f"{place}/{item.blob.digest.hex}"), "file", 0o644, size=item.blob.size)
            sink.add(entry, item.chunks())


def _index(manifest: InputFile) -> bytes:
    """The index.json that lists one image."""
    with manifest.path.open("rb") as file:
        raw = file.read(MAX_MANIFEST + 1)
    fields = Fields(parse_object(raw, MAX_MANIFEST, "the image's manifest"), "the image's manifest")
    entry = {
        "mediaType": fields.text("mediaType") or OCI_MANIFEST,
        "digest": str(manifest.blob.digest),
        "size": manifest.blob.size,
    }
    return json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
