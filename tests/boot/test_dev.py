"""`lkbuild dev` with a real machine: ten edits of nginx's page, each served without a reboot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.test_specs import SECONDS, SPECS
from tests.support.building import digests
from tests.support.servers import free_port, served

pytestmark = [pytest.mark.boot, pytest.mark.network]

PAGE = "pkg/nginx/root/usr/share/nginx/html/index.html"


def wait(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


def test_ten_edits_are_served_by_one_machine(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    cache = Path(kept) if kept else tmp_path_factory.getbasetemp().parent / "packages-cache"
    for name in ("pkg", "specs"):
        shutil.copytree(SPECS.parent / name, tmp_path / name, symlinks=True)
    page, spec, port = tmp_path / PAGE, tmp_path / "specs" / "nginx.yml", free_port()
    environment = {**os.environ, "LKBUILD_CACHE": str(cache), "PYTHONPATH": str(SPECS.parent)}
    program = [sys.executable, "-m", "lkbuild"]
    words = ["--dir", "out", "--accel", "tcg", "--cpus", "2", "--publish", f"127.0.0.1:{port}:80", "specs/nginx.yml"]
    said = tmp_path / "said"

    def text() -> str:
        return said.read_text()

    with said.open("wb") as out:
        dev = subprocess.Popen([*program, "dev", *words], cwd=tmp_path, env=environment, stdout=out, stderr=out)
    try:
        wait(lambda: "the machine is up" in text() or dev.poll() is not None, text)
        for number in range(10):
            page.write_text(f"<h1>edit {number}</h1>\n")
            wait(lambda number=number: f"edit {number}<" in served(port), text)  # type: ignore[misc]
        good = spec.read_text()
        spec.write_text("services: [\n")
        wait(lambda: "the machine goes on as it was" in text(), text)
        assert "edit 9<" in served(port)
        spec.write_text(good)
        assert text().count("nginx: swapped in") == 10
        assert text().count("the machine is up") == 1
    finally:
        dev.send_signal(signal.SIGINT)
        dev.wait(60)
    assert dev.returncode == 130, text()
    subprocess.run([*program, "build", "--dir", "plain", "specs/nginx.yml"], cwd=tmp_path, env=environment, check=True)
    files = {name: digest for name, digest in digests(tmp_path / "out").items() if "/" not in name}
    assert files == digests(tmp_path / "plain")
