"""Every `config.json` and `runtime.json` of the recorded machines, computed from spec and image, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lkbuild.oci.config import Place, bundle_documents, is_readonly, names_used, own_tree
from lkbuild.oci.image import (
    REF_NAME,
    Descriptor,
    Index,
    Manifest,
    Platform,
    RunConfig,
    choose,
    parse_manifest,
)
from lkbuild.oci.mounts import volumes_used
from lkbuild.spec.load import load
from lkbuild.spec.model import Container, Spec

CONFORMANCE = Path(__file__).parents[1] / "conformance"
IMAGES = CONFORMANCE / "images"
SPECS = sorted(path.stem for path in (CONFORMANCE / "specs").glob("*.yml"))
SECTIONS = ("onboot", "onshutdown", "services")


def blob(descriptor: Descriptor) -> bytes:
    return (IMAGES / "blobs" / descriptor.digest.algorithm / descriptor.digest.hex).read_bytes()


@cache
def run_config(image: str) -> RunConfig:
    found = {d.annotation(REF_NAME): d for d in Index.parse((IMAGES / "index.json").read_bytes()).manifests}[image]
    document = parse_manifest(blob(found), found.media_type)
    if isinstance(document, Index):
        chosen = choose(document.manifests, Platform("linux", "amd64"))
        assert chosen is not None
        document = Manifest.parse(blob(chosen), chosen.media_type)
    return RunConfig.from_config(blob(document.config))


def containers(spec: Spec) -> Iterator[tuple[str, Container]]:
    """Every container with its directory, in the order in which uids are given."""
    for section in SECTIONS:
        for number, container in enumerate(getattr(spec, section)):
            name = container.name if section == "services" else f"{number:03d}-{container.name}"
            yield f"containers/{section}/{name}", container


def documents(spec: Spec) -> dict[str, bytes]:
    """The documents of all containers by their path."""
    ids = {container.name: 100 + number for number, (_, container) in enumerate(containers(spec))}
    volumes = {volume.name: volume.readonly for volume in spec.volumes}
    trees: dict[str, str] = {}
    found: dict[str, bytes] = {}
    for directory, container in containers(spec):
        image = run_config(str(container.image))
        readonly = is_readonly(container.config, image)
        tree = trees.setdefault(str(container.image), own_tree(directory, readonly))
        # Only what the container names is handed over: a neighbour must not change its documents.
        used_ids = {name: ids[name] for name in names_used(container.config, image) if name in ids}
        used_volumes = {name: volumes[name] for name in volumes_used(container.config)}
        place = Place(directory, tree, readonly)
        config, runtime = bundle_documents(container.config, image, place, used_ids, used_volumes)
        found[f"{directory}/config.json"], found[f"{directory}/runtime.json"] = config, runtime
    return found


def recorded(name: str) -> dict[str, Any]:
    """The documents of a golden, each path's last one."""
    entries = json.loads((CONFORMANCE / "golden" / f"{name}.json").read_text())
    return {entry["path"]: entry["json"] for entry in entries if "json" in entry}


def test_all_specs_are_there() -> None:
    assert len(SPECS) == 110
    assert sum(len(recorded(name)) for name in SPECS) == 282


@pytest.mark.parametrize("name", SPECS)
def test_documents_are_those_recorded(name: str) -> None:
    computed = documents(load([CONFORMANCE / "specs" / f"{name}.yml"]))
    assert {path: json.loads(text) for path, text in computed.items()} == recorded(name)


def test_the_documents_are_canonical() -> None:
    """The same container gives the same bytes, and the order of fields is that of the runtime-spec's structures."""
    spec = load([CONFORMANCE / "specs" / "full.yml"])
    first, second = documents(spec), documents(spec)
    assert first == second
    config = json.loads(first["containers/onboot/000-sysctl/config.json"])
    assert list(config) == ["ociVersion", "process", "root", "hostname", "mounts", "annotations", "linux"]
    assert list(config["process"]) == [
        "user", "args", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges", "oomScoreAdj",
    ]  # fmt: skip
    assert list(config["linux"]) == [
        "sysctl", "resources", "cgroupsPath", "namespaces", "devices", "rootfsPropagation", "maskedPaths",
        "readonlyPaths",
    ]  # fmt: skip
    assert list(config["process"]["capabilities"]) == [
        "bounding", "effective", "inheritable", "permitted", "ambient",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_every_config_means_something_to_the_runtime_spec(name: str) -> None:
    """The rules of runtime-spec config.md and config-linux.md that no JSON type expresses."""
    for path, text in documents(load([CONFORMANCE / "specs" / f"{name}.yml"])).items():
        if not path.endswith("/config.json"):
            continue
        config = json.loads(text)
        process, linux = config["process"], config["linux"]
        assert process["args"] and process["cwd"].startswith("/") and config["root"]["path"] == "rootfs"
        destinations = [mount["destination"] for mount in config["mounts"]]
        assert all(d.startswith("/") for d in destinations) and len(set(destinations)) == len(destinations)
        kinds = [namespace["type"] for namespace in linux["namespaces"]]
        assert len(set(kinds)) == len(kinds) and set(kinds) <= {"network", "ipc", "uts", "pid", "user", "mount"}
        sets = {kind: set(names) for kind, names in process["capabilities"].items()}
        permitted = sets.get("permitted", set())
        assert sets.get("effective", set()) <= permitted == sets.get("bounding", set())
        assert sets.get("ambient", set()) <= permitted & sets.get("inheritable", set())
        limits = process.get("rlimits", [])
        assert len({limit["type"] for limit in limits}) == len(limits)
        assert all(0 <= limit["soft"] <= limit["hard"] < 1 << 64 for limit in limits)
