"""The same root filesystem as the reference for 110 specs, as tar and as initrd; 34 specs refused as it does."""

from __future__ import annotations

import importlib.util
import json
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from lkbuild.errors import LkbuildError, SpecError
from tests.support.building import Built, offline, run

HERE = Path(__file__).parent
SPECS = sorted((HERE / "specs").glob("*.yml"))
REJECTED = json.loads((HERE / "rejected.json").read_text())


def _compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", HERE / "compare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare"] = module
    spec.loader.exec_module(module)
    return module


COMPARE = _compare()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole corpus: that specs share steps must not change what comes out."""
    return tmp_path_factory.mktemp("cache")


def build_both(spec: Path, cache: Path, out: Path, **more: object) -> Built:
    return run(offline(spec, cache, out, **{"formats": ("kernel+initrd", "tar"), **more}))


def differences(golden: str, root: Path, initrd: bool) -> list[str]:
    want = json.loads((HERE / "golden" / f"{golden}.json").read_text())
    got = COMPARE.read_initrd(root) if initrd else COMPARE.read_tar(root)
    return list(COMPARE.differences(want, got, initrd))


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_same_root_filesystem(spec: Path, cache: Path, tmp_path: Path) -> None:
    build_both(spec, cache, tmp_path)
    assert_same(spec, tmp_path)


def assert_same(spec: Path, out: Path) -> None:
    """The tar and the initrd of `spec` in `out` are what the reference builds."""
    assert differences(spec.stem, out / f"{spec.stem}.tar", initrd=False) == []
    initrd = out / f"{spec.stem}-initrd.img"
    if spec.stem == "kernel-ucode":
        initrd = without_microcode(initrd, out / f"{spec.stem}.tar")
    assert differences(spec.stem, initrd, initrd=True) == []


def without_microcode(initrd: Path, tar: Path) -> Path:
    """The initrd after its microcode, which must stand first; the corpus' microcode is no cpio that could be read."""
    with tarfile.open(tar) as archive:
        file = archive.extractfile("boot/ucode.cpio")
        assert file is not None
        ucode = file.read()
    data = initrd.read_bytes()
    assert len(ucode) == 700
    assert data.startswith(ucode)
    rest = initrd.with_name("rest")
    rest.write_bytes(data[len(ucode) :])
    return rest


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_same_root_filesystem_by_either_compression(compression: str, cache: Path, tmp_path: Path) -> None:
    build_both(HERE / "specs" / "full.yml", cache, tmp_path, compression=compression, formats=("kernel+initrd",))
    assert differences("full", tmp_path / "full-initrd.img", initrd=True) == []


@pytest.mark.parametrize("name", sorted(REJECTED))
def test_refused_with_line_and_words(name: str, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(LkbuildError) as caught:
        build_both(HERE / "reject" / f"{name}.yml", cache, tmp_path)
    want = REJECTED[name]
    assert f"{name}.yml:{want['line']}" in str(caught.value)
    problems = caught.value.problems if isinstance(caught.value, SpecError) else ()
    for word in want["must_mention"]:
        assert word in str(caught.value)
    assert all(problem.origin.line for problem in problems)
    assert list(tmp_path.iterdir()) == [], "a refused spec must write nothing"


NEIGHBOURS = {
    "bad-capability": ("CAP_NOPE", "CAP_CHOWN"),
    "bad-reference": ("UPPER/Case:!!", "conf/base:1"),
    "bad-rlimit": ("nofile,1", "nofile,1,2"),
    "bind-no-colon": ("- /a", "- /a:/b"),
    "bind-too-many": ("/a:/b:ro:x", "/a:/b:ro"),
    "device-bad-mode": ("mode: zz", "mode: '0644'"),
    "dir-with-contents": ("  contents: x\n", ""),
    "duplicate-service": ("- name: x\n  image: conf/base:1\n- name: x", "- name: y\n  image: conf/base:1\n- name: x"),
    "file-bad-mode": ("9z", "'0644'"),
    "file-contents-and-source": ("  source: b\n", ""),
    "file-mode-integer": ("644", "'0644'"),
    "file-no-contents": ("path: x", "path: x\n  contents: a"),
    "file-no-path": ("contents: x", "contents: x\n  path: p"),
    "file-source-missing": ("/does/not/exist", "/does/not/exist\n  optional: true"),
    "image-not-found": ("conf/nonexistent:9", "conf/base:1"),
    "kernel-missing-binary": ("nope", "kernel"),
    "metadata-unknown": ("xml", "json"),
    "missing-image": ("- name: x", "- name: x\n  image: conf/base:1"),
    "missing-name": ("- image: conf/base:1", "- image: conf/base:1\n  name: x"),
    "mount-no-type": ("destination: /x", "destination: /x\n    type: tmpfs"),
    "rlimit-not-number": ("nofile,x,2", "nofile,1,2"),
    "services-not-list": ("services:\n  x: 1", "services: []"),
    "string-for-bool": ("'yes'", "true"),
    "tmpfs-too-many": ("/a:b:c", "/a:size=1m"),
    "uid-wrong-type": ("uid:\n  - 1", "uid: 1"),
    "unknown-image-key": ("capabilites", "capabilities"),
    "unknown-rlimit": ("bogus", "nofile"),
    "unknown-top-key": ("servces", "services"),
    "unknown-uid-name": ("nobody-here", "x"),
    "volume-bad-format": ("zip", "filesystem"),
    "volume-bad-name": ("Bad!", "good"),
    "volume-duplicate": ("- name: v\n- name: v", "- name: v\n- name: w"),
    "volume-ro-written": ("v:/m", "v:/m:ro"),
    "volume-unknown": ("nope:/m", "/nope:/m"),
}
"""For each reject the smallest change that makes it right."""


@pytest.mark.parametrize("name", sorted(REJECTED))
def test_the_smallest_valid_neighbour_builds(name: str, cache: Path, tmp_path: Path) -> None:
    wrong, right = NEIGHBOURS[name]
    text = (HERE / "reject" / f"{name}.yml").read_text()
    assert wrong in text
    spec = tmp_path / "neighbour.yml"
    spec.write_text(text.replace(wrong, right, 1))
    build_both(spec, cache, tmp_path / "out")
    assert (tmp_path / "out" / "neighbour.tar").stat().st_size > 0
