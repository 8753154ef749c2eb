"""Debian packages made by dpkg-deb for tests, and layers listed by Python's tarfile."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest

from lkbuild.digest import Digest
from lkbuild.steps.work import InputFile, Work
from lkbuild.store import Blob

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb makes the packages")
Tree = dict[str, str | None]


def make_deb(directory: Path, name: str, tree: Tree, options: tuple[str, ...] = (), **more: str) -> Path:
    """A package by dpkg-deb; a value is a file's text, `-> x` a link, `= x` a hard link, None a directory."""
    source = directory / f"{name}.src"
    for path, text in {"usr/share": None, **tree}.items():
        place = source / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            place.mkdir(exist_ok=True)
        elif text.startswith("-> "):
            place.symlink_to(text[3:])
        elif text.startswith("= "):
            os.link(source / text[2:], place)
        else:
            place.write_text(text)
            place.chmod(0o755 if "bin/" in path else 0o644)
    said = {"Package": name, "Version": "1:1.0~rc", "Architecture": "all", "Maintainer": "x <x@x>", "Description": "d"}
    said |= {key.replace("_", "-"): value for key, value in more.items()}
    (source / "DEBIAN").mkdir()
    (source / "DEBIAN/control").write_text("".join(f"{k}: {v}\n" for k, v in said.items()))
    out = directory / f"{name}_1.0_all.deb"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1000000000"}
    command = ["dpkg-deb", "--root-owner-group", *options, "-b", str(source), str(out)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return out


def work(directory: Path, **inputs: Path) -> Work:
    directory.mkdir(parents=True)
    files = {role: InputFile(p, Blob(Digest.of_file(p), p.stat().st_size)) for role, p in inputs.items()}
    return Work(files, directory, cast(Any, None), lambda done, of: None, cast(Any, None))


def listing(layer: Path) -> dict[str, str]:
    """What the layer holds, by Python's tarfile: the reader of others, too."""
    found: dict[str, str] = {}
    with tarfile.open(layer) as tar:
        for info in tar:
            assert info.name not in found
            kind = "l" if info.issym() else "h" if info.islnk() else "d" if info.isdir() else "-"
            target = f" {info.linkname}" if info.linkname else ""
            found[info.name] = f"{kind}{info.mode:o} {info.uid}:{info.gid}{target}"
    return found


def text_of(layer: Path, path: str) -> str:
    with tarfile.open(layer) as tar:
        return cast(Any, tar.extractfile(path)).read().decode()
