"""Archives that `docker save` writes, or that others write in its format, without an OCI layout in them.

Format (moby image/tarexport, image/spec/v1.2): manifest.json lists the images, each with the name of its config, its
tags and the names of its layers, which are plain tars (some programs compress them).  There is no image manifest, so
one is made: canonical JSON with OCI's media types, so that the same archive always gives the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from threading import Lock

from lkbuild.digest import CHUNK, Digest, canonical
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.oci.image import (
    MAX_CONFIG,
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Platform,
)
from lkbuild.reference import Reference
from lkbuild.sources.layout import copy_blob, same_name
from lkbuild.sources.source import AbsentError, Document, Progress, Source, quiet
from lkbuild.sources.tree import Tree, read
from lkbuild.sources.verify import checked

_MAGIC = {b"\x1f\x8b": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD}


@frozen
class Saved:
    """One image of a manifest.json: the names of its files and its tags."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


@frozen
class _Made:
    """A manifest that was made, and where the blobs it names lie."""

    document: Document
    members: tuple[tuple[Digest, str], ...]


class DockerArchive(Source):
    """The images of a `docker save` archive.  `any_name` takes its one image for whatever is asked for."""

    def __init__(self, tree: Tree, kind: str = "docker archive", any_name: bool = False) -> None:
        self._tree = tree
        self._kind = kind
        self._any_name = any_name
        self._saved = read_manifest(tree)
        self._made: dict[Saved, _Made] = {}
        self._lock = Lock()

    def describe(self) -> str:
        """See Source."""
        return f"{self._kind} {self._tree.path}"

    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        """See Source."""
        return f"{self._kind} {self._tree.stamp()}"

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """See Source.  A digest can only be that of the manifest made here."""
        for saved in self._saved:
            named = self._any_name or any(same_name(tag, reference) for tag in saved.tags)
            if reference.digest is None and named:
                return self._make(saved).document
            if reference.digest and self._make(saved).document.digest == reference.digest:
                return self._make(saved).document
        if reference.digest:
            raise AbsentError("a docker save archive does not keep the digests of a registry", "ask for the tag alone")
        tags = [tag for saved in self._saved for tag in saved.tags]
        raise AbsentError(f"holds no image of this name, only {', '.join(tags[:5]) or 'images without a tag'}")

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """See Source."""
        name = self._member(reference, descriptor)
        return checked(read(self._tree, name, limit), descriptor, f"{self._tree.path}: {name}")

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """See Source."""
        copy_blob(self._tree, self._member(reference, descriptor), descriptor, into, progress)

    def _member(self, reference: Reference, descriptor: Descriptor) -> str:
        for saved in self._saved:
            for digest, name in self._make(saved).members:
                if digest == descriptor.digest:
                    return name
        raise AbsentError(f"{self.describe()} does not hold the blob {descriptor.digest} of {reference}")

    def _make(self, saved: Saved) -> _Made:
        with self._lock:
            if saved not in self._made:
                self._made[saved] = self._manifest(saved)
            return self._made[saved]

    def _manifest(self, saved: Saved) -> _Made:
        """The manifest of an image, made from its config and what its layers are."""
        raw = read(self._tree, saved.config, MAX_CONFIG)
        config, digest = ImageConfig.from_config(raw), Digest.of(raw)
        stem = PurePosixPath(saved.config).stem
        if len(stem) == 64 and stem != digest.hex:
            raise ImageError(
                f"{self._tree.path}: {saved.config}: got {digest}, want sha256:{stem} after {len(raw)} bytes"
            )
        if len(config.diff_ids) != len(saved.layers):
            raise ImageError(
                f"{self._tree.path}: {saved.config} has {len(config.diff_ids)} diff_ids for {len(saved.layers)} layers"
            )
        layers = [self._layer(*pair) for pair in zip(saved.layers, config.diff_ids, strict=True)]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _json(Descriptor(OCI_CONFIG, digest, len(raw))),
            "layers": [_json(layer) for layer in layers],
        }
        text = canonical(manifest)
        members = [(digest, saved.config), *zip((layer.digest for layer in layers), saved.layers, strict=True)]
        return _Made(Document(text, OCI_MANIFEST, Digest.of(text)), tuple(members))

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        """A layer's descriptor: a plain tar's digest is its diff_id, a compressed one is hashed."""
        size = self._tree.size(name)
        if size is None:
            raise ImageError(f"{self._tree.path}: the layer {name!r:.200} is not in it", "is the archive complete?")
        with self._tree.open(name) as file:
            head = file.read(4)
            media_type = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), OCI_LAYER)
            if media_type == OCI_LAYER:
                return Descriptor(media_type, diff_id, size)
            hasher = hashlib.sha256(head)
            while data := file.read(CHUNK):
                hasher.update(data)
        return Descriptor(media_type, Digest("sha256", hasher.hexdigest()), size)


def read_manifest(tree: Tree) -> tuple[Saved, ...]:
    """The images manifest.json lists; ImageError where it is not such a list."""
    raw = read(tree, "manifest.json", MAX_MANIFEST)
    try:
        return tuple(_saved(entry) for entry in json.loads(raw))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageError(f"{tree.path}: manifest.json is not what docker save writes: {error!r:.200}") from error


def _saved(entry: dict[str, object]) -> Saved:
    config, layers, tags = entry["Config"], entry["Layers"] or [], entry.get("RepoTags") or []
    if not isinstance(config, str) or not isinstance(layers, list) or not isinstance(tags, list):
        raise TypeError("Config, Layers or RepoTags are of the wrong kind")
    if not all(isinstance(text, str) for text in (*layers, *tags)):
        raise TypeError("Layers and RepoTags are texts")
    return Saved(config, tuple(layers), tuple(tags))


def _json(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}
