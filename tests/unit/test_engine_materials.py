"""What is found before planning, and what of it cannot be used."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lkbuild.errors import SpecError
from tests.support.building import offline, run
from tests.support.layouts import GZIP_LAYER, Layout, layer


@pytest.mark.parametrize(
    "media_type",
    [
        pytest.param(f"{GZIP_LAYER}+encrypted", id="encrypted, so that it would not unpack"),
        pytest.param("application/vnd.cncf.helm.chart.content.v1.tar+gzip", id="a chart, which would unpack"),
    ],
)
def test_an_image_whose_layers_are_no_file_system_is_refused_at_its_line(tmp_path: Path, media_type: str) -> None:
    Layout(tmp_path / "layout").add("conf/odd:1", [layer([("a", b"a")])], media_type=media_type)
    spec = tmp_path / "odd.yml"
    spec.write_text("services:\n  - name: odd\n    image: conf/odd:1\n")
    with pytest.raises(SpecError) as caught:
        run(offline(spec, tmp_path / "cache", tmp_path / "out", images=(tmp_path / "layout",)))
    (problem,) = caught.value.problems
    assert str(problem.origin).endswith("odd.yml:3:12")
    assert f"layers of type '{media_type}' cannot be unpacked" in problem.message


def test_a_package_for_another_architecture_is_refused_before_others_are_looked_for(tmp_path: Path) -> None:
    for name, text in (("amd", "arches: [amd64]\nlinks: {a: b}\n"), ("debs", "debian: {packages: [curl]}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "build.yml").write_text(f"image: {name}\n{text}")
    spec = tmp_path / "m.yml"
    spec.write_text('init: ["@pkg:./debs", "@pkg:./amd"]\n')
    with pytest.raises(SpecError) as caught:
        run(offline(spec, tmp_path / "cache", tmp_path / "out", arch="riscv64", formats=("tar",)))
    assert [problem.message for problem in caught.value.problems] == [
        "the package amd cannot be built for riscv64 (arches: amd64)"
    ]


def test_debian_packages_that_cannot_be_had_are_told_with_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "build.yml").write_text("image: web\ndebian: {packages: [curl]}\n")
    spec = tmp_path / "m.yml"
    spec.write_text('init: ["@pkg:./web"]\n')
    with pytest.raises(SpecError) as caught:
        run(offline(spec, tmp_path / "cache", tmp_path / "out"))
    (problem,) = caught.value.problems
    assert str(problem.origin).endswith("m.yml:1:8")
    assert problem.message.startswith(f"{tmp_path}/web/build.yml: the Debian packages curl were never resolved")
    assert "build once without offline=yes" in (problem.hint or "")


def test_a_dockerfile_without_a_daemon_is_named_by_its_package(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "build.yml").write_text("image: web\n")
    (tmp_path / "web" / "Dockerfile").write_text("FROM scratch\n")
    spec = tmp_path / "m.yml"
    spec.write_text('init: ["@pkg:./web"]\n')
    with pytest.raises(SpecError) as caught:
        run(offline(spec, tmp_path / "cache", tmp_path / "out", docker_host=f"unix://{tmp_path}/none.sock"))
    (problem,) = caught.value.problems
    assert f"{tmp_path}/web: " in problem.message
    assert "building Dockerfile needs a Docker daemon" in problem.message
    assert str(tmp_path / "cache") not in problem.message
    assert "DOCKER_HOST" in (problem.hint or "")


class Deaf:
    """A Docker daemon that closes every connection, and knows how many there were with a request."""

    def __init__(self, path: Path) -> None:
        self.requests: list[bytes] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                request = connection.recv(1 << 16)
                if request == b"end":
                    return
                if request:
                    self.requests.append(request)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as ending:
            ending.connect(self._listening.getsockname())
            ending.sendall(b"end")
        self._thread.join()
        self._listening.close()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Deaf]:
    daemon = Deaf(tmp_path / "docker.sock")
    yield daemon
    daemon.close()


@pytest.mark.parametrize(
    ("other", "told", "asked"),
    [
        ("init: [conf/init:1]\n", ["a.yml:1", "b.yml:2"], 1),
        ("init: [\n", ["c.yml:2"], 0),
        ("init: [conf/nosuch:1]\n", ["c.yml:1"], 0),
    ],
    ids=["it fails once for all specs", "a spec cannot be read", "an image is missing"],
)
def test_a_dockerfile_is_built_once_and_not_in_vain(
    tmp_path: Path, deaf: Deaf, other: str, told: list[str], asked: int
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "build.yml").write_text("image: web\n")
    (tmp_path / "web" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "a.yml").write_text('init: ["@pkg:./web"]\n')
    (tmp_path / "b.yml").write_text('init: [conf/init:1]\nvolumes: [{name: v, image: "@pkg:./web", format: oci}]\n')
    (tmp_path / "c.yml").write_text(other)
    machines = tuple((tmp_path / name,) for name in ("a.yml", "b.yml", "c.yml"))
    more = {"machines": machines, "docker_host": f"unix://{tmp_path}/docker.sock"}
    with pytest.raises(SpecError) as caught:
        run(offline(machines[0][0], tmp_path / "cache", tmp_path / "out", **more))
    assert [f"{Path(p.origin.file).name}:{p.origin.line}" for p in caught.value.problems] == told
    assert len(deaf.requests) == asked
