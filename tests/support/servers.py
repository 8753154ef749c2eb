"""Real servers for tests: Debian's docker-registry and dockerd, started on this machine and ended again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import urllib3

from lkbuild.digest import Digest
from lkbuild.oci.image import Descriptor, Index, Manifest, parse_manifest

STARTING_SECONDS = 60.0


@contextlib.contextmanager
def running(command: Sequence[str | Path], ready: Callable[[], bool], log: Path) -> Iterator[None]:
    """Run a server until the end of the block; the test fails with its log if it does not get ready."""
    if not shutil.which(str(command[0])):
        pytest.skip(f"needs {command[0]}")
    with log.open("wb") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output)
    try:
        end = time.monotonic() + STARTING_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{command[0]} does not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(family: int, address: object) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(address) == 0  # type: ignore[arg-type]


def served(port: int) -> str:
    """The page that is served at a port of 127.0.0.1, or why there is none: who serves it may go away meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def docker_registry(directory: Path) -> Iterator[str]:
    """HOST:PORT of an empty registry."""
    port = free_port()
    (directory / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    command = ["docker-registry", "serve", directory / "config.yml"]
    with running(command, lambda: answers(socket.AF_INET, ("127.0.0.1", port)), directory / "log"):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def docker_daemon(directory: Path) -> Iterator[str]:
    """DOCKER_HOST of an empty daemon."""
    if os.geteuid():
        pytest.skip("a Docker daemon starts only as root")
    host = f"unix://{directory}/docker.sock"
    command = [
        *("dockerd", "--data-root", directory / "data", "--exec-root", directory / "run", "--host", host),
        *("--pidfile", directory / "pid", "--iptables=false", "--bridge=none"),
    ]
    with running(command, lambda: answers(socket.AF_UNIX, f"{directory}/docker.sock"), directory / "log"):
        yield host


def names(layout: Path) -> dict[str, Descriptor]:
    """The images of an OCI layout by their names without the registry, `conf/base:1`."""
    heads = Index.parse((layout / "index.json").read_bytes()).manifests
    return {(h.annotation("org.opencontainers.image.ref.name") or "").removeprefix("docker.io/"): h for h in heads}


def push_layout(layout: Path, registry: str) -> None:
    """Push every image of an OCI layout, its bytes unchanged, under its name without the registry."""
    pool = urllib3.PoolManager()
    for name, head in names(layout).items():
        repository, _, tag = name.partition(":")
        _push(pool, layout, f"http://{registry}/v2/{repository}", head, tag)


def _push(pool: urllib3.PoolManager, layout: Path, base: str, head: Descriptor, tag: str) -> None:
    raw = _blob(layout, head.digest)
    document = parse_manifest(raw, head.media_type)
    if isinstance(document, Manifest):
        for descriptor in (document.config, *document.layers):
            _push_blob(pool, base, descriptor.digest, _blob(layout, descriptor.digest))
    else:
        for child in document.manifests:
            _push(pool, layout, base, child, str(child.digest))
    media_type = json.loads(raw).get("mediaType") or head.media_type
    answer = pool.request("PUT", f"{base}/manifests/{tag}", body=raw, headers={"Content-Type": media_type})
    assert answer.status == 201, answer.data


def _push_blob(pool: urllib3.PoolManager, base: str, digest: Digest, data: bytes) -> None:
    begun = pool.request("POST", f"{base}/blobs/uploads/")
    assert begun.status == 202, begun.data
    place = begun.headers["Location"]
    answer = pool.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", body=data)
    assert answer.status == 201, answer.data


def _blob(layout: Path, digest: Digest) -> bytes:
    return (layout / "blobs" / digest.algorithm / digest.hex).read_bytes()
