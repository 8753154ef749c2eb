"""The registry client and the daemon against the real things: Debian's docker-registry and dockerd on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import Platform
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Dockerfile, Image, Images, Missing, Registry, RegistryOptions, open_path
from tests.fakes.registry import Fake
from tests.support.servers import docker_daemon, docker_registry

CONFORMANCE = Path(__file__).parent.parent / "conformance" / "images"
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
# skopeo finds no Docker manifest in a layout.
NAMES = ("base", "layers", "zstd", "plain", "special", "multi")


def skopeo(*arguments: str) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("needs skopeo")
    subprocess.run(["skopeo", "copy", "-q", *arguments], check=True, capture_output=True)


# -- a registry --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a registry that holds the conformance images."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        for name in NAMES:
            skopeo("--all", "--preserve-digests", "--dest-tls-verify=false",
                   f"oci:{CONFORMANCE}:docker.io/conf/{name}:1", f"docker://{host}/conf/{name}:1")  # fmt: skip
        yield host


@pytest.mark.parametrize("name", NAMES)
def test_the_conformance_images_from_a_real_registry(registry: str, tmp_path: Path, name: str) -> None:
    source = Registry(RegistryOptions())
    reference = Reference.parse(f"{registry}/conf/{name}:1")
    image, local = source.resolve(reference, AMD64), open_path(CONFORMANCE, tmp_path)
    original = local.resolve(Reference.parse(f"conf/{name}:1"), AMD64)
    assert isinstance(image, Image)
    assert isinstance(original, Image)
    assert (image.manifest, image.config, image.index) == (original.manifest, original.config, original.index)
    for layer in (*image.layers, image.config_descriptor):
        into = tmp_path / layer.digest.hex
        whole = (CONFORMANCE / "blobs" / "sha256" / layer.digest.hex).read_bytes()
        into.write_bytes(whole[: len(whole) // 2])
        source.fetch(reference, layer, into)
        assert into.read_bytes() == whole, "resumed"
    again = source.resolve(image.pinned, AMD64)
    assert isinstance(again, Image)
    assert again.digest == image.digest
    source.close()


def test_all_platforms_and_missing_ones_from_a_real_registry(registry: str) -> None:
    source = Registry(RegistryOptions())
    images = source.resolve_index(Reference.parse(f"{registry}/conf/multi:1"))
    assert isinstance(images, Images)
    assert sorted(str(image.platform) for image in images.images) == ["linux/amd64", "linux/arm64"]
    for name, words in (("conf/base:2", "MANIFEST_UNKNOWN"), ("conf/nothing:1", "NAME_UNKNOWN|MANIFEST_UNKNOWN")):
        missing = source.resolve(Reference.parse(f"{registry}/{name}"), AMD64)
        assert isinstance(missing, Missing)
        assert any(word in missing.reason for word in words.split("|"))
    source.close()


# -- a daemon ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DOCKER_HOST of a daemon that holds conf/base:1, conf/layers:1 and, for arm64, conf/arm:1."""
    directory = tmp_path_factory.mktemp("dockerd")
    with docker_daemon(directory) as host:
        for name, tag, arch in (("base", "base", "amd64"), ("layers", "layers", "amd64"), ("multi", "arm", "arm64")):
            archive = directory / f"{tag}.tar"
            skopeo("--override-arch", arch, f"oci:{CONFORMANCE}:docker.io/conf/{name}:1",
                   f"docker-archive:{archive}:docker.io/conf/{tag}:1")  # fmt: skip
            subprocess.run(["docker", "--host", host, "load", "-q", "-i", archive], check=True, capture_output=True)
        yield host


@pytest.fixture
def daemon(dockerd: str, tmp_path: Path) -> Iterator[Daemon]:
    source = Daemon(tmp_path / "spool", dockerd)
    yield source
    source.close()


@pytest.mark.docker
@pytest.mark.parametrize("name", ["base", "layers"])
def test_an_image_of_the_daemon(dockerd: str, daemon: Daemon, tmp_path: Path, name: str) -> None:
    source, reference = daemon, Reference.parse(f"conf/{name}:1")
    image = source.resolve(reference, AMD64)
    original = open_path(CONFORMANCE, tmp_path).resolve(reference, AMD64)
    assert isinstance(image, Image)
    assert isinstance(original, Image)
    assert (image.source, image.diff_ids) == ("Docker daemon", original.diff_ids)
    assert image.config_descriptor.digest == original.config_descriptor.digest, "the Id is the config's digest"
    for layer in (*image.layers, image.config_descriptor):
        source.fetch(reference, layer, tmp_path / "x")
        assert Digest.of_file(tmp_path / "x") == layer.digest
    assert len(list((tmp_path / "spool").iterdir())) == 1, "one archive, nothing half-written"
    other = Daemon(tmp_path / "spool", dockerd)
    other.fetch(reference, image.layers[0], tmp_path / "y")
    again = other.resolve(reference, AMD64)
    assert isinstance(again, Image)
    assert again.digest == image.digest
    other.close()
    (spooled,) = (tmp_path / "spool").iterdir()
    spooled.write_bytes(b"spoilt")
    third = Daemon(tmp_path / "spool", dockerd)
    assert third.resolve(reference, AMD64) == image, "a damaged archive is saved again"
    third.close()
    source.release()
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.docker
def test_what_the_daemon_does_not_have(daemon: Daemon) -> None:
    source = daemon
    base = source.resolve(Reference.parse("conf/base:1"), AMD64)
    assert isinstance(base, Image)
    rows = [
        ("conf/none:1", AMD64, "has no image of this name"),
        ("conf/base:1", ARM64, "has the image for linux/amd64, not for linux/arm64"),
        ("conf/arm:1", AMD64, "has the image for linux/arm64, not for linux/amd64"),
        (f"conf/base@{base.config_descriptor.digest}", AMD64, "no image"),
        (f"conf/base@{base.digest}", AMD64, "no image"),
    ]
    for name, platform, words in rows:
        missing = source.resolve(Reference.parse(name), platform)
        assert isinstance(missing, Missing), name
        assert words in missing.reason


