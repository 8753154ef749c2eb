"""What the Docker daemon is asked when it builds; the daemon itself is in test_sources_real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from docker import APIClient

from lkbuild.oci.image import Platform
from lkbuild.sources.dockerfile import Dockerfile, build_image

IMAGE = "sha256:" + "1" * 64


class Recorder:
    """Stands for the docker package's client."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def build(self, **asked: Any) -> Iterator[dict[str, Any]]:
        self.asked = asked
        yield {"aux": {"ID": IMAGE}}


@pytest.mark.parametrize("renew", [False, True])
def test_what_is_known_is_used_unless_all_is_asked_anew(tmp_path: Path, renew: bool) -> None:
    api = Recorder()
    request = Dockerfile(tmp_path, "Dockerfile", Platform("linux", "amd64"), renew=renew)
    assert build_image(cast(APIClient, api), request) == IMAGE
    assert (api.asked["pull"], api.asked["nocache"]) == (renew, renew)
    assert (api.asked["network_mode"], api.asked["platform"]) == ("none", "linux/amd64")
