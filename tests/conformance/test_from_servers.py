"""The corpus once more, its images from a real registry and from a real Docker daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from lkbuild.engine.options import BuildOptions
from lkbuild.sources import RegistryOptions
from tests.conformance.test_conformance import SPECS, assert_same
from tests.support.building import IMAGES, offline, run
from tests.support.servers import docker_daemon, docker_registry, names, push_layout


def options(spec: Path, cache: Path, out: Path, **more: object) -> BuildOptions:
    """Options for both outputs, from no local images."""
    return offline(spec, cache, out, images=(), formats=("kernel+initrd", "tar"), **more)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that holds every image of the corpus."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        push_layout(IMAGES, address)
        yield address


@pytest.fixture(scope="module")
def daemon(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that pulled them from that registry and gave them their names; zstd layers it cannot read."""
    with docker_daemon(tmp_path_factory.mktemp("dockerd")) as host:
        client = docker.DockerClient(host)
        for name in names(IMAGES):
            repository, _, tag = name.partition(":")
            if repository != "conf/zstd":
                client.images.pull(f"{registry}/{repository}", tag=tag).tag(repository, tag=tag)
        client.close()
        yield host


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_from_a_registry(spec: Path, registry: str, cache: Path, tmp_path: Path) -> None:
    mirrored = RegistryOptions(mirrors=(("docker.io", (f"http://{registry}",)),))
    run(options(spec, cache / "registry", tmp_path, pull="missing"), mirrored)
    assert_same(spec, tmp_path)


@pytest.mark.docker
@pytest.mark.parametrize("spec", [s for s in SPECS if "zstd" not in s.stem], ids=lambda path: path.stem)
def test_from_a_daemon(spec: Path, daemon: str, cache: Path, tmp_path: Path) -> None:
    run(options(spec, cache / "daemon", tmp_path, docker=True, docker_host=daemon))
    assert_same(spec, tmp_path)
