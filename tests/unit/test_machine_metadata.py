"""The CD with metadata, read back by xorriso and isoinfo."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lkbuild.disk.config_iso import SECTOR, config_iso


@pytest.mark.skipif(not shutil.which("xorriso"), reason="xorriso reads it back")
@pytest.mark.parametrize("size", [0, 1, SECTOR - 1, SECTOR, SECTOR + 1, 1_000_003])
def test_the_data_is_in_the_file_config(size: int, tmp_path: Path) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (tmp_path / "data.iso").write_bytes(config_iso(data))
    argv = ["xorriso", "-osirrox", "on", "-indev", tmp_path / "data.iso", "-extract", "/", tmp_path / "out"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir()] == [("CONFIG", data)]


@pytest.mark.skipif(not shutil.which("isoinfo"), reason="isoinfo reads it back")
def test_its_volume_is_described_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data.iso").write_bytes(config_iso(b"x" * 5000))
    said = subprocess.run(["isoinfo", "-d", "-i", tmp_path / "data.iso"], capture_output=True, text=True, check=True)
    assert "Volume id: CONFIG" in said.stdout
    assert "Volume size is: 24" in said.stdout
    assert (tmp_path / "data.iso").stat().st_size == 24 * SECTOR


def test_the_same_data_is_the_same_cd() -> None:
    assert config_iso(b"a") == config_iso(b"a") != config_iso(b"b")
