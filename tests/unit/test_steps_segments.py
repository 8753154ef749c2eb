"""Segments of single steps, read by Python's tarfile and by skopeo."""

from __future__ import annotations

import io
import json
import resource
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.errors import ImageError, StepError
from lkbuild.oci.image import DOCKER_MANIFEST, OCI_MANIFEST, RunConfig
from lkbuild.packages.params import ImageDocuments, LayerEntry, PackageLayer
from lkbuild.plan.kinds import ApkDatabase, Segment, VolumeLayout
from lkbuild.steps import apk_database
from lkbuild.store import Blob, Result, Store
from tests.support.steps import carry_out

TAR = Segment("tar", "none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def segment(store: Store, result: Result) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(store.read(result["segment"].digest) + bytes(1024)))


# -- apk databases -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("databases", "joined"),
    [
        ((b"P:a", b"P:b"), b"P:a\n\nP:b\n\n"),
        ((b"P:a", b"", b"P:c"), b"P:a\n\nP:c\n\n"),  # an image without one
        ((b"P:a", b""), None),  # one database alone is as it was
        ((b"P:" + bytes(1 << 20), b"P:b"), b"P:" + bytes(1 << 20) + b"\n\nP:b\n\n"),  # several chunks
    ],
)
def test_apk_databases(store: Store, databases: tuple[bytes, ...], joined: bytes | None) -> None:
    inputs = {f"apk{n}": store.add(data) for n, data in enumerate(databases)}
    with segment(store, carry_out(store, "apk-database", ApkDatabase(TAR), inputs)) as tar:
        found = {info.name: tar.extractfile(info) for info in tar if info.isreg()}
    assert set(found) == (set() if joined is None else {"lib/apk/db/installed"})
    for file in found.values():
        assert file is not None
        assert file.read() == joined


def sparse(store: Store, directory: Path, size: int) -> Blob:
    path = directory / "sparse"
    with path.open("wb") as file:
        file.truncate(size)
    return store.add_file(path)


def test_apk_databases_that_are_too_large(store: Store, tmp_path: Path) -> None:
    large = sparse(store, tmp_path, apk_database.MAX_JOINED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StepError, match=r"apk databases .* have \d+ bytes together") as caught:
        carry_out(store, "apk-database", ApkDatabase(TAR), {"apk0": large, "apk1": store.add(b"P:b")})
    assert caught.value.hint
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10, "and none was read"
    alone = {"apk0": large, "apk1": store.add(b"")}
    assert carry_out(store, "apk-database", ApkDatabase(TAR), alone)["segment"].size == 0


# -- images kept whole -------------------------------------------------------------------------------------------------


def package_volume(store: Store, architecture: str = "amd64") -> Result:
    """A volume with the image of one layer, as the plan makes it."""
    entries = (LayerEntry("usr/bin/x", "file", contents="program"),)
    layer = carry_out(store, "package-layer", PackageLayer(entries, base=True), {})["layer"]
    run = RunConfig(("/usr/bin/x",), (), ("PATH=/usr/bin",), "/", None)
    documents = carry_out(store, "image-documents", ImageDocuments(architecture, run), {"layer0": layer})
    manifest = documents["manifest"]
    inputs = {"blob0": manifest, "blob1": documents["config"], "blob2": layer, "manifest": manifest}
    return carry_out(store, "volume-layout", VolumeLayout("v", "", TAR), inputs)


def test_the_layout_of_a_packages_image(store: Store, tmp_path: Path) -> None:
    with segment(store, package_volume(store)) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    lower = tmp_path / "out/containers/volumes/v/lower"
    (entry,) = json.loads((lower / "index.json").read_text())["manifests"]
    manifest = (lower / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
    assert (entry["mediaType"], entry["size"]) == (OCI_MANIFEST, len(manifest))
    named = json.loads(manifest)
    for part in (named["config"], *named["layers"]):
        data = (lower / "blobs/sha256" / part["digest"].removeprefix("sha256:")).read_bytes()
        assert (str(Digest.of(data)), len(data)) == (part["digest"], part["size"])
    assert len(list((lower / "blobs/sha256").iterdir())) == 3


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo reads the layout")
def test_skopeo_reads_the_layout_of_a_packages_image(store: Store, tmp_path: Path) -> None:
    with segment(store, package_volume(store)) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    lower = tmp_path / "out/containers/volumes/v/lower"
    command = ["skopeo", "copy", "--insecure-policy", f"oci:{lower}", f"dir:{tmp_path / 'copy'}"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "copy/manifest.json").is_file()


def test_a_layout_lists_a_manifest_as_what_it_is(store: Store) -> None:
    """What the Docker daemon writes is of Docker's own type."""
    manifest = store.add(json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST}).encode())
    inputs = {"blob0": manifest, "blob1": manifest, "manifest": manifest}
    with segment(store, carry_out(store, "volume-layout", VolumeLayout("v", "", TAR), inputs)) as tar:
        file = tar.extractfile("containers/volumes/v/lower/index.json")
        assert file is not None
        (entry,) = json.loads(file.read())["manifests"]
        assert [info.name for info in tar if info.isreg()].count(
            f"containers/volumes/v/lower/blobs/sha256/{manifest.digest.hex}"
        ) == 1  # fmt: skip
    assert entry == {"mediaType": DOCKER_MANIFEST, "digest": str(manifest.digest), "size": manifest.size}


def test_a_manifest_that_is_none_is_refused(store: Store, tmp_path: Path) -> None:
    for manifest in (store.add(b"[]"), sparse(store, tmp_path, 5 << 20)):
        with pytest.raises(ImageError, match="the image's manifest"):
            carry_out(store, "volume-layout", VolumeLayout("v", "", TAR), {"blob0": manifest, "manifest": manifest})
