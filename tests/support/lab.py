"""A real registry with images of our own, that anybody may write to: where signatures are made, bent and verified."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from lkbuild.digest import Digest
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.signing import sign_image
from lkbuild.oci.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from lkbuild.reference import Reference
from lkbuild.sources import RegistryOptions
from lkbuild.sources.registry import home
from lkbuild.trust.bundle import MEDIA_TYPE
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.simple_signing import MEDIA_TYPE as CLASSIC
from lkbuild.trust.simple_signing import SIGNATURE
from tests.support.building import Built, run
from tests.support.layouts import layer
from tests.support.signing import load, new_key, text

_COUNT = itertools.count(1)


@dataclass
class Lab:
    """A repository of a registry of its own, with one image; two keys, of which `key.pub` is the trusted one."""

    host: str
    directory: Path
    data: Path
    repository: str = field(init=False)
    digest: Digest = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.repository = f"lab{next(_COUNT)}/app"
        self._pool = urllib3.PoolManager()
        self.key = load(new_key(self.directory / "key"))
        self.stranger = load(new_key(self.directory / "stranger"))
        self.digest = self.push("1", f"the app of {self.repository}".encode())

    # -- images --------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"{self.host}/{self.repository}"

    @property
    def reference(self) -> Reference:
        return Reference.parse(f"{self.name}:1")

    def push(self, tag: str, contents: bytes, repository: str | None = None) -> Digest:
        """An image with one file under `tag`."""
        return Digest.of(self.put(tag, self.image(contents, repository), OCI_MANIFEST, repository))

    def image(self, contents: bytes, repository: str | None = None) -> dict[str, Any]:
        """An image's manifest, its blobs pushed."""
        packed = layer([("app", contents)])
        diff_id = f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/app"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        return {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.blob(json.dumps(config).encode(), OCI_CONFIG, repository),
            "layers": [self.blob(packed, OCI_LAYER_GZIP, repository)],
        }

    def push_index(self, tag: str, contents: Iterable[bytes]) -> tuple[Digest, Digest]:
        """An index of images for amd64 and others; its digest, and that of the image for amd64."""
        entries = []
        for architecture, each in zip(("amd64", "arm64"), contents, strict=False):
            raw = self.put(None, self.image(each), OCI_MANIFEST)
            platform = {"os": "linux", "architecture": architecture}
            entries.append(
                {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(raw)), "size": len(raw), "platform": platform}
            )
        raw = self.put(tag, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX)
        return Digest.of(raw), Digest.parse(str(entries[0]["digest"]))

    def blob(self, data: bytes, media_type: str, repository: str | None = None) -> dict[str, Any]:
        """Push a blob; its descriptor."""
        base = f"http://{self.host}/v2/{repository or self.repository}"
        digest = str(Digest.of(data))
        place = self._pool.request("POST", f"{base}/blobs/uploads/").headers["Location"]
        answer = self._pool.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", body=data)
        assert answer.status == 201, answer.data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put(
        self, tag: str | None, document: Mapping[str, Any] | bytes, kind: str, repository: str | None = None
    ) -> bytes:
        """Push a manifest under a tag, or under its digest; its bytes."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        url = f"http://{self.host}/v2/{repository or self.repository}/manifests/{tag or Digest.of(raw)}"
        answer = self._pool.request("PUT", url, body=raw, headers={"Content-Type": kind})
        assert answer.status == 201, answer.data
        return raw

    def get(self, tag: str, repository: str | None = None) -> bytes:
        """A manifest."""
        url = f"http://{self.host}/v2/{repository or self.repository}/manifests/{tag}"
        return self._pool.request("GET", url, headers={"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}).data

    def stored(self, digest: Digest) -> Path:
        """Where the registry keeps a blob or a manifest on its disk."""
        return self.data / "docker/registry/v2/blobs/sha256" / digest.hex[:2] / digest.hex / "data"

    # -- signatures ----------------------------------------------------------------------------------------------------

    def sign(self, key: PrivateKey | None = None, form: str = "both", reference: Reference | None = None) -> None:
        """Sign as `lkbuild sign` does."""
        registry = home(RegistryOptions())
        list(sign_image(registry, reference or self.reference, key or self.key, form))  # type: ignore[arg-type]
        registry.close()

    def classic(self, payload: bytes, signature: bytes | None = None) -> None:
        """Put a payload where classic signatures lie, signed with the trusted key if no signature is given."""
        signed = {SIGNATURE: text(signature or self.key.sign(payload, classic=True))}
        entry = self.blob(payload, CLASSIC) | {"annotations": signed}
        self.signature_manifest([entry])

    def signature_manifest(self, layers: list[dict[str, Any]], **more: Any) -> None:
        config = self.blob(b"{}", OCI_CONFIG)
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers, **more}
        self.put(f"sha256-{self.digest.hex}.sig", document, OCI_MANIFEST)

    def bundle(self, bundle: Mapping[str, Any] | bytes, subject: Digest | None = None) -> None:
        """Put a bundle where referrers are listed."""
        raw = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": MEDIA_TYPE,
            "config": self.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(raw, MEDIA_TYPE)],
            "subject": {"mediaType": OCI_MANIFEST, "digest": str(subject or self.digest), "size": 1},
        }
        manifest = self.put(None, document, OCI_MANIFEST)
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": str(Digest.of(manifest)),
            "size": len(manifest),
            "artifactType": MEDIA_TYPE,
        }
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        self.put(f"sha256-{self.digest.hex}", index, OCI_INDEX)

    # -- builds --------------------------------------------------------------------------------------------------------

    def spec(self, trust: str | None = None, image: str | None = None) -> Path:
        """A spec of the image whose trust section wants it signed by the trusted key, or says `trust`."""
        path = self.directory / "machine.yml"
        wanted = trust if trust is not None else f"{{image: ['{self.name}'], keys: [key.pub]}}"
        path.write_text(f"init:\n- {image or self.reference}\n" + (f"trust: {wanted}\n" if wanted else ""))
        return path

    def options(self, spec: Path | None = None, **more: Any) -> BuildOptions:
        given: dict[str, Any] = {
            "machines": ((spec or self.spec(),),),
            "formats": ("tar",),
            "directory": self.directory / "out",
            "cache": self.directory / "cache",
            **more,
        }
        return BuildOptions(**given)

    def build(self, spec: Path | None = None, **more: Any) -> Built:
        """Build the spec."""
        return run(self.options(spec, **more), RegistryOptions(attempts=2, first_wait=0.01))
