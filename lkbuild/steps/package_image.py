"""The documents of a package's image: config and manifest (image-spec config.md, manifest.md)."""

from __future__ import annotations

import json
from typing import Any

from lkbuild.digest import Digest, canonical
from lkbuild.oci.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from lkbuild.packages.params import ImageDocuments
from lkbuild.steps.work import Work

_CREATED = "2017-04-18T16:30:00Z"
"""FIXED_TIME as a config writes it."""


def image_documents(params: ImageDocuments, work: Work) -> None:
    """Outputs `config` and `manifest` of the image whose layers are the inputs `layer<N>`, the lowest first.

    Layers are uncompressed, so that a layer's digest is its diff_id as well.
    """
    layers = [item.blob for item in work.numbered("layer")]
    run: dict[str, Any] = {
        "Entrypoint": params.run.entrypoint, "Cmd": params.run.cmd, "Env": params.run.env,
        "WorkingDir": params.run.working_dir, "Labels": dict(params.labels),
    }  # fmt: skip
    config = canonical(
        {
            "architecture": params.architecture,
            "config": {name: value for name, value in run.items() if value},
            "created": _CREATED,
            "os": "linux",
            "rootfs": {"diff_ids": tuple(layer.digest for layer in layers), "type": "layers"},
        }
    )
    manifest = {
        "config": {"digest": str(Digest.of(config)), "mediaType": OCI_CONFIG, "size": len(config)},
        "layers": [{"digest": str(b.digest), "mediaType": OCI_LAYER, "size": b.size} for b in layers],
        "mediaType": OCI_MANIFEST,
        "schemaVersion": 2,
    }
    work.output("config").write_bytes(config)
    work.output("manifest").write_bytes(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
