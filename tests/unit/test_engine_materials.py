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
