"""Volumes: the directories init mounts, and images kept whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lkbuild.archive.entry import Entry, path_bytes
from lkbuild.plan.kinds import VolumeDirectories, VolumeLayout
from lkbuild.steps.segment import segment
from lkbuild.steps.work import Work

_CHUNK = 1 << 18


def volume_directories(params: VolumeDirectories, work: Work) -> None:
    """Writes `segment` and `index`: `lower` where no image fills it, `tmp` and `merged`."""
    root = f"containers/volumes/{params.name}"
    with segment(params.segment, work) as sink:
        sink.directories(path_bytes(root))
        for name in ("lower", "tmp", "merged") if params.blank else ("tmp", "merged"):
            sink.add(Entry(path_bytes(f"{root}/{name}"), "directory", 0o755))


def volume_layout(params: VolumeLayout, work: Work) -> None:
    """Writes `segment` and `index`: the image as an OCI layout (image-spec image-layout.md) in `lower`."""
    root = f"containers/volumes/{params.name}/lower"
    small = (("index.json", params.index.encode()), ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'))
    with segment(params.segment, work) as sink:
        sink.directories(path_bytes(root))
        for name, data in small:
            sink.add(Entry(path_bytes(f"{root}/{name}"), "file", 0o644, size=len(data)), [data])
        for item in sorted(work.numbered("blob"), key=lambda item: item.blob):
            place = f"{root}/blobs/{item.blob.digest.algorithm}"
            sink.directories(path_bytes(place))
            entry = Entry(path_bytes(f"{place}/{item.blob.digest.hex}"), "file", 0o644, size=item.blob.size)
            sink.add(entry, _chunks(item.path))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
