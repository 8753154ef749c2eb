"""The record a machine carries of its build: where it lies, what is in it, what changes it and what does not."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.plan.record import PATH, Record, decode
from tests.support.building import Built, digests, kinds, offline, run
from tests.support.layouts import Layout, layer

SPEC = """\
init:
  - again/init:1
onboot:
  - {name: first, image: again/web:1}
services:
  - {name: web, image: again/web:1, env: [A=1], capabilities: [CAP_CHOWN]}
  - {name: own, image: "@pkg:./own"}
files:
  - {path: etc/from, source: ./source.txt, mode: "0755"}
  - {path: etc/not, source: ./not-there, optional: true}
  - {path: etc/spec.yml, metadata: yaml}
volumes:
  - {name: kept, image: again/web:1, format: oci}
"""


@dataclass(frozen=True)
class Machine:
    """A spec with images, a package and a source beside it, and places for what is made."""

    root: Path

    def build(self, *formats: str, out: str = "out", cache: str = "cache", **more: object) -> Built:
        given = {"images": (self.root / "layout",), "lock": True, **more}
        return run(offline(self.root / "m.yml", self.root / cache, self.root / out, formats=formats, **given))

    def record(self, out: str = "out") -> bytes:
        with tarfile.open(self.root / out / "m.tar") as tar:
            file = tar.extractfile(PATH)
            assert file is not None
            return file.read()


def make(root: Path, spec: str = SPEC) -> Machine:
    layout = Layout(root / "layout")
    layout.add("again/init:1", [layer([("etc/os-release", b"ID=alpine\n"), ("sbin/init", b"init" * 5000)])])
    layout.add("again/web:1", [layer([("bin/web", bytes(range(256)) * 700), ("etc/web.conf", b"listen 80\n" * 900)])])
    (root / "own" / "root" / "bin").mkdir(parents=True)
    (root / "own" / "build.yml").write_text("image: own\norg: acme\ncmd: [/bin/own]\nlinks: {etc/own: /bin/own}\n")
    (root / "own" / "root" / "bin" / "own").write_text("own" * 3000)
    (root / "own" / "root" / "bin" / "own").chmod(0o755)
    (root / "own" / "root" / "bin" / "alias").symlink_to("own")
    (root / "source.txt").write_text("source" * 2000)
    (root / "m.yml").write_text(spec)
    return Machine(root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make(tmp_path)


def test_what_is_in_it(machine: Machine) -> None:
    machine.build("tar", "kernel+initrd")
    text = machine.record()
    record = decode(text)
    assert record.encode().encode() == text, "it is read as it was written"
    assert [(image.at, image.reference) for image in record.images] == [
        (("init[0]",), "docker.io/again/init:1"),
        (("volumes[0]", "onboot[0]", "services[0]"), "docker.io/again/web:1"),
    ]
    (own,) = record.packages
    assert (own.at, own.package.name, own.package.root) == (("services[1]",), "own", "root")
    assert [(entry.path, oct(entry.mode)) for entry in own.package.entries] == [
        ("bin/alias", "0o777"),
        ("bin/own", "0o755"),
    ]
    assert [file.number for file in record.files] == [0], "what is optional and was not there has no digest"
    assert json.loads(text)["build"]["spec"]["services"][0]["name"] == "web", "anybody's JSON reader reads it"
    assert str(machine.root) not in text.decode()
    initrd = (machine.root / "out" / "m-initrd.img").read_bytes()
    assert initrd.count(text) == 1, "it lies in the initrd as it is"
    with tarfile.open(machine.root / "out" / "m.tar") as tar:
        assert tar.getnames()[-1] == PATH, "the last of all"


def test_without(machine: Machine) -> None:
    built = machine.build("tar", "kernel+initrd", lock=False)
    assert "record" not in kinds(built.ran)
    with tarfile.open(machine.root / "out" / "m.tar") as tar:
        assert PATH not in tar.getnames()
    assert b"lkbuild-record" not in (machine.root / "out" / "m-initrd.img").read_bytes()


def test_it_is_the_same_elsewhere_and_whatever_the_text_looks_like(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.build("tar", "kernel+initrd")
    elsewhere = tmp_path / "some" / "where" / "else"
    elsewhere.mkdir(parents=True)
    for name in ("layout", "own"):
        shutil.copytree(machine.root / name, elsewhere / name, symlinks=True)
    shutil.copy(machine.root / "source.txt", elsewhere)
    sections = ["".join(part) for part in _sections(SPEC)]
    (elsewhere / "m.yml").write_text("# said otherwise\n" + "".join(reversed(sections)).replace("env: [A=1], ", ""))
    text = (
        (elsewhere / "m.yml")
        .read_text()
        .replace("capabilities: [CAP_CHOWN]", "capabilities: ['CAP_CHOWN'], env: [A=1]")
    )
    (elsewhere / "m.yml").write_text(text)
    (elsewhere / "own" / "build.yml").write_text(
        "# a comment\norg: 'acme'\nimage: own\nlinks: {etc/own: /bin/own}\ncmd: [/bin/own]\n"
    )
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    Machine(elsewhere).build("tar", "kernel+initrd")
    assert digests(machine.root / "out") == digests(elsewhere / "out")


def _sections(text: str) -> list[list[str]]:
    found: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        if not line.startswith(" "):
            found.append([])
        found[-1].append(line)
    return found


CHANGES = [
    ("an option that counts", {"profile": "release"}, lambda r: r.style.profile == "release"),
    ("an SBOM in the machine", {"sbom": "spdx"}, lambda r: r.style.sbom == "sbom.spdx.json"),
    ("a boot loader, which no tar has", {"bootloader": "@pkg:./own"}, lambda r: not _at(r, "bootloader")),
]


def _at(record: Record, place: str) -> bool:
    return any(place in each.at for each in (*record.images, *record.packages))


@pytest.mark.parametrize(("_why", "options", "holds"), CHANGES, ids=[why for why, _, _ in CHANGES])
def test_options(machine: Machine, _why: str, options: dict[str, object], holds: object) -> None:
    machine.build("tar", **options)
    assert callable(holds)
    assert holds(decode(machine.record()))


def test_what_a_change_costs(machine: Machine) -> None:
    machine.build("kernel+initrd")
    before = (machine.root / "out" / "m-initrd.img").stat().st_size
    machine.build("kernel+initrd", out="bare", lock=False)
    assert before - (machine.root / "bare" / "m-initrd.img").stat().st_size == 4096, "a page"
    path = machine.root / "m.yml"
    path.write_text("# a comment\n" + path.read_text())
    assert machine.build("kernel+initrd").ran == ()
    path.write_text(path.read_text().replace("CAP_CHOWN", "CAP_KILL"))
    again = kinds(machine.build("kernel+initrd").ran)
    assert again == {"bundle": 1, "files": 1, "record": 1, "initrd": 1}, "files: has the spec in it, by metadata"


def test_a_file_of_the_spec_goes_before_it(machine: Machine) -> None:
    path = machine.root / "m.yml"
    path.write_text(SPEC.replace("files:\n", f"files:\n  - {{path: {PATH}, contents: mine}}\n"))
    machine.build("tar")
    assert machine.record() == b"mine"
