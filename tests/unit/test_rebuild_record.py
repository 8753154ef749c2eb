"""Records from anybody: found in any bytes, and whatever is in them, no traceback and nothing outside of its place."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lkbuild.digest import Digest
from lkbuild.errors import ArchiveError, LkbuildError
from lkbuild.packages import Deb, TreeEntry
from lkbuild.plan.images import PackageFiles
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.record import (
    MAX_BYTES,
    Record,
    RecordedFile,
    RecordedImage,
    RecordedPackage,
    RecordedStyle,
    check_entries,
    decode,
    file_name,
)
from lkbuild.rebuild import media
from lkbuild.rebuild.scan import record_of, scan
from lkbuild.rebuild.workspace import lay_out

CONTENTS = b"what a file holds"
DIGEST = Digest.of(CONTENTS)
SPEC = {
    "init": ["docker.io/a/init:1"],
    "services": [{"name": "web", "image": "@pkg:../elsewhere", "env": ["A=1"]}],
    "files": [{"path": "etc/x", "source": "/home/somebody/x"}, {"path": "etc/y", "contents": "é😀\x85\u2028"}],
}
ENTRIES = (
    TreeEntry("bin/web", "file", 0o755, len(CONTENTS), "", DIGEST),
    TreeEntry("etc/l", "symlink", 0o777, 0, "/x"),
)
PACKAGE = PackageFiles("web", False, '{"cmd":["/bin/web"],"image":"web"}', "root", ENTRIES)
RECORD = Record(
    "0.1.0",
    tuple((kind.name, kind.version) for kind in KINDS.values()),
    "machine",
    json.dumps(SPEC, ensure_ascii=False),
    (RecordedImage(("init[0]",), "docker.io/a/init:1", DIGEST),),
    (RecordedPackage(("services[0]",), PACKAGE),),
    (RecordedFile(0, DIGEST, len(CONTENTS)),),
    RecordedStyle("amd64", "auto", "dev", False, None, None, "", ""),
)
TEXT = RECORD.encode().encode()


def sealed(document: object) -> bytes:
    """Any document as a record whose size and checksum are right."""
    body = json.dumps(document, separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{"lkbuild-record":1,"size":{len(body)},"sha256":"{digest}","build":{body}}}\n'.encode()


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TEXT)["build"]
    return found


def test_it_comes_back() -> None:
    assert decode(TEXT) == RECORD
    assert TEXT.isascii()
    assert TEXT.count(b"\n") == 1
    assert sealed(document()) == TEXT


def test_a_debian_packages_file_says_nothing_of_the_mirror() -> None:
    deb = Deb(
        "a", "2:1+b~rc", "all", DIGEST, 1, "http://mirror.example/debian/pool/updates/main/a/a_1%2bb%7erc_all.deb"
    )
    assert file_name(deb) == "a_1+b~rc_all.deb"
    assert file_name(dataclasses.replace(deb, uri="file:/home/somebody/x.deb", version="1")) == "a_1_all.deb"
    assert file_name(dataclasses.replace(deb, uri=file_name(deb))) == file_name(deb), "the same when it is read again"


# -- finding it --------------------------------------------------------------------------------------------------------


def pieces(data: bytes, size: int) -> Iterator[media.Piece]:
    return ((at, data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("before", [0, 1, 4095, 100_000])
def test_it_is_found_wherever_pieces_are_cut(size: int, before: int) -> None:
    if size == 1 and before > 5000:
        before = 5000
    data = b"x" * before + TEXT + b"y" * 300
    assert [(each.at, each.record) for each in scan(pieces(data, size))] == [(before, RECORD)]


def test_the_last_one_counts(tmp_path: Path) -> None:
    inner = dataclasses.replace(RECORD, name="inner").encode().encode()
    (tmp_path / "image").write_bytes(inner + bytes(5000) + TEXT + bytes(5000))
    assert record_of(tmp_path / "image") == RECORD
    (tmp_path / "image").write_bytes(b"nothing")
    assert record_of(tmp_path / "image") is None


LIES = [
    (TEXT[:-40], "it ends after"),
    (TEXT.replace(b"0755", b"0755").replace(b"machine", b"maChine"), "not those its SHA-256 is of"),
    (b'{"lkbuild-record":2' + TEXT[19:], "format 2"),
    (b'{"lkbuild-record":1,"size":999999999,"sha256":"' + b"0" * 64 + b'","build":{', f"{MAX_BYTES} is the most"),
    (sealed([1]), "not shaped as a record is"),
    (sealed({}), "not shaped as a record is"),
    (sealed({**document(), "more": 1}), "no field 'more'"),
    (sealed({**document(), "version": 1}), "wanted str"),
    (sealed({**document(), "packages": [[]]}), "not shaped as a record is"),
]


@pytest.mark.parametrize(("data", "why"), LIES, ids=[why for _, why in LIES])
def test_a_damaged_one_is_told(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 5000 + data)
    with pytest.raises(LkbuildError, match="the record at byte 5000 is damaged") as raised:
        record_of(tmp_path / "image")
    assert why in raised.value.message


def test_a_file_full_of_marks_is_given_up(tmp_path: Path) -> None:
    lie = b'{"lkbuild-record":1,"size":100,"sha256":"' + b"0" * 64 + b'","build":'
    assert len(list(scan([(0, lie * 50_000)]))) < 50_000 + 1
    assert len(list(scan(pieces(lie * 5000, 4096)))) < 100, "after some tries it is no image of ours"


# -- media -------------------------------------------------------------------------------------------------------------


def vmdk(*grains: bytes) -> bytes:
    made = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 3, 0x30001, 256, 128, 1, 20, 512, 0, 0, 1).ljust(512, b"\0")
    for number, grain in enumerate(grains):
        packed = zlib.compress(grain)
        made += struct.pack("<QI", number * 128, len(packed)) + packed
        made += bytes(-len(made) % 512)
    return made


def test_a_vmdk_is_looked_into(tmp_path: Path) -> None:
    data = (bytes(65536 - 100) + TEXT).ljust(2 * 65536, b"\0")
    (tmp_path / "disk").write_bytes(vmdk(data[:65536], data[65536:]))
    assert record_of(tmp_path / "disk") == RECORD, "it lies in two grains"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:600],
        lambda data: data[:520] + b"\xff" * 4 + data[524:],
        lambda data: data[:64] + b"\xff" * 8 + data[72:],
        lambda data: data[:540] + bytes(20) + data[560:],
        lambda data: data[:10],
    ],
)
def test_a_damaged_vmdk_is_no_traceback(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(spoil(vmdk(random.Random(1).randbytes(65536))))
    made = media.unpacked(tmp_path / "disk")
    assert made is not None
    with pytest.raises(ArchiveError):
        list(made)
    assert record_of(tmp_path / "disk") is None


@pytest.mark.parametrize("length", [8, 100, 600, 2048])
def test_a_damaged_vhd_is_no_traceback(length: int, tmp_path: Path) -> None:
    head = b"conectix".ljust(512, b"\0") + struct.pack(">8sQQIIII", b"cxsparse", 0, 1536, 0, 500_000, 2 << 20, 0)
    (tmp_path / "disk").write_bytes(head.ljust(4096, b"\1")[:length])
    assert record_of(tmp_path / "disk") is None


# -- laying it out -----------------------------------------------------------------------------------------------------


def laid_out(record: Record, directory: Path) -> Any:
    place = directory / "work"
    place.mkdir()
    (directory / "contents").write_bytes(CONTENTS)
    return lay_out(record, {DIGEST: directory / "contents"}, place)


def everything(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def test_it_is_laid_out_as_a_spec(tmp_path: Path) -> None:
    workspace = laid_out(RECORD, tmp_path)
    assert workspace.spec.name == "machine"
    assert str(workspace.spec.services[0].image) == "@pkg:../elsewhere", "called as it was"
    assert workspace.spec.written == RECORD.spec
    assert workspace.spec.files[1].contents == SPEC["files"][1]["contents"]  # type: ignore[index]
    assert everything(tmp_path / "work") == {
        "machine.yml", "sources/0", "packages/0/build.yml", "packages/0/root/bin/web", "packages/0/root/etc/l",
    }  # fmt: skip


def with_entries(*entries: TreeEntry) -> Record:
    package = dataclasses.replace(PACKAGE, entries=entries)
    return dataclasses.replace(RECORD, packages=(RecordedPackage(("services[0]",), package),))


def file(path: str) -> TreeEntry:
    return TreeEntry(path, "file", 0o644, len(CONTENTS), "", DIGEST)


ESCAPES = [
    with_entries(file("../../../out")),
    with_entries(file("/out")),
    with_entries(file("a//b")),
    with_entries(file("a/./b")),
    with_entries(file("a\0b")),
    with_entries(file("")),
    with_entries(TreeEntry("a", "symlink", 0o777, 0, "/"), file("a/out")),
    with_entries(TreeEntry("a", "symlink", 0o777, 0, "../../.."), file("a/b/out")),
    with_entries(file("a"), file("a/b")),
    with_entries(file("a"), file("a")),
    with_entries(TreeEntry("a", "file", 0o644, 5)),
    with_entries(TreeEntry("a", "symlink", 0o777)),
    dataclasses.replace(
        RECORD, packages=(RecordedPackage(("services[0]",), dataclasses.replace(PACKAGE, root="../../x")),)
    ),
    dataclasses.replace(RECORD, packages=(RecordedPackage(("services[9]",), PACKAGE),)),
    dataclasses.replace(RECORD, packages=(RecordedPackage(("outputs[0]",), PACKAGE),)),
    dataclasses.replace(RECORD, packages=(RecordedPackage(("__class__",), PACKAGE),)),
    dataclasses.replace(RECORD, packages=()),
    dataclasses.replace(RECORD, images=()),
    dataclasses.replace(RECORD, images=(RecordedImage(("init[0]",), "../..", DIGEST),)),
    dataclasses.replace(RECORD, name="../x"),
    dataclasses.replace(RECORD, name=""),
    dataclasses.replace(RECORD, spec="[]"),
    dataclasses.replace(RECORD, spec='{"init": 5}'),
    dataclasses.replace(RECORD, spec='{"services": [{"name": "../../x", "image": "a"}]}'),
]


@pytest.mark.parametrize("record", ESCAPES)
def test_what_describes_no_machine_is_refused(record: Record, tmp_path: Path) -> None:
    with pytest.raises(LkbuildError, match="the record describes no machine") as raised:
        laid_out(record, tmp_path)
    assert str(tmp_path) not in raised.value.message, "no word of where it was laid out"
    assert {path for path in everything(tmp_path) if not path.startswith("work/")} == {"contents"}


def test_no_package_of_this_machine_is_taken(tmp_path: Path) -> None:
    """A spec that names a directory which is there, with a build.yml in it, and a record that does not speak of it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "build.yml").write_text("image: here\n")
    for spec in (
        {"init": [f"@pkg:{tmp_path}/here"]},
        {"kernel": {"image": f"@pkg:{tmp_path}/here"}},
        {"volumes": [{"name": "v", "image": f"@pkg:{tmp_path}/here"}]},
        {"onshutdown": [{"name": "web", "image": f"@pkg:{tmp_path}/here"}]},
    ):
        record = dataclasses.replace(RECORD, spec=json.dumps(spec), images=(), packages=(), files=())
        with pytest.raises(LkbuildError, match="nothing is said of the image of"):
            lay_out(record, {}, tmp_path)


def test_entries_of_a_sound_tree() -> None:
    check_entries(ENTRIES)


# -- anything at all ---------------------------------------------------------------------------------------------------

JUNK = (
    None,
    True,
    0,
    -1,
    1 << 70,
    "",
    "x",
    "../..",
    "\0",
    "sha256:" + "0" * 64,
    [],
    [[]],
    {},
    {"a": 1},
    "init[0]",
    "@pkg:/",
)


def mutated(value: Any, chance: random.Random) -> Any:
    """A document in which one thing is another."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(JUNK)
    key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
    made: Any = dict(value) if isinstance(value, dict) else list(value)
    if chance.random() < 0.1:
        del made[key]
    else:
        made[key] = mutated(value[key], chance)
    return made


def test_anything_sealed_is_laid_out_or_refused(tmp_path: Path) -> None:
    chance = random.Random(7)
    refused = 0
    for number in range(400):
        directory = tmp_path / str(number)
        directory.mkdir()
        try:
            record = decode(sealed(mutated(document(), chance)))
        except ValueError:
            refused += 1
            continue
        try:
            laid_out(record, directory)
        except LkbuildError:
            refused += 1
        assert {path for path in everything(directory) if not path.startswith("work/")} <= {"contents"}
    assert 100 < refused < 400
