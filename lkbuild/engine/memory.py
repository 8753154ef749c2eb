"""What registries, apt and the Docker daemon's builder said, as the store remembers it, and what stamps see of that."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lkbuild.digest import Digest, identity, plain
from lkbuild.engine.stamp import Signature, signature
from lkbuild.errors import LkbuildError
from lkbuild.lock import read_deb
from lkbuild.oci.image import Descriptor, ImageConfig, Manifest, Platform
from lkbuild.packages.debian import Deb, DebianRequest
from lkbuild.reference import Reference
from lkbuild.sources import Document, Image, Images
from lkbuild.sources.verify import digest_like
from lkbuild.store import Result, Store

_VERSIONS = {"reference": 2, "images": 2, "debian": 1}
_NEVER: Signature = [0]
"""The signature of nothing: a record that others replaced meanwhile makes no stamp hold."""
_WRONG_SHAPE = (LkbuildError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)


class Memory:
    """Answers by key, in the store's results.  Other processes may renew them at any time.  Threads may share one."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[Digest, Signature] = {}

    def images(self, key: Digest, reference: Reference) -> Images | None:
        """The images kept under `key`; None where there are none, or what is there is not understood."""
        result = self._recall(key)
        try:
            return None if result is None else _decode(self.store, reference, result)
        except _WRONG_SHAPE:
            return None

    def keep_images(self, key: Digest, found: Images) -> None:
        """Remember images."""
        self._keep(key, _encode(self.store, found))

    def debs(self, key: Digest) -> tuple[Deb, ...] | None:
        """The Debian packages kept under `key`; None where there are none, or what is there is not understood."""
        result = self._recall(key)
        try:
            return None if result is None else tuple(map(read_deb, json.loads(self.store.read(result["debs"].digest))))
        except _WRONG_SHAPE:
            return None

    def keep_debs(self, key: Digest, debs: Iterable[Deb]) -> None:
        """Remember Debian packages."""
        blob = self.store.add(json.dumps([plain(deb) for deb in debs], sort_keys=True).encode())
        self._keep(key, Result((("debs", blob),)))

    def used(self, key: Digest, result: Result) -> None:
        """Note that `result` is what this build goes by, if it is what is on record."""
        seen = signature(str(self.store.result_path(key)))
        self._seen[key] = seen if self.store.recorded(key) == result else _NEVER

    def record(self, key: Digest) -> tuple[Path, Signature]:
        """The file of the store that holds the answer, and its signature from before it was read."""
        return self.store.result_path(key), self._seen.get(key, _NEVER)

    def _recall(self, key: Digest) -> Result | None:
        self.store.touch(key)
        seen = signature(str(self.store.result_path(key)))
        result = self.store.result(key)
        if result is not None:
            self._seen[key] = seen
        return result

    def _keep(self, key: Digest, result: Result) -> None:
        self.store.record(key, result)
        self.used(key, result)


def image_key(reference: Reference, platform: Platform) -> Digest:
    """The key of one platform's image."""
    return _key("reference", reference=str(reference), platform=str(platform))


def images_key(reference: Reference, platforms: Iterable[Platform]) -> Digest:
    """The key of the images of several platforms, of all where none is named."""
    return _key("images", reference=str(reference), platforms=tuple(map(str, platforms)))


def debian_key(request: DebianRequest) -> Digest:
    """The key of what a request for Debian packages means."""
    return _key("debian", request=request)


def _key(kind: str, **facts: object) -> Digest:
    return identity({"kind": kind, "version": _VERSIONS[kind], **facts})


def _encode(store: Store, found: Images) -> Result:
    outputs = []
    for n, document in enumerate(found.documents):
        outputs.append((f"document{n}", store.add(document.raw)))
    for n, image in enumerate(found.images):
        outputs += [(f"manifest{n}", store.add(image.manifest)), (f"config{n}", store.add(image.config))]
    facts = {
        "source": found.source,
        "documents": [{"media_type": d.media_type, "digest": str(d.digest)} for d in found.documents],
        "images": [
            {
                "media_type": image.media_type,
                "digest": str(image.digest),
                "index": str(image.index) if image.index else None,
                "source": image.source,
                "sboms": [[each.media_type, str(each.digest), each.size] for each in image.sboms],
            }
            for image in found.images
        ],
    }
    return Result((*outputs, ("facts", store.add(json.dumps(facts, sort_keys=True).encode()))))


def _decode(store: Store, reference: Reference, result: Result) -> Images:
    facts = json.loads(store.read(result["facts"].digest))
    documents = tuple(
        Document(store.read(result[f"document{n}"].digest), str(about["media_type"]), Digest.parse(about["digest"]))
        for n, about in enumerate(facts["documents"])
    )
    for document in documents:
        if digest_like(document.raw, document.digest) != document.digest:
            raise ValueError(f"the index {document.digest} is another")
    images = []
    for n, about in enumerate(facts["images"]):
        manifest, config = (store.read(result[f"{name}{n}"].digest) for name in ("manifest", "config"))
        parsed = ImageConfig.from_config(config)
        named, described = Digest.parse(about["digest"]), Manifest.parse(manifest, about["media_type"])
        if (
            digest_like(manifest, named) != named
            or digest_like(config, described.config.digest) != described.config.digest
        ):
            raise ValueError(f"the manifest or the config of {named} is another")
        images.append(
            Image(
                reference=reference,
                digest=named,
                index=Digest.parse(about["index"]) if about["index"] else None,
                media_type=str(about["media_type"]),
                manifest=manifest,
                config=config,
                platform=parsed.platform,
                layers=described.layers,
                diff_ids=parsed.diff_ids,
                source=str(about["source"]),
                sboms=tuple(Descriptor(a[0], Digest.parse(a[1]), int(a[2])) for a in about["sboms"]),
            )
        )
    return Images(reference, documents, tuple(images), str(facts["source"]))
