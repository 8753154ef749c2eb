"""What is in a machine and where it comes from, beside every build and in it: right, the same each time, and cheap."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lkbuild.digest import Digest
from lkbuild.sources import RegistryOptions
from tests.support.building import Built, digests, kinds, offline, run
from tests.support.documents import check_cyclonedx, check_provenance, check_spdx
from tests.support.layouts import Layout, layer
from tests.support.servers import docker_registry, push_layout
from tests.unit.test_contents_databases import APK, GO, STATUS, statement

SPEC = """\
init:
  - sbom/init:1
onboot:
  - {name: first, image: sbom/web:1}
services:
  - {name: web, image: sbom/web:1}
  - {name: other, image: sbom/other:1}
  - {name: own, image: "@pkg:./own"}
files:
  - {path: etc/from, source: ./source.txt, mode: "0755"}
volumes:
  - {name: kept, image: sbom/other:1, format: oci}
"""
DPKG = STATUS.replace("Version: 3\n", "Version: 3\nMaintainer: x <x@x>\n")
DATABASE = APK.replace("P:no-version\n", "").replace("V:1.36.1-r29\n", "V:1.36.1-r29\nm:x <x@x>\n")
"""Both with somebody's name on every package, or NTIA's checker would miss it."""


@dataclass(frozen=True)
class Machine:
    """A spec, the images it is made of, and places for what is made."""

    root: Path
    layout: Layout

    @property
    def spec(self) -> Path:
        return self.root / "m.yml"

    def build(self, cache: str = "cache", out: str = "out", **more: object) -> Built:
        given = {"images": (self.layout.directory,), "sbom": "spdx", "provenance": True, **more}
        return run(offline(self.spec, self.root / cache, self.root / out, **given))

    def made(self, name: str, out: str = "out") -> bytes:
        return (self.root / out / name).read_bytes()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make(tmp_path)


def make(root: Path) -> Machine:
    layout = Layout(root / "layout")
    layout.add(
        "sbom/init:1", [layer([("etc/os-release", b"ID=alpine\n"), ("lib/apk/db/installed", DATABASE.encode())])]
    )
    layout.add("sbom/other:1", [layer([("bin/other", b"no database")])])
    attested(layout, "sbom/web:1", [layer([("var/lib/dpkg/status", DPKG.encode())]), layer([("bin/web", b"web")])])
    (root / "own" / "root").mkdir(parents=True)
    (root / "own" / "build.yml").write_text("image: own\norg: acme\n")
    (root / "own" / "root" / "file").write_text("hello")
    (root / "source.txt").write_text("source")
    (root / "m.yml").write_text(SPEC)
    return Machine(root, layout)


def attested(layout: Layout, name: str, layers: list[bytes], about: str = "", spoilt: bool = False) -> None:
    """An image with an SBOM as BuildKit attaches it; `about`: the digest it says it is of, where that is another."""
    layout.add(name, layers)
    head = layout.manifests.pop()
    annotations: Any = head.pop("annotations")
    digest = str(head["digest"])
    said = statement(GO, subject=[{"name": name, "digest": {"sha256": (about or digest).removeprefix("sha256:")}}])
    predicate = {"in-toto.io/predicate-type": "https://spdx.dev/Document"}
    blob = {**layout.blob(said, "application/vnd.in-toto+json"), "annotations": predicate}
    if spoilt:
        path = layout.directory / "blobs/sha256" / str(blob["digest"]).removeprefix("sha256:")
        path.write_bytes(said.replace(b"golang", b"gelang"))
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(b'{"architecture":"unknown","os":"unknown"}', "application/vnd.oci.image.config.v1+json"),
        "layers": [blob],
    }
    attestation = {
        **layout.blob(json.dumps(document).encode(), "application/vnd.oci.image.manifest.v1+json"),
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": digest,
        },
    }
    entry = {**head, "platform": {"architecture": "amd64", "os": "linux"}}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry, attestation],
    }
    root = layout.blob(json.dumps(index).encode(), "application/vnd.oci.image.index.v1+json")
    layout.manifests.append({**root, "annotations": annotations})
    (layout.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": layout.manifests}))


def from_cpio(initrd: Path, name: str) -> bytes:
    """The last file of this name in an initrd, by GNU cpio, archive by archive."""
    rest, found = gzip.decompress(initrd.read_bytes()), b""
    while rest.strip(b"\0"):
        done = subprocess.run(
            ["cpio", "-i", "--quiet", "--to-stdout", name], input=rest, capture_output=True, check=True
        )
        found = done.stdout or found
        end = rest.index(b"TRAILER!!!") + 14
        rest = rest[end:].lstrip(b"\0")
    return found


def test_what_is_said_of_a_machine(machine: Machine) -> None:
    built = machine.build(sbom="cyclonedx", formats=("kernel+initrd", "tar"))
    assert set(built.wrote) == {
        "m-initrd.img", "m.tar", "m.spdx.json", "m.cdx.json", "m.provenance.json",
    }  # fmt: skip
    document = check_spdx(machine.made("m.spdx.json"))
    packages = {package.spdx_id: package for package in document.packages}
    inside: dict[str, set[str]] = {}
    for each in document.relationships:
        if each.spdx_element_id in packages:
            name = packages[each.spdx_element_id].name
            inside.setdefault(name, set()).add(packages[each.related_spdx_element_id].name)
    init, web, other = "docker.io/sbom/init", "docker.io/sbom/web", "docker.io/sbom/other"
    assert inside == {
        "m": {init, "first", "web", "other", "own", other},
        "first": {web},
        "web": {web},
        "other": {other},
        "own": {"own"},
        init: {"busybox", "musl"},
        web: {"libc6", "half", "held", "golang.org/x/net"},
    }
    comments = {package.name: package.comment for package in document.packages}
    assert comments[other] == "no package database found"
    assert comments[web] == "packages from: dpkg, the image's own SBOM"
    check_cyclonedx(machine.made("m.cdx.json"))


def test_the_document_lies_in_the_machine_too(machine: Machine) -> None:
    machine.build(formats=("kernel+initrd", "tar"), compression="gzip")
    expected = machine.made("m.spdx.json")
    with tarfile.open(machine.root / "out/m.tar") as tar:
        info = tar.getmember("sbom.spdx.json")
        assert (oct(info.mode), info.uid, info.gid, info.mtime) == ("0o644", 0, 0, 1492533000)
        file = tar.extractfile(info)
        assert file is not None
        assert file.read() == expected
        assert tar.getnames()[-1] == "sbom.spdx.json", "a segment of its own, the last"
    assert from_cpio(machine.root / "out/m-initrd.img", "sbom.spdx.json") == expected


@pytest.mark.parametrize("form", ["kernel+initrd", "tar"])
def test_without(machine: Machine, form: str) -> None:
    built = machine.build(sbom="no", provenance=False, formats=(form,))
    assert len(built.wrote) == 1
    assert not {"image-contents", "spdx", "contents"} & set(kinds(built.ran))
    with_it = machine.build(out="with", formats=(form,))
    assert kinds(with_it.ran)["contents"] == 4
    names = {path.name for path in (machine.root / "out").iterdir()}
    assert names == ({"m.tar"} if form == "tar" else {"m-initrd.img"})
    if form == "tar":
        with tarfile.open(machine.root / "out/m.tar") as tar:
            assert "sbom.spdx.json" not in tar.getnames()


def test_two_builds_elsewhere_say_the_same(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.build(sbom="cyclonedx")
    elsewhere = tmp_path / "some" / "where" / "else"
    elsewhere.mkdir(parents=True)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    for name in ("layout", "own"):
        shutil.copytree(machine.root / name, elsewhere / name)
    for name in ("m.yml", "source.txt"):
        shutil.copy(machine.root / name, elsewhere / name)
    (elsewhere / "m.yml").write_text("# a comment\n" + SPEC)
    other = Machine(elsewhere, replace_directory(machine.layout, elsewhere / "layout"))
    other.build(sbom="cyclonedx")
    assert digests(machine.root / "out") == digests(elsewhere / "out")


def replace_directory(layout: Layout, directory: Path) -> Layout:
    other = Layout.__new__(Layout)
    other.directory, other.manifests = directory, layout.manifests
    return other


def test_a_changed_capability_costs_nothing_here_and_a_changed_service_its_own_image(machine: Machine) -> None:
    machine.build(provenance=False)
    machine.spec.write_text(SPEC.replace("name: web,", "name: web, capabilities: [CAP_CHOWN],"))
    assert kinds(machine.build(provenance=False).ran) == {"bundle": 1, "initrd": 1}
    (machine.root / "own" / "root" / "file").write_text("changed")
    again = machine.build(provenance=False)
    assert kinds(again.ran) == {"package": 1, "tree": 1, "contents": 1, "spdx": 1, "sbom": 1, "initrd": 1}
    assert "contents:own" in again.ran
    (machine.root / "source.txt").write_text("changed")
    assert kinds(machine.build(provenance=False).ran) == {"files": 1, "initrd": 1}
    assert machine.build(provenance=False).ran == ()


def test_another_place_in_the_machine(machine: Machine) -> None:
    machine.build(formats=("tar",), sbom_output="usr/share/sbom/m.json")
    with tarfile.open(machine.root / "out/m.tar") as tar:
        file = tar.extractfile("usr/share/sbom/m.json")
        assert file is not None
        assert file.read() == machine.made("m.spdx.json")
        assert "sbom.spdx.json" not in tar.getnames()


def test_a_file_of_the_spec_goes_before_ours(machine: Machine) -> None:
    machine.spec.write_text(SPEC.replace("files:\n", "files:\n  - {path: sbom.spdx.json, contents: mine}\n"))
    machine.build(formats=("tar",))
    with tarfile.open(machine.root / "out/m.tar") as tar:
        file = tar.extractfile("sbom.spdx.json")
        assert file is not None
        assert file.read() == b"mine"
        assert tar.getnames().count("sbom.spdx.json") == 1
    check_spdx(machine.made("m.spdx.json"))


# -- provenance --------------------------------------------------------------------------------------------------------


def test_provenance_is_about_every_file(machine: Machine) -> None:
    machine.build(formats=("kernel+initrd", "tar", "oci"), sbom="cyclonedx", supplier="Example Ltd")
    document = check_provenance(machine.made("m.provenance.json"))
    said = {each["name"]: each["digest"]["sha256"] for each in document["subject"]}
    there = digests(machine.root / "out")
    del there["m.provenance.json"]
    assert said == there
    assert {"m-initrd.img", "m.tar", "m-oci/index.json", "m.spdx.json", "m.cdx.json"} <= said.keys()
    parameters = document["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["formats"] == ["kernel+initrd", "tar", "oci"]
    assert parameters["options"] == {
        "arch": "amd64", "compression": "auto", "profile": "dev", "decompress_kernel": "no", "sbom": "cyclonedx",
        "sbom_output": "sbom.spdx.json", "supplier": "Example Ltd", "trust": "verify", "lock": "no",
    }  # fmt: skip


def test_provenance_names_what_was_read(machine: Machine) -> None:
    machine.build()
    dependencies = check_provenance(machine.made("m.provenance.json"))["predicate"]["buildDefinition"]
    found = {each["name"]: each for each in dependencies["resolvedDependencies"]}
    files = {"own/build.yml": "own/build.yml", "own/root/file": "own/root/file", "files: etc/from": "source.txt"}
    for name, path in files.items():
        assert found[name]["digest"] == {"sha256": hashlib.sha256((machine.root / path).read_bytes()).hexdigest()}
    web = next(each for each in machine.layout.manifests if "web" in str(each["annotations"]))
    assert found["docker.io/sbom/web:1"]["annotations"]["index"] == web["digest"]
    assert found["docker.io/sbom/web:1"]["annotations"]["places"] == ["onboot/000-first", "services/web"]
    other = [each for each in dependencies["resolvedDependencies"] if each["name"] == "docker.io/sbom/other:1"]
    assert [each["annotations"]["places"] for each in other] == [["volumes/kept", "services/other"]]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda m: m.spec.write_text("# only a comment\n" + SPEC), True),
        (lambda m: m.spec.write_text(SPEC.replace("name: other,", "name: other, command: [x],")), False),
        (lambda m: (m.root / "own/build.yml").write_text("# a comment\nimage: own\norg: acme\n"), False),
    ],
    ids=["a comment in the spec", "the spec", "a package's build.yml"],
)
def test_provenance_is_about_the_spec_s_meaning(machine: Machine, change: Any, same: bool) -> None:
    machine.build()
    before = machine.made("m.provenance.json")
    change(machine)
    machine.build()
    assert (machine.made("m.provenance.json") == before) is same


# -- attestations ------------------------------------------------------------------------------------------------------


def test_an_attestation_about_another_image_is_left_aside(tmp_path: Path) -> None:
    machine = make(tmp_path)
    machine.layout.manifests[:] = [each for each in machine.layout.manifests if "web" not in str(each["annotations"])]
    attested(machine.layout, "sbom/web:1", [layer([("bin/web", b"web")])], about="sha256:" + "0" * 64)
    built = machine.build()
    assert len(built.said) == 1
    assert "the image's own SBOM is left aside: it is about 0000" in built.said[0]
    assert "golang.org/x/net" not in machine.made("m.spdx.json").decode()


def test_an_attestation_with_other_bytes_than_its_digest_is_refused(tmp_path: Path) -> None:
    machine = make(tmp_path)
    machine.layout.manifests[:] = [each for each in machine.layout.manifests if "web" not in str(each["annotations"])]
    attested(machine.layout, "sbom/web:1", [layer([("bin/web", b"web")])], spoilt=True)
    with pytest.raises(Exception, match=r"attestation:docker.io/sbom/web:1: .*got sha256:.*want sha256:"):
        machine.build()


def test_a_volume_that_keeps_an_image_whole(machine: Machine) -> None:
    """All manifests of its index are kept, those of attestations too; only what runs somewhere is an image."""
    machine.spec.write_text("volumes:\n  - {name: v, image: sbom/web:1, format: oci}\n")
    machine.build()
    names = [package.name for package in check_spdx(machine.made("m.spdx.json")).packages]
    assert sorted(names) == ["docker.io/sbom/web", "golang.org/x/net", "half", "held", "libc6", "m"]


def test_an_index_copied_without_its_attestation(tmp_path: Path) -> None:
    machine = make(tmp_path)
    for path in (machine.layout.directory / "blobs/sha256").iterdir():
        if b"in-toto.io/Statement" in path.read_bytes():
            path.unlink()
    assert machine.build().said == ()
    assert "golang.org/x/net" not in machine.made("m.spdx.json").decode()


def test_from_a_registry_and_from_what_the_cache_remembers_of_it(machine: Machine, tmp_path: Path) -> None:
    """The same as from a layout; and again offline, when only the cache knows which SBOMs an image has."""
    machine.build()
    expected = machine.made("m.spdx.json"), machine.made("m.provenance.json")
    options = offline(
        machine.spec, tmp_path / "c", tmp_path / "r", images=(), pull="missing", sbom="spdx", provenance=True
    )
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry") as address:
        push_layout(machine.layout.directory, address)
        run(options, RegistryOptions(mirrors=(("docker.io", (f"http://{address}",)),)))
    assert (machine.made("m.spdx.json", "r"), machine.made("m.provenance.json", "r")) == expected
    again = run(replace(options, pull="never", directory=tmp_path / "again", supplier="other"))
    assert "golang.org/x/net" in machine.made("m.spdx.json", "again").decode()
    assert kinds(again.ran) == {"spdx": 1, "sbom": 1, "initrd": 1, "hashes": 2, "provenance": 1}


def test_digests_of_a_document_s_images_are_those_of_their_manifests(machine: Machine) -> None:
    machine.build()
    document = json.loads(machine.made("m.spdx.json"))
    versions = {package["name"]: package["versionInfo"] for package in document["packages"]}
    raw = (machine.layout.directory / "index.json").read_bytes()
    entries = {each["annotations"]["org.opencontainers.image.ref.name"]: each for each in json.loads(raw)["manifests"]}
    assert versions["docker.io/sbom/init"] == entries["docker.io/sbom/init:1"]["digest"]
    assert Digest.parse(versions["docker.io/sbom/web"]) != Digest.parse(entries["docker.io/sbom/web:1"]["digest"])


# -- lkbuild sbom ------------------------------------------------------------------------------------------------------


def lkbuild(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lkbuild", *words, "--cache", "cache", "--images", "layout", "--arch", "amd64"]
    return subprocess.run([*command, "m.yml"], cwd=machine.root, capture_output=True, text=True)


def test_the_table(machine: Machine) -> None:
    said = lkbuild(machine, "sbom")
    assert (said.returncode, said.stderr) == (0, "")
    lines = [re.split(r"\s{2,}", line) for line in said.stdout.splitlines()]
    assert lines[0] == ["PLACE", "IMAGE", "PACKAGE", "VERSION", "LICENCE", "SUPPLIER"]
    assert lines[1] == ["init[0]", "docker.io/sbom/init:1", "busybox", "1.36.1-r29", "GPL-2.0-only", "x <x@x>"]
    assert lines[2] == ["", "musl", "1.2.5-r0", "MIT", "Timo Teräs <timo.teras@iki.fi>"]
    assert ["volumes/kept, services/other", "docker.io/sbom/other:1", "(no package database found)"] in lines
    assert [line[0] for line in lines if line[0]] == [
        "PLACE", "init[0]", "volumes/kept, services/other", "onboot/000-first, services/web", "services/own",
    ]  # fmt: skip
    assert not (machine.root / "m-initrd.img").exists(), "nothing is built"


def test_documents_and_rows(machine: Machine) -> None:
    machine.build(sbom="cyclonedx")
    assert lkbuild(machine, "sbom", "--format", "spdx").stdout.encode() == machine.made("m.spdx.json")
    assert lkbuild(machine, "sbom", "--format=cyclonedx").stdout.encode() == machine.made("m.cdx.json")
    rows = [json.loads(line) for line in lkbuild(machine, "sbom", "--json").stdout.splitlines()]
    assert [row["package"] for row in rows if row["places"] == "init[0]"] == ["busybox", "musl"]
    wrong = lkbuild(machine, "sbom", "--format", "xml")
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "error: --format xml is not known\n  hint: one of table, spdx, cyclonedx\n",
    )


def test_flags_of_a_build(machine: Machine) -> None:
    assert lkbuild(machine, "build", "--no-sbom", "--no-provenance", "--dir", "none").returncode == 0
    assert [path.name for path in (machine.root / "none").iterdir()] == ["m-initrd.img"]
    assert lkbuild(machine, "build", "--sbom", "cyclonedx", "--dir", "both").returncode == 0
    names = {path.name for path in (machine.root / "both").iterdir()}
    assert names == {"m-initrd.img", "m.spdx.json", "m.cdx.json", "m.provenance.json"}
    assert lkbuild(machine, "build", "--format", "tar", "-o", "here.tar").returncode == 0
    assert not list(machine.root.glob("*.json")), "-o writes one file, and nothing beside it"
    with tarfile.open(machine.root / "here.tar") as tar:
        assert "sbom.spdx.json" in tar.getnames()
