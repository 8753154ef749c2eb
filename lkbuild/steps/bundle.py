"""A container's bundle: config.json, runtime.json and the empty directories init mounts over."""

from __future__ import annotations

from lkbuild.archive.entry import Entry, path_bytes
from lkbuild.oci.config import Place, bundle_documents
from lkbuild.plan.kinds import Bundle
from lkbuild.steps.segment import segment
from lkbuild.steps.work import Work


def bundle(params: Bundle, work: Work) -> None:
    """Writes `segment` and `index`."""
    place = Place(params.directory, params.root, params.readonly)
    documents = bundle_documents(params.entry, params.image, place, dict(params.ids), dict(params.volumes))
    with segment(params.segment, work) as sink:
        sink.directories(path_bytes(params.directory))
        for name, data in zip(("config.json", "runtime.json"), documents, strict=True):
            sink.add(Entry(path_bytes(f"{params.directory}/{name}"), "file", 0o644, size=len(data)), [data])
        for name in ("rootfs",) if params.readonly else ("rootfs", "tmp"):
            sink.add(Entry(path_bytes(f"{params.directory}/{name}"), "directory", 0o755))
