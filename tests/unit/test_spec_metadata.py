"""The spec written into the image: read back by PyYAML and json, the same text for the same spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.spec.load import load
from lkbuild.spec.metadata import metadata_json, metadata_yaml
from lkbuild.spec.model import Spec

CORPUS = Path(__file__).parents[1] / "conformance" / "specs"
A = Path("a.yml")


def read(text: str) -> Spec:
    return load([A], text={A: text})


def test_the_full_spec_as_it_is_recorded():
    assert metadata_yaml(load([CORPUS / "full.yml"])).startswith("""\
kernel:
  image: docker.io/conf/kernel:1
  cmdline: "console=ttyS0"
init:
- docker.io/conf/init:1
- docker.io/conf/runc:1
onboot:
- name: sysctl
  image: docker.io/conf/labelled:1
- name: dhcp
  image: docker.io/conf/base:1
  command:
  - /bin/tool
  - "-1"
onshutdown:
""")


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.yml")), ids=lambda path: path.stem)
def test_both_forms_say_the_same_and_make_the_same_machine(path):
    spec = load([path])
    document = json.loads(metadata_json(spec))
    assert (yaml.safe_load(metadata_yaml(spec)) or {}) == document
    if document:
        again = load([path], text={path: metadata_yaml(spec)})
        assert again.kernel == spec.kernel
        assert (again.onboot, again.services, again.files) == (spec.onboot, spec.services, spec.files)
        assert metadata_yaml(again) == metadata_yaml(spec)


@pytest.mark.parametrize(
    ("written", "recorded"),
    [
        ("nginx", "docker.io/library/nginx"),  # no tag is added
        ("nginx:latest", "docker.io/library/nginx:latest"),
        ("a/b", "docker.io/a/b"),
        ("localhost:5000/b", "localhost:5000/b"),
        ("ghcr.io/a/b:1@sha256:" + "0" * 64, "ghcr.io/a/b:1@sha256:" + "0" * 64),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
    ],
)
def test_references_are_in_full(written, recorded):
    spec = read(f"init: ['{written}']\nvolumes: [{{name: v, image: '{written}'}}, {{name: w}}]\n")
    document = json.loads(metadata_json(spec))
    assert document == {"init": [recorded], "volumes": [{"name": "v", "image": recorded}, {"name": "w"}]}


def test_what_is_recorded_does_not_depend_on_how_it_was_written():
    one = "services:\n- {image: a, name: x, sysctl: {b: '2', a: '1'}, oomScoreAdj: 0x10}\n"
    one += "kernel: {cmdline: c, image: k}\n"
    other = 'kernel:\n  image: "k"\n  cmdline: c\noutputs: [{format: tar}]\ntrust: {org: []}\nfiles: []\nservices:\n'
    other += "- name: x\n  image: a\n  oomScoreAdj: 16\n  sysctl:\n    a: '1'\n    b: '2'\n"
    assert metadata_yaml(read(one)) == metadata_yaml(read(other))
    assert metadata_json(read(one)) == metadata_json(read(other))


def test_no_path_of_the_host_is_recorded(tmp_path):
    (tmp_path / "s").write_text("")
    path = tmp_path / "a.yml"
    spec = load([path], text={path: "files: [{path: /x, source: ./s}]"})
    assert json.loads(metadata_json(spec)) == {"files": [{"path": "/x", "source": "./s"}]}


def test_empty_lists_of_an_entry_are_kept_for_they_beat_the_label():
    spec = read("init: []\nservices: [{name: x, image: a, capabilities: [], sysctl: {}, readonly: false, net: ''}]")
    entry = {
        "name": "x",
        "image": "docker.io/library/a",
        "capabilities": [],
        "net": "",
        "readonly": False,
        "sysctl": {},
    }
    assert yaml.safe_load(metadata_yaml(spec)) == {"services": [entry]}


def test_package_directories_can_be_named_by_what_was_built(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p/build.yml").write_text("")
    path = tmp_path / "a.yml"
    text = "kernel: {image: '@pkg:./p'}\ninit: ['@pkg:./p', a]\nservices: [{name: x, image: '@pkg:./p'}]\n"
    spec = load([path], text={path: text})
    document = json.loads(metadata_json(spec, {"@pkg:./p": "p@sha256:1"}))
    assert document["kernel"]["image"] == document["services"][0]["image"] == "p@sha256:1"
    assert document["init"] == ["p@sha256:1", "docker.io/library/a"]
    assert json.loads(metadata_json(spec))["init"][0] == "@pkg:./p"


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\x85\ufeff"))
    | st.sampled_from(
        ["yes", "NO", "null", "~", "1", "0x1", "1e3", "a: b", "a #b", "- x", "é\n\tb ", "\U0001f600", "a:b"]
    )
)
def test_any_contents_can_be_read_back(contents):
    text = f"files: [{{path: x, contents: {json.dumps(contents, ensure_ascii=False)}}}]"
    spec = read(text)
    assert spec.files[0].contents == contents
    assert yaml.safe_load(metadata_yaml(spec))["files"][0]["contents"] == contents
    assert json.loads(metadata_json(spec))["files"][0]["contents"] == contents
