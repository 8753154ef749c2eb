"""The corpus: every spec the reference builds is read, every one it refuses is refused at the right line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lkbuild.errors import SpecError
from lkbuild.spec.load import load
from lkbuild.spec.model import Spec

CORPUS = Path(__file__).parents[1] / "conformance"
SPECS = sorted((CORPUS / "specs").glob("*.yml"))
REJECTED = json.loads((CORPUS / "rejected.json").read_text())
LATER = {"image-not-found", "kernel-missing-binary"}
"""Those that only the images tell."""

NEIGHBOURS = {
    "bad-capability": ("CAP_NOPE", "CAP_CHOWN"),
    "bad-reference": ("UPPER/Case:!!", "upper/case:1"),
    "bad-rlimit": ("nofile,1", "nofile,1,2"),
    "bind-no-colon": ("- /a", "- /a:/b"),
    "bind-too-many": (":ro:x", ":ro"),
    "device-bad-mode": ("mode: zz", "mode: '0600'"),
    "dir-with-contents": ("  contents: x\n", ""),
    "duplicate-service": ("- name: x\n  image: conf/base:1\n- ", "- name: y\n  image: conf/base:1\n- "),
    "file-bad-mode": ("9z", "'07'"),
    "file-contents-and-source": ("  source: b\n", ""),
    "file-mode-integer": ("644", "'644'"),
    "file-no-contents": ("path: x", "path: x\n  contents: ''"),
    "file-no-path": ("contents: x", "contents: x\n  path: p"),
    "file-source-missing": ("source:", "optional: true\n  source:"),
    "metadata-unknown": ("xml", "json"),
    "missing-image": ("name: x", "name: x\n  image: conf/base:1"),
    "missing-name": ("- image", "- name: x\n  image"),
    "mount-no-type": ("destination: /x", "destination: /dev"),
    "rlimit-not-number": ("nofile,x,2", "nofile,unlimited,2"),
    "services-not-list": ("  x: 1", "- {name: x, image: conf/base:1}"),
    "string-for-bool": ("'yes'", "true"),
    "tmpfs-too-many": ("/a:b:c", "/a:b"),
    "uid-wrong-type": ("uid:\n  - 1", "uid: 1"),
    "unknown-image-key": ("capabilites", "capabilities"),
    "unknown-rlimit": ("bogus", "nproc"),
    "unknown-top-key": ("servces", "services"),
    "unknown-uid-name": ("nobody-here", "x"),
    "volume-bad-format": ("zip", "oci"),
    "volume-bad-name": ("Bad!", "good"),
    "volume-duplicate": ("- name: v\n- name: v", "- name: v\n- name: w"),
    "volume-ro-written": ("v:/m", "v:/m:ro"),
    "volume-unknown": ("nope:/m", "/nope:/m"),
}
"""For each reject the smallest change that makes it valid."""


def test_the_corpus_is_whole():
    assert len(SPECS) == 110
    assert len(REJECTED) == 34
    assert set(NEIGHBOURS) == set(REJECTED) - LATER


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_specs_the_reference_builds_are_read(path):
    spec = load([path])
    assert isinstance(spec, Spec)
    assert spec.name == path.stem


@pytest.mark.parametrize("name", sorted(set(REJECTED) - LATER))
def test_specs_the_reference_refuses_are_refused_with_the_line(name):
    with pytest.raises(SpecError) as caught:
        load([CORPUS / "reject" / f"{name}.yml"])
    (problem,) = caught.value.problems
    assert problem.origin.file == str(CORPUS / "reject" / f"{name}.yml")
    assert problem.origin.line == REJECTED[name]["line"]
    assert problem.origin.column > 0
    for word in REJECTED[name]["must_mention"]:
        assert word in problem.message


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_only_images_tell_is_left_to_them(name):
    assert load([CORPUS / "reject" / f"{name}.yml"]).name == name


@pytest.mark.parametrize("name", sorted(NEIGHBOURS))
def test_the_smallest_valid_neighbour_of_a_reject_is_read(name):
    path = CORPUS / "reject" / f"{name}.yml"
    old, new = NEIGHBOURS[name]
    text = path.read_text()
    assert old in text
    assert load([path], text={path: text.replace(old, new, 1)}).name == name