@pytest.mark.docker
def test_an_image_pulled_by_digest(dockerd: str, registry: str, daemon: Daemon) -> None:
    name = f"{registry}/conf/base"
    subprocess.run(["docker", "--host", dockerd, "pull", "-q", f"{name}:1"], check=True, capture_output=True)
    online = Registry(RegistryOptions()).resolve(Reference.parse(f"{name}:1"), AMD64)
    assert isinstance(online, Image)
    source = daemon
    image = source.resolve(online.pinned, AMD64)
    assert isinstance(image, Image)
    assert (image.config, image.diff_ids, image.pinned) == (online.config, online.diff_ids, online.pinned)
    assert str(image.config_descriptor.digest) in source.fingerprint([online.pinned.pinned(online.digest)])


@pytest.mark.docker
def test_building_a_dockerfile(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "hello").write_text("hello\n")
    (context / "Dockerfile.x").write_text("FROM scratch\nARG WHO\nLABEL who=$WHO\nCOPY hello /hello\n")
    source = daemon
    request = Dockerfile(context, "Dockerfile.x", AMD64, (("org.mobyproject.config", "{}"),), (("WHO", "me"),))
    image_id = source.build(request)
    image = source.resolve_id(image_id, AMD64)
    assert str(image.config_descriptor.digest) == image_id
    assert b'"org.mobyproject.config":"{}"' in image.config
    assert b'"who":"me"' in image.config
    source.fetch(image.reference, image.layers[0], tmp_path / "x")
    listing = subprocess.run(["tar", "tf", tmp_path / "x"], check=True, capture_output=True, text=True).stdout
    assert listing.split() == ["hello"]
    (context / "Dockerfile.x").write_text("FROM scratch\nCOPY nothing /hello\n")
    with pytest.raises(ImageError, match=r"building .*Dockerfile\.x failed") as caught:
        source.build(request)
    assert "COPY nothing /hello" in caught.value.message, "the log's end is told"
    (context / "Dockerfile.x").write_text("NONSENSE\n")
    with pytest.raises(ImageError, match=r"(?i)nonsense"):
        source.build(request)
    with pytest.raises(ImageError, match="has no file 'Dockerfile'"):
        source.build(Dockerfile(context, "Dockerfile", AMD64))
    with pytest.raises(ImageError, match="has no image"):
        source.resolve_id(f"sha256:{'0' * 64}", AMD64)
    with pytest.raises(ImageError, match="not a digest"):
        source.resolve_id("sha256:../../x", AMD64)


@pytest.mark.docker
def test_the_daemons_fingerprint_is_that_of_the_images_asked_about(dockerd: str, daemon: Daemon) -> None:
    source, base = daemon, Reference.parse("conf/base:1")
    before = source.fingerprint([base])
    image = source.resolve(base, AMD64)
    assert isinstance(image, Image)
    assert str(image.config_descriptor.digest) in before
    run = ["docker", "--host", dockerd, "tag"]
    subprocess.run([*run, "conf/layers:1", "other:1"], check=True, capture_output=True)
    assert source.fingerprint([base]) == before
    subprocess.run([*run, "conf/layers:1", "conf/base:1"], check=True, capture_output=True)
    assert source.fingerprint([base]) != before
    subprocess.run([*run, str(image.config_descriptor.digest), "conf/base:1"], check=True, capture_output=True)
    assert source.fingerprint([base]) == before


def test_no_daemon(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    source = Daemon(tmp_path / "spool", host)
    missing = source.resolve(Reference.parse("conf/base:1"), AMD64)
    assert isinstance(missing, Missing)
    assert missing.reason == f"no Docker daemon answers at {host}"
    assert source.fingerprint([Reference.parse("conf/base:1")]) == "Docker daemon: none"
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(
        ImageError, match=r"^building Dockerfile needs a Docker daemon.*\n.*start it, or set DOCKER_HOST"
    ):
        source.build(Dockerfile(tmp_path, "Dockerfile", AMD64))


def test_something_else_at_the_daemons_address(tmp_path: Path) -> None:
    with Fake() as fake:
        source = Daemon(tmp_path / "spool", f"tcp://{fake.host}")
        missing = source.resolve(Reference.parse("conf/base:1"), AMD64)
        assert isinstance(missing, Missing)
        assert "no Docker daemon answers" in missing.reason
        source.close()
        assert source.fingerprint() == "Docker daemon: none"
