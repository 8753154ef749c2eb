"""A root filesystem as an OCI image layout (image-spec 1.1, image-layout.md): one image, its layers not compressed.

A layer's digest is that of a file which is only written when the layout is: its bytes are read once to know it.
"""

from __future__ import annotations

from typing import Any

from lkbuild.digest import Digest, canonical
from lkbuild.disk.extents import Data
from lkbuild.plan.media_kinds import OciLayout
from lkbuild.steps.oci_layers import layers
from lkbuild.steps.provenance import digest_of
from lkbuild.steps.rootfs import refer
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe, Tree

_TYPE = "application/vnd.oci.image"
_CREATED = "2017-04-18T16:30:00Z"
"""`archive.entry.FIXED_TIME` as text."""


def oci_layout(params: OciLayout, work: Work) -> None:
    """Writes `tree`."""
    files: dict[str, Recipe] = {}
    found = layers(Recipe.decode(work.input("tar").read_bytes()), work.store.open_blob)
    described = [_blob(files, f"{_TYPE}.layer.v1.tar", layer, digest_of(layer, work)) for layer in found]
    config = {
        "architecture": params.architecture,
        "config": {"Entrypoint": ["/bin/rc.init"], "WorkingDir": "/"},
        "created": _CREATED,
        "history": [{"created": _CREATED, "created_by": "lkbuild"} for _ in described],
        "os": "linux",
        "rootfs": {"diff_ids": [layer["digest"] for layer in described], "type": "layers"},
    }
    manifest = {
        "config": _document(files, f"{_TYPE}.config.v1+json", config),
        "layers": described,
        "mediaType": f"{_TYPE}.manifest.v1+json",
        "schemaVersion": 2,
    }
    head = {
        **_document(files, f"{_TYPE}.manifest.v1+json", manifest),
        "annotations": {"org.opencontainers.image.ref.name": f"{params.name}:latest"},
        "platform": {"architecture": params.architecture, "os": "linux"},
    }
    index = {"manifests": [head], "mediaType": f"{_TYPE}.index.v1+json", "schemaVersion": 2}
    files["oci-layout"] = Recipe.of([Data(canonical({"imageLayoutVersion": "1.0.0"}))])
    files["index.json"] = Recipe.of([Data(canonical(index))])
    refer(files.values(), work)
    work.output("tree").write_bytes(Tree(files).encode())


def _document(files: dict[str, Recipe], media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    data = canonical(document)
    return _blob(files, media_type, Recipe.of([Data(data)]), Digest.of(data))


def _blob(files: dict[str, Recipe], media_type: str, recipe: Recipe, digest: Digest) -> dict[str, Any]:
    """Add a blob to the layout; returns its descriptor."""
    files[f"blobs/sha256/{digest.hex}"] = recipe
    return {"digest": str(digest), "mediaType": media_type, "size": recipe.size}
