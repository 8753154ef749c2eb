"""How mksquashfs is called, tried with the program and read back by unsquashfs."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from lkbuild.archive.entry import FIXED_TIME
from lkbuild.disk.squashfs import PROGRAM, SquashfsOptions, arguments, environment
from tests.unit.disk_images import noise, run


def a_tar() -> bytes:
    """Directories, a setuid file, and a link that is too long for a plain header."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, mode, target in (
            ("./", tarfile.DIRTYPE, 0o700, ""),
            ("bin", tarfile.DIRTYPE, 0o755, ""),
            ("bin/tool", tarfile.REGTYPE, 0o4755, ""),
            ("bin/long", tarfile.SYMTYPE, 0o777, "../x/" + "y" * 150),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname, member.mtime = kind, mode, target, 1_400_000_000
            content = noise(300_000) if kind == tarfile.REGTYPE else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def squashed(path: Path, options: SquashfsOptions, zone: str) -> str:
    """The digest of what mksquashfs makes."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    given = {**os.environ, **environment(options), "TZ": zone}
    subprocess.run(arguments(os.fspath(path), options), input=a_tar(), env=given, check=True, capture_output=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_root_and_the_files_have_their_modes_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    squashed(tmp_path / "a", SquashfsOptions(), "UTC")
    lines = [line.split() for line in run("unsquashfs", "-lln", tmp_path / "a").splitlines() if "squashfs-root" in line]
    shown = {line[5]: line for line in lines}
    assert [shown["squashfs-root"][n] for n in (0, 3, 4)] == ["drwxr-xr-x", "2017-04-18", "16:30"]
    assert shown["squashfs-root/bin/tool"][:5] == ["-rwsr-xr-x", "0/0", "300000", "2014-05-13", "16:53"]
    assert shown["squashfs-root/bin/long"][-1] == "../x/" + "y" * 150
    assert FIXED_TIME == 1492533000


@pytest.mark.parametrize("options", [SquashfsOptions(), SquashfsOptions("gzip", 9), SquashfsOptions("xz", None)])
def test_the_same_tar_makes_the_same_bytes_whatever_memory_and_zone(tmp_path: Path, options: SquashfsOptions) -> None:
    first = squashed(tmp_path / "a", options, "Asia/Tokyo")
    less = SquashfsOptions(options.compressor, options.level, 32)
    assert squashed(tmp_path / "b", less, "America/Lima") == first


def test_a_level_that_a_compressor_has_not_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="gzip has no level 12"):
        arguments("out", SquashfsOptions("gzip", 12))
    with pytest.raises(ValueError, match="xz has no level 3"):
        arguments("out", SquashfsOptions("xz"))
