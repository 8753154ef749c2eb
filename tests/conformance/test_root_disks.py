"""A root filesystem on a disk is the reference's, as programs that are not ours read it, for all 110 specs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_conformance import COMPARE, HERE, SPECS
from tests.support.building import offline, run


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A package with the busybox of this machine, for builds without a network."""
    return busybox_package(tmp_path_factory.mktemp("loaders"))


def busybox_package(directory: Path) -> str:
    """A package of boot loaders that has nothing but the busybox of this machine; its name for `bootloader`."""
    busybox = needs("busybox")
    (directory / "root" / "usr" / "bin").mkdir(parents=True)
    shutil.copyfile(busybox, directory / "root" / "usr" / "bin" / "busybox")
    (directory / "build.yml").write_text("image: loaders\n")
    return f"@pkg:{directory}"


def needs(program: str) -> str:
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def squashfs_entries(image: Path) -> list[dict[str, Any]]:
    with image.with_suffix(".tar").open("wb") as tar:
        subprocess.run([needs("sqfs2tar"), image], stdout=tar, check=True)
    return list(COMPARE.read_tar(image.with_suffix(".tar")))


def iso_entries(image: Path) -> list[dict[str, Any]]:
    """What libarchive reads.  It takes both halves of PN for one number, of which major and minor are other bits."""
    tar = image.with_suffix(".tar")
    if image.stat().st_size < 24 * 2048:  # what it takes no file for an ISO without
        os.truncate(image, 24 * 2048)
    subprocess.run([needs("bsdtar"), "-c", "-f", tar, "--format=pax", f"@{image}"], check=True)
    return [
        {**entry, "device": list(divmod(entry["device"][1], 1 << 20))} if "device" in entry else entry
        for entry in COMPARE.read_tar(tar)
    ]


def erofs_entries(image: Path) -> list[dict[str, Any]]:
    """What fsck.erofs extracts, which only root can do with owners and devices.

    It gives each name of a file a file of its own, and takes setuid away: for that the inodes are looked at.
    """
    if os.geteuid() != 0:
        pytest.skip("fsck.erofs makes devices and owners as root only")
    tree, tar = image.with_name("tree"), image.with_suffix(".tar")
    subprocess.run([needs("fsck.erofs"), f"--extract={tree}", image], check=True, capture_output=True)
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as made:
        for path in sorted(tree.iterdir()):
            made.add(path, path.name)
    shutil.rmtree(tree)
    first: dict[int, str] = {}
    entries = []
    for entry in COMPARE.read_tar(tar):
        if entry["kind"] == "file":
            number, mode = inode(image, entry["path"])
            entry["mode"] = f"{mode:04o}"
            if number in first:
                entry = {**entry, "kind": "hardlink", "target": first[number]}
            first.setdefault(number, entry["path"])
        entries.append(entry)
    return entries


def inode(image: Path, path: str) -> tuple[int, int]:
    """A file's inode, as dump.erofs finds it, and the mode that stands there (it shows the lower nine bits alone)."""
    said = subprocess.run([needs("dump.erofs"), f"--path=/{path}", image], check=True, capture_output=True, text=True)
    place = re.search(r"NID: (\d+) ", said.stdout)
    assert place is not None
    with image.open("rb") as file:
        file.seek(int(place[1]) * 32 + 4)
        return int(place[1]), int.from_bytes(file.read(2), "little") & 0o7777


READERS = {
    "kernel+squashfs": ("-squashfs.img", squashfs_entries),
    "kernel+erofs": ("-erofs.img", erofs_entries),
    "kernel+iso": (".iso", iso_entries),
}


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_same_root_filesystem(spec: Path, format: str, cache: Path, loaders: str, tmp_path: Path) -> None:
    ending, entries = READERS[format]
    run(offline(spec, cache, tmp_path, formats=(format,), bootloader=loaders))
    golden = json.loads((HERE / "golden" / f"{spec.stem}.json").read_text())
    want = [entry for entry in golden if not entry["path"].startswith("boot/")]
    assert list(COMPARE.differences(want, entries(tmp_path / f"{spec.stem}{ending}"))) == []
