"""OCI layouts made for a test: images of as many bytes as wanted, the same ones every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterable
from pathlib import Path

GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def content(seed: str, size: int) -> bytes:
    """`size` bytes that compress to about a third, as programs do."""
    source = random.Random(seed)
    words = [source.randbytes(source.randrange(4, 24)) for _ in range(400)]
    out = bytearray()
    while len(out) < size:
        out += source.choice(words) if source.random() < 0.85 else source.randbytes(8)
    return bytes(out[:size])


def layer(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A gzip'd layer with these files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o755, 1_600_000_000
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), 1, mtime=0)


class Layout:
    """An OCI layout in a directory that images can be added to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifests: list[dict[str, object]] = []
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def add(
        self, name: str, layers: Iterable[bytes], config: dict[str, object] | None = None, media_type: str = GZIP_LAYER
    ) -> None:
        """An image `docker.io/NAME` of these layers, gzip'd tars, said to be of `media_type`."""
        packed = list(layers)
        diff_ids = [f"sha256:{hashlib.sha256(gzip.decompress(one)).hexdigest()}" for one in packed]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": config or {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        self.add_document(name, packed, document, media_type)

    def add_document(
        self, name: str, layers: Iterable[bytes], document: dict[str, object], media_type: str = GZIP_LAYER
    ) -> None:
        """An image `docker.io/NAME` of these layers, packed already, with this config."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(one, media_type) for one in layers],
        }
        head = self.blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
        annotations = {"org.opencontainers.image.ref.name": f"docker.io/{name}"}
        self.manifests.append({**head, "annotations": annotations})
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.directory / "index.json").write_text(json.dumps(index))


def large_machine(directory: Path, megabytes: int, images: int = 6) -> Path:
    """A layout of `images` images with `megabytes` in all, and a spec that uses them; returns the spec."""
    made = Layout(directory / "layout")
    size = megabytes * 1_000_000 // images // 20
    for number in range(images):
        files = [(f"usr/bin/program{n}", content(f"{number}/{n}", size)) for n in range(20)]
        made.add(f"large/image{number}:1", [layer(files[:15]), layer(files[15:])])
    services = "\n".join(f"  - {{name: s{n}, image: 'large/image{n}:1'}}" for n in range(images))
    spec = directory / "large.yml"
    spec.write_text(f"services:\n{services}\n")
    return spec


def many_files(directory: Path, count: int) -> Path:
    """A layout of one image of `count` small files, and a spec that uses it; returns the spec."""
    made = Layout(directory / "layout")
    files = ((f"usr/share/d{n // 200}/a-file-of-some-name-{n}", b"contents of %d" % n * 5) for n in range(count))
    made.add("large/many:1", [layer(files)])
    spec = directory / "many.yml"
    spec.write_text("services:\n  - {name: many, image: 'large/many:1'}\n")
    return spec
