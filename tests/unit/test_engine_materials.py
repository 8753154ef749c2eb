"""What is found before planning, and what of it cannot be used."""

from __future__ import annotations

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
