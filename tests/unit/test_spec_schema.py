"""The JSON Schema: current, valid itself, and no stricter than the decoder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from lkbuild.spec.fields import keys
from lkbuild.spec.model import ContainerConfig, Spec
from lkbuild.spec.schema import SCHEMA_FILE, schema, schema_text

CORPUS = Path(__file__).parents[1] / "conformance"
SCHEMA = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
STRUCTURAL = [
    "bad-rlimit", "bind-no-colon", "bind-too-many", "file-bad-mode", "file-mode-integer", "file-no-path",
    "metadata-unknown", "missing-image", "missing-name", "rlimit-not-number", "services-not-list", "string-for-bool",
    "tmpfs-too-many", "uid-wrong-type", "unknown-image-key", "unknown-top-key", "volume-bad-format", "volume-bad-name",
    "bad-capability",
]  # fmt: skip


def document(path: Path) -> object:
    return yaml.safe_load(path.read_text())


def test_the_committed_schema_is_current():
    """If this fails: python -m lkbuild.spec.schema > lkbuild/spec/spec.schema.json"""
    assert SCHEMA_FILE.read_text() == schema_text()


def test_the_module_writes_the_schema():
    done = subprocess.run([sys.executable, "-m", "lkbuild.spec.schema"], capture_output=True, check=True, text=True)
    assert done.stdout == schema_text()


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", sorted((CORPUS / "specs").glob("*.yml")), ids=lambda path: path.stem)
def test_specs_of_the_corpus_are_valid(path):
    SCHEMA.validate(document(path))


@pytest.mark.parametrize("name", STRUCTURAL)
def test_what_is_wrong_by_itself_is_invalid(name):
    assert not SCHEMA.is_valid(document(CORPUS / "reject" / f"{name}.yml"))


def test_every_object_is_closed_and_described():
    def objects(part: object):
        if isinstance(part, dict):
            if part.get("type") == "object":
                yield part
            for inner in part.values():
                yield from objects(inner)

    found = [each for each in objects(schema()) if "properties" in each]
    assert len(found) >= 24
    for each in found:
        assert each["additionalProperties"] is False
        assert each["title"]
        assert each["description"]
        assert all(inner.get("description") for inner in each["properties"].values())


@pytest.mark.parametrize(
    "text",
    [
        "{unknown: 1}",
        "{kernel: {unknown: 1}}",
        "{services: [{name: x, image: y, unknown: 1}]}",
        "{services: [{name: x, image: y, resources: {cpu: {unknown: 1}}}]}",
        "{services: [{name: x, image: y, runtime: {bindNS: {unknown: x}}}]}",
        "{files: [{path: x, unknown: 1}]}",
        "{outputs: [{unknown: x}]}",
        "{trust: {unknown: []}}",
    ],
)
def test_unknown_keys_are_invalid_at_every_level(text):
    assert not SCHEMA.is_valid(yaml.safe_load(text))


def test_every_field_of_the_reference_is_known():
    """The top keys and those of an entry, as LinuxKit's own schema has them."""
    top = {"kernel", "init", "onboot", "onshutdown", "services", "trust", "files", "volumes"}
    assert set(keys(Spec)) == top | {"outputs", "budget"}
    entry = (
        "capabilities capabilities.add ambient mounts binds binds.add devices tmpfs command env cwd net pid ipc uts "
        "userns hostname readonly maskedPaths readonlyPaths uid gid additionalGids noNewPrivileges oomScoreAdj "
        "rootfsPropagation cgroupsPath resources sysctl rlimits uidMappings gidMappings annotations runtime"
    )
    assert set(keys(ContainerConfig)) == set(entry.split())
