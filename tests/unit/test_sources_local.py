"""OCI layouts, docker save archives and OCI archives; those that are not ours are made by skopeo."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.errors import ImageError, LkbuildError
from lkbuild.oci.image import Descriptor, Platform
from lkbuild.reference import Reference
from lkbuild.sources import Image, Images, Missing, Source, not_found, open_path, search, search_index

CONFORMANCE = Path(__file__).parent.parent / "conformance" / "images"
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo, which makes the archives")


def conf(name: str) -> Reference:
    return Reference.parse(f"conf/{name}:1")


def copy(*arguments: object) -> None:
    subprocess.run(["skopeo", "copy", "-q", *map(str, arguments)], check=True, capture_output=True)


def found(source: Source, reference: Reference | str, platform: Platform = AMD64) -> Image:
    reference = Reference.parse(reference) if isinstance(reference, str) else reference
    answer = source.resolve(reference, platform)
    assert isinstance(answer, Image), answer
    return answer


def missing(source: Source, reference: Reference | str, platform: Platform = AMD64) -> Missing:
    reference = Reference.parse(reference) if isinstance(reference, str) else reference
    answer = source.resolve(reference, platform)
    assert isinstance(answer, Missing), answer
    return answer


def fetched(source: Source, image: Image, descriptor: Descriptor, into: Path) -> bytes:
    source.fetch(image.reference, descriptor, into)
    data = into.read_bytes()
    assert (Digest.of(data), len(data)) == (descriptor.digest, descriptor.size)
    return data


@pytest.fixture
def layout(tmp_path: Path) -> Source:
    return open_path(CONFORMANCE, tmp_path)


def layout_at(path: Path, *entries: dict[str, object]) -> Path:
    """A layout of conf/base's image, with an index.json of our own."""
    shutil.copytree(CONFORMANCE, path)
    base = json.loads((CONFORMANCE / "index.json").read_text())["manifests"][0]
    changed = [{**base, **entry} for entry in entries]
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": changed}))
    return path


# -- layouts -----------------------------------------------------------------------------------------------------------


def names() -> list[str]:
    entries = json.loads((CONFORMANCE / "index.json").read_text())["manifests"]
    return [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries]


@pytest.mark.parametrize("name", names())
def test_every_conformance_image_is_found_and_fetched(layout: Source, tmp_path: Path, name: str) -> None:
    image = found(layout, name)
    assert image.source == f"OCI layout {CONFORMANCE}"
    assert Digest.of(image.manifest) == image.digest
    for layer in (*image.layers, image.config_descriptor):
        fetched(layout, image, layer, tmp_path / "x")


def test_platforms_of_an_index(layout: Source) -> None:
    image = found(layout, conf("multi"), ARM64)
    assert image.index is not None
    assert (image.platform.architecture, image.pinned.digest) == ("arm64", image.index)
    assert found(layout, image.pinned, AMD64).platform == AMD64, "a lock made for one platform serves the other"
    assert missing(layout, conf("base"), ARM64).reason == "is an image for linux/amd64, not for linux/arm64"
    images = layout.resolve_index(conf("multi"))
    assert isinstance(images, Images)
    assert [str(image.platform) for image in images.images] == ["linux/arm64", "linux/amd64"]
    assert images.root.digest == image.index


def test_an_image_by_digest(layout: Source) -> None:
    image = found(layout, conf("multi"), ARM64)
    assert found(layout, f"other/name@{image.digest}", ARM64).digest == image.digest, "below an index, by any name"
    unknown = f"conf/base@sha256:{'0' * 64}"
    assert missing(layout, unknown).reason == "holds nothing of this digest"


def test_a_blob_that_no_index_names_is_found_by_digest(tmp_path: Path) -> None:
    source = open_path(layout_at(tmp_path / "x"), tmp_path)
    digest = json.loads((CONFORMANCE / "index.json").read_text())["manifests"][0]["digest"]
    assert str(found(source, f"conf/base@{digest}").digest) == digest


NAME = "org.opencontainers.image.ref.name"


@pytest.mark.parametrize(
    ("directory", "annotations", "asked", "why"),
    [
        ("x", {NAME: "docker.io/conf/base:1"}, "conf/base:1", "the full name, as LinuxKit's cache has it"),
        ("x", {NAME: "conf/base:1"}, "conf/base:1", "the short name"),
        ("x", {NAME: "ghcr.io/conf/base:1"}, "ghcr.io/conf/base:1", "another registry"),
        ("x", {NAME: "docker.io/library/base"}, "base", "no tag is latest"),
        ("base", {NAME: "1"}, "conf/base:1", "a bare tag, where the layout is called like the image"),
        ("x", {NAME: "1", "io.containerd.image.name": "docker.io/conf/base:1"}, "conf/base:1", "containerd's name"),
    ],
)
def test_names_that_fit(tmp_path: Path, directory: str, annotations: dict[str, str], asked: str, why: str) -> None:
    assert found(open_path(layout_at(tmp_path / directory, {"annotations": annotations}), tmp_path), asked), why


@pytest.mark.parametrize(
    ("annotations", "asked", "words"),
    [
        ({NAME: "docker.io/conf/base:1"}, "conf/base:2", "only docker.io/conf/base:1"),
        ({NAME: "docker.io/conf/base:1"}, "ghcr.io/conf/base:1", "only docker.io/conf/base:1"),
        ({NAME: "latest"}, "nginx", "bare tag 'latest', which does not say of which repository"),
        ({NAME: "1", "io.containerd.image.name": "docker.io/conf/base:1"}, "other:1", "only docker.io/conf/base:1"),
        ({}, "conf/base:1", "no names"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, annotations: dict[str, str], asked: str, words: str) -> None:
    source = open_path(layout_at(tmp_path / "x", {"annotations": annotations}), tmp_path)
    assert words in missing(source, asked).reason


def test_a_name_for_two_platforms_without_an_index(tmp_path: Path) -> None:
    entries = json.loads((CONFORMANCE / "index.json").read_text())["manifests"]
    multi = next(entry for entry in entries if entry["annotations"][NAME] == "docker.io/conf/multi:1")
    below = json.loads((CONFORMANCE / "blobs/sha256" / multi["digest"][7:]).read_text())["manifests"]
    called = [{**entry, "annotations": {NAME: "docker.io/a/b:1"}} for entry in below]
    source = open_path(layout_at(tmp_path / "x", *called), tmp_path)
    assert found(source, "a/b:1", ARM64).platform == ARM64
    assert found(source, "a/b:1", AMD64).platform == AMD64


def test_a_cache_that_holds_only_one_platform_of_an_index(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    shutil.copytree(CONFORMANCE, path)
    arm = found(open_path(path, tmp_path), conf("multi"), ARM64)
    (path / "blobs" / "sha256" / arm.digest.hex).unlink()
    assert "does not hold it" in missing(open_path(path, tmp_path), conf("multi"), ARM64).reason
    assert found(open_path(path, tmp_path), conf("multi"), AMD64)
    assert isinstance(open_path(path, tmp_path).resolve_index(conf("multi")), Missing)


def test_a_layer_that_is_not_there_means_missing(tmp_path: Path, layout: Source) -> None:
    path = tmp_path / "cache"
    shutil.copytree(CONFORMANCE, path)
    layer = found(layout, conf("base")).layers[0]
    (path / "blobs" / "sha256" / layer.digest.hex).unlink()
    assert str(layer.digest) in missing(open_path(path, tmp_path), conf("base")).reason


def test_damaged_blobs_are_errors(tmp_path: Path, layout: Source) -> None:
    path = tmp_path / "cache"
    shutil.copytree(CONFORMANCE, path)
    image = found(layout, conf("base"))
    source = open_path(path, tmp_path)
    blob = path / "blobs" / "sha256" / image.layers[0].digest.hex
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(ImageError, match=r"got sha256:\w+, want sha256:\w+ after \d+ bytes"):
        source.fetch(image.reference, image.layers[0], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(ImageError, match=r"ends after \d+ bytes, wanted \d+"):
        source.fetch(image.reference, image.layers[0], tmp_path / "x")
    manifest = path / "blobs" / "sha256" / image.digest.hex
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes()[:-1] + b" ")
    with pytest.raises(ImageError, match="want"):
        search([source], conf("base"), AMD64)


def test_the_fingerprint_changes_with_the_index(tmp_path: Path) -> None:
    path = layout_at(tmp_path / "x", {})
    source = open_path(path, tmp_path)
    before = source.fingerprint()
    assert source.fingerprint() == before
    os.utime(path / "index.json", ns=(1, 1))
    assert source.fingerprint() != before
    shutil.rmtree(path)
    assert "No such file" in source.fingerprint()


# -- archives ----------------------------------------------------------------------------------------------------------

# skopeo finds no Docker manifest in a layout, so conf/docker is not among them.
NAMES = ("base", "layers", "plain", "special")


@skopeo
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zipped", [False, True])
def test_docker_archives(tmp_path: Path, layout: Source, name: str, zipped: bool) -> None:
    path = tmp_path / "saved.tar"
    copy(f"oci:{CONFORMANCE}:docker.io/conf/{name}:1", f"docker-archive:{path}:docker.io/conf/{name}:1")
    if zipped:
        path = zip_file(path)
    source = open_path(path, tmp_path / "scratch")
    image, original = found(source, conf(name)), found(layout, conf(name))
    assert image.source == f"archive {path}"
    assert image.diff_ids == original.diff_ids
    assert [layer.digest for layer in image.layers] == list(image.diff_ids), "layers are plain tars, named by diff_id"
    for layer in (*image.layers, image.config_descriptor):
        fetched(source, image, layer, tmp_path / "x")
    assert found(open_path(path, tmp_path / "other"), conf(name)).digest == image.digest, "the same manifest every time"
    assert found(source, image.pinned).digest == image.digest
    assert "only docker.io/conf/" in missing(source, "conf/none:1").reason
    assert "does not keep the digests" in missing(source, f"conf/{name}@sha256:{'0' * 64}").reason


@skopeo
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zipped", [False, True])
def test_oci_archives(tmp_path: Path, layout: Source, name: str, zipped: bool) -> None:
    path = tmp_path / "saved.tar"
    copy(f"oci:{CONFORMANCE}:docker.io/conf/{name}:1", f"oci-archive:{path}:docker.io/conf/{name}:1")
    if zipped:
        path = zip_file(path)
    source = open_path(path, tmp_path / "scratch")
    image, original = found(source, conf(name)), found(layout, conf(name))
    assert (image.diff_ids, image.config) == (original.diff_ids, original.config)
    for layer in (*image.layers, image.config_descriptor):
        fetched(source, image, layer, tmp_path / "x")


def zip_file(path: Path) -> Path:
    zipped = path.with_suffix(".tar.gz")
    zipped.write_bytes(gzip.compress(path.read_bytes(), 1, mtime=0))
    path.unlink()
    return zipped


@skopeo
def test_a_bare_tag_from_skopeo(tmp_path: Path) -> None:
    copy(f"oci:{CONFORMANCE}:docker.io/conf/base:1", f"oci:{tmp_path}/base:1")
    assert found(open_path(tmp_path / "base", tmp_path), conf("base"))
    copy(f"oci:{CONFORMANCE}:docker.io/conf/base:1", f"oci-archive:{tmp_path}/base.tar:1")
    assert found(open_path(tmp_path / "base.tar", tmp_path), conf("base"))


def write_tar(path: Path, members: dict[str, bytes | tuple[bytes, str]]) -> Path:
    """A tar; a pair is a link: its type and its target."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                entry.type, entry.linkname = content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def saved(*layers: bytes, tags: object = ("conf/base:1",), names: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The members of a docker save archive, manifest.json last, as Docker 20.10 writes them."""
    diff_ids = [str(Digest.of(layer)) for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    text = json.dumps(config).encode()
    names = names or tuple(f"{number}/layer.tar" for number in range(len(layers)))
    manifest = [{"Config": f"{Digest.of(text).hex}.json", "RepoTags": tags, "Layers": names}]
    members = dict(zip(names, layers, strict=True))
    return {**members, f"{Digest.of(text).hex}.json": text, "manifest.json": json.dumps(manifest).encode()}


def test_a_layer_that_stands_twice_is_a_link(tmp_path: Path) -> None:
    members: dict[str, bytes | tuple[bytes, str]] = {**saved(b"one" * 999, b"two", b"one" * 999)}
    members["2/layer.tar"] = (tarfile.SYMTYPE, "../0/layer.tar")
    source = open_path(write_tar(tmp_path / "x.tar", members), tmp_path)
    image = found(source, conf("base"))
    assert image.layers[0] == image.layers[2]
    assert fetched(source, image, image.layers[2], tmp_path / "x") == b"one" * 999
    members["2/layer.tar"] = (tarfile.LNKTYPE, "0/layer.tar")
    hard = open_path(write_tar(tmp_path / "y.tar", members), tmp_path)
    assert found(hard, conf("base")).digest == image.digest


def test_compressed_layers_of_a_docker_archive(tmp_path: Path) -> None:
    members = saved(b"tar" * 999)
    members["0/layer.tar"] = gzip.compress(members["0/layer.tar"], mtime=0)
    source = open_path(write_tar(tmp_path / "x.tar", {**members}), tmp_path)
    image = found(source, conf("base"))
    assert image.layers[0].media_type.endswith("+gzip")
    assert image.diff_ids[0] == Digest.of(b"tar" * 999)
    assert gzip.decompress(fetched(source, image, image.layers[0], tmp_path / "x")) == b"tar" * 999


def test_a_layout_in_an_archive_goes_before_its_manifest_json(tmp_path: Path) -> None:
    """Docker >= 25 writes both."""
    members: dict[str, bytes | tuple[bytes, str]] = {
        str(path.relative_to(CONFORMANCE)): path.read_bytes() for path in CONFORMANCE.rglob("*") if path.is_file()
    }
    members["manifest.json"] = b"[]"
    source = open_path(write_tar(tmp_path / "x.tar", members), tmp_path)
    assert found(source, conf("zstd")).layers[0].media_type.endswith("+zstd")


def drop(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: value for key, value in members.items() if not key.endswith(name)}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (drop(saved(b"a", b"b"), "1/layer.tar"), "the layer '1/layer.tar' is not in it"),
        ({**saved(b"a"), "manifest.json": b"{"}, "manifest.json is not what docker save writes"),
        ({**saved(b"a"), "manifest.json": b'[{"Config": 1, "Layers": []}]'}, "not what docker save writes"),
        ({**saved(b"a"), "manifest.json": b'["x"]'}, "not what docker save writes"),
        ({**saved(b"a"), "manifest.json": b'[{"Config": "../x.json", "Layers": [], "RepoTags": ["conf/base:1"]}]'},
         "no name of a file in an image archive"),
        ({"x": b""}, "has neither index.json nor manifest.json"),
    ],
)  # fmt: skip
def test_broken_docker_archives(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(ImageError) as caught:
        found(open_path(write_tar(tmp_path / "x.tar", {**members}), tmp_path), conf("base"))
    assert words in caught.value.message


def test_a_config_that_is_not_what_it_is_called(tmp_path: Path) -> None:
    members = saved(b"a")
    name = next(name for name in members if len(name) == 69)
    members[name] += b" "
    with pytest.raises(ImageError, match=r"got sha256:\w+, want sha256:\w+ after"):
        found(open_path(write_tar(tmp_path / "x.tar", {**members}), tmp_path), conf("base"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no readable tar"),
        (b"hello", "no readable tar"),
        (b"\x28\xb5\x2f\xfd....", "`zstd -d"),
        (b"\xfd7zXZ\x00...", "`xz -d"),
        (b"BZh91AY", "`bzip2 -d"),
        (b"\x1f\x8b nonsense", "unpacking it failed"),
        (gzip.compress(b"x" * 100_000)[:-20], "unpacking it failed"),
    ],
)
def test_files_that_are_no_archives(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ImageError) as caught:
        open_path(tmp_path / "x", tmp_path / "scratch")
    assert words in str(caught.value)
    assert str(tmp_path / "x") in caught.value.message
    scratch = tmp_path / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir()), "no litter"


def test_paths_that_are_no_image_store(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "no index.json"),
        (Path("/dev/null"), "neither"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            open_path(path, tmp_path)
        assert "docker save" in (caught.value.hint or "")


def test_a_cut_archive(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {**saved(b"a" * 100_000)})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ImageError, match=r"ends in the middle of '0/layer\.tar'"):
        open_path(path, tmp_path)


def test_a_tar_header_that_claims_gigabytes(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 7 << 30
    (tmp_path / "x.tar").write_bytes(entry.tobuf() + b"\0" * 2048)
    with pytest.raises(ImageError, match="no readable tar"):
        open_path(tmp_path / "x.tar", tmp_path)


# -- the order of search -----------------------------------------------------------------------------------------------


def test_the_first_source_that_has_it_wins(tmp_path: Path, layout: Source) -> None:
    """`images=` may be several; what stands first is taken, what was missing before it is told."""
    empty = open_path(layout_at(tmp_path / "x", {"annotations": {NAME: "docker.io/conf/other:1"}}), tmp_path)
    result, looked = search([empty, layout, empty], conf("base"), AMD64)
    assert result is not None
    assert result.source is layout
    assert [place.where for place in looked] == [f"OCI layout {tmp_path}/x"]
    everywhere, looked = search_index([empty, layout], conf("multi"))
    assert everywhere is not None
    assert (everywhere.source, len(everywhere.images.images), len(looked)) == (layout, 2, 1)
    nowhere, looked = search_index([empty, empty], conf("multi"), (AMD64,))
    assert (nowhere, len(looked)) == (None, 2)
    error = not_found(conf("multi"), AMD64, looked)
    assert "image docker.io/conf/multi:1 for linux/amd64 was not found" in error.message
    assert f"OCI layout {tmp_path}/x: holds no image of this name, only docker.io/conf/other:1" in error.message


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 5000), value=st.integers(0, 255))
def test_a_byte_changed_anywhere_never_ends_in_a_traceback(place: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.tar"
        data = bytearray(write_tar(path, {**saved(b"layer" * 9)}).read_bytes())
        data[place % len(data)] = value
        path.write_bytes(data)
        with contextlib.suppress(LkbuildError):
            source = open_path(path, Path(name))
            image = source.resolve(conf("base"), AMD64)
            if isinstance(image, Image):
                source.fetch(image.reference, image.layers[0], Path(name) / "layer")
                assert (Path(name) / "layer").read_bytes() == b"layer" * 9
