"""Two builds compared: what is told, that tar and initrd of one spec are the same, and what cannot be compared."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lkbuild.archive.entry import path_text
from lkbuild.cli import main
from lkbuild.report.builds import read_listing
from lkbuild.report.difference import compare
from tests.support.building import IMAGES, offline, run
from tests.support.layouts import Layout

Member = tuple[str, str, dict[str, Any], bytes]
"""A name, a kind of tarfile's, other fields of its header, and contents."""

FILES: list[Member] = [
    ("bin", "5", {"mode": 0o755}, b""),
    ("bin/web", "0", {"mode": 0o755}, b"program"),
    ("bin/also", "1", {"linkname": "bin/web"}, b""),
    ("bin/sh", "2", {"linkname": "web"}, b""),
    ("bin/null", "3", {"devmajor": 1, "devminor": 3, "mode": 0o666}, b""),
]
SPEC = "kernel: {{image: conf/kernel:1, cmdline: {cmdline}}}\nservices:\n- {{name: web, image: t/web:1{more}}}\n{rest}"


def layer(files: list[Member]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, fields, data in files:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime = kind.encode(), len(data), 1_600_000_000
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), 1, mtime=0)


def machine(root: Path, files: list[Member] = FILES, more: str = "", rest: str = "", cmdline: str = "quiet") -> Path:
    """A spec of one service, and the layout beside it that has its image."""
    root.mkdir()
    layout = Layout(root / "layout")
    layout.add("t/web:1", [layer(files)])
    layout.add("t/other:1", [layer(FILES[:2])])
    spec = root / "m.yml"
    spec.write_text(SPEC.format(cmdline=cmdline, more=more, rest=rest))
    return spec


def built(spec: Path, *formats: str) -> Path:
    """What outputs of a spec, built, have in common."""
    out = spec.parent / "out"
    run(offline(spec, spec.parent / "cache", out, formats=formats, images=(spec.parent / "layout", IMAGES)))
    return out / "m"


def diff(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """`lkbuild diff`, in this process: starting one takes longer than most comparisons."""
    command = ["diff", *map(os.fspath, words)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(machine(tmp_path_factory.mktemp("before") / "m"), "tar", "kernel+initrd")


def changed(number: int, **fields: Any) -> list[Member]:
    """The files, one of them with other fields of its header."""
    name, kind, old, data = FILES[number]
    return [*FILES[:number], (name, kind, {**old, **fields}, data), *FILES[number + 1 :]]


ROOT = "containers/services/web/lower"
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "a file's contents and size",
        {"files": [*FILES[:1], ("bin/web", "0", {"mode": 0o755}, b"programme"), *FILES[2:]]},
        [f"~ {ROOT}/bin/web  content, size 7 → 9", f"~ {ROOT}/bin/also  content, size 7 → 9"],
    ),
    ("a file's contents alone", {"files": [*FILES[:1], ("bin/web", "0", {"mode": 0o755}, b"PROGRAM"), *FILES[2:]]},
     [f"~ {ROOT}/bin/web  content"]),
    ("a mode", {"files": changed(1, mode=0o700)}, [f"~ {ROOT}/bin/web  mode 0755 → 0700"]),
    ("an owner", {"files": changed(1, uid=5)}, [f"~ {ROOT}/bin/web  owner 0:0 → 5:0"]),
    ("a link's target", {"files": changed(3, linkname="also")}, [f"~ {ROOT}/bin/sh  target web → also"]),
    ("a device's numbers", {"files": changed(4, devminor=5)}, [f"~ {ROOT}/bin/null  device 1:3 → 1:5"]),
    (
        "a copy in place of a hard link",
        {"files": [*FILES[:2], ("bin/also", "0", {"mode": 0o755}, b"program"), *FILES[3:]]},
        [f"~ {ROOT}/bin/also  same file as {ROOT}/bin/also → none"],
    ),
    (
        "a capability",
        {"more": ", capabilities: [CAP_CHOWN]"},
        ["~ containers/services/web/config.json  content, size", "process.capabilities.bounding: + CAP_CHOWN"],
    ),
    (
        "a service that came",
        {"rest": "- {name: other, image: t/other:1}\n"},
        ["+ containers/services/other/  ", "services/other"],
    ),
    ("a file of the spec", {"rest": "files:\n- {path: etc/x, contents: abc}\n"}, ["+ etc/  1 path, 3 B"]),
    ("a file that went", {"files": FILES[:4]}, [f"- {ROOT}/bin/null"]),
    ("the command line", {"cmdline": "loud"}, ["~ boot/cmdline  content, size 5 → 4"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "lines"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_differs_is_told(before: Path, tmp_path: Path, changes: dict[str, Any], lines: list[str]) -> None:
    """Also where the one is an initrd."""
    after = built(machine(tmp_path / "m", **changes), "tar")
    for ending in (".tar", "-initrd.img"):
        done = diff(f"{before}{ending}", f"{after}.tar")
        assert (done.returncode, done.stderr) == (1, "")
        assert [line for line in lines if line not in done.stdout] == [], done.stdout


def test_tar_and_initrd_of_a_spec_are_the_same(before: Path) -> None:
    """So are the packed tar, the path both have in common, and the spec itself from the cache."""
    spec = before.parent.parent / "m.yml"
    packed = before.with_name("packed.tar.gz")
    packed.write_bytes(gzip.compress(before.with_suffix(".tar").read_bytes()))
    flags = ("--cache", spec.parent / "cache", "--images", spec.parent / "layout", "--images", IMAGES, "--offline")
    for other in (f"{before}-initrd.img", packed, before):
        done = diff(f"{before}.tar", other)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout
    done = diff(*flags, "--sbom", "no", "--no-lock", f"{before}.tar", spec)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stdout
    assert diff(*flags, f"{before}.tar", spec).returncode == 1, "with its SBOM it is another"


def test_what_carries_the_record_of_its_build_is_read_to_its_end(tmp_path: Path) -> None:
    """An initrd then ends with an archive that is not compressed, behind those that are."""
    spec = machine(tmp_path / "m")
    for form in ("tar", "kernel+initrd"):
        options = offline(spec, tmp_path / "cache", tmp_path, formats=(form,), lock=True)
        run(replace(options, images=(spec.parent / "layout", IMAGES)))
    done = diff(tmp_path / "m.tar", tmp_path / "m-initrd.img")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert b"lkbuild.json" in read_listing(tmp_path / "m-initrd.img").files


def test_times_count_when_wanted(tmp_path: Path) -> None:
    files = [("bin/web", "0", {"mode": 0o755, "mtime": 5}, b"program") if f[0] == "bin/web" else f for f in FILES]
    (tmp_path / "one.tar.gz").write_bytes(layer(FILES))
    (tmp_path / "two.tar.gz").write_bytes(layer(files))
    assert diff(tmp_path / "one.tar.gz", tmp_path / "two.tar.gz").returncode == 0
    done = diff("--times", tmp_path / "one.tar.gz", tmp_path / "two.tar.gz")
    assert done.returncode == 1
    assert "~ bin/web  time 1600000000 → 5" in done.stdout


def test_json(before: Path, tmp_path: Path) -> None:
    after = built(machine(tmp_path / "m", changed(1, mode=0o700), ", capabilities: [CAP_CHOWN]"), "tar")
    document = json.loads(diff("--json", before, f"{after}.tar").stdout)
    assert document["equal"] is False
    (owner,) = document["owners"]
    assert (owner["owner"], owner["added"], owner["removed"], owner["changed"]) == ("services/web", 0, 0, 3)
    config = next(each for each in document["files"] if each["path"].endswith("config.json"))
    added = {each["name"]: each["added"] for each in config["settings"]}
    assert added["process.capabilities.bounding"] == ["CAP_CHOWN"]


def damaged(data: bytes) -> dict[str, bytes]:
    return {
        "cut": data[:1000],  # NB: an initrd cut between two of its archives is an initrd
        "nothing": b"",
        "text": b"no archive at all\n" * 100,
        "zeros": bytes(4096) + b"x",
    }


@pytest.mark.parametrize("ending", [".tar", "-initrd.img"])
@pytest.mark.parametrize("how", ["cut", "nothing", "text", "zeros"])
def test_what_is_damaged_is_an_error(before: Path, tmp_path: Path, ending: str, how: str) -> None:
    good = Path(f"{before}{ending}")
    bad = tmp_path / f"bad{ending}"
    bad.write_bytes(damaged(good.read_bytes())[how])
    done = diff(good, bad)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {bad}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "0 are named"),
        (("a", "b", "c"), "3 are named"),
        (("nowhere/m", "b"), "there is no build nowhere/m"),
        (("--tiems", "a", "b"), "did you mean --times?"),
        ((".", "b"), "builds that can be compared: none"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = diff(*words)
    assert done.returncode == 2
    assert message in done.stderr


def test_listings_are_those_of_gnu(before: Path) -> None:
    """Names, as GNU tar and cpio read them."""
    tar = subprocess.run(["tar", "-tf", f"{before}.tar"], capture_output=True, text=True, check=True).stdout
    names = {name.strip("/").removeprefix("./") for name in tar.splitlines()}
    assert {path_text(path) for path in read_listing(Path(f"{before}.tar")).files} == names - {"", "."}
    unpacked = gzip.decompress(Path(f"{before}-initrd.img").read_bytes())
    names = set()
    while unpacked.strip(b"\0"):
        done = subprocess.run(["cpio", "-t", "--quiet"], input=unpacked, capture_output=True, check=True)
        names |= set(done.stdout.decode().splitlines())
        end = unpacked.index(b"TRAILER!!!") + len(b"TRAILER!!!")
        unpacked = unpacked[end:].lstrip(b"\0")
    beside = {"boot/kernel", "boot/cmdline"}
    found = {path_text(path) for path in read_listing(Path(f"{before}-initrd.img")).files}
    assert found == (names - {".", ""}) | beside


@pytest.mark.parametrize("packer", [None, gzip.compress], ids=["plain", "packed behind plain"])
def test_an_initrd_of_gnu_cpio(tmp_path: Path, packer: Any) -> None:
    """Hard links whose data come last, two archives in one file, the second perhaps packed; a later path wins."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"data")
    (tree / "b").hardlink_to(tree / "a")
    (tree / "c").write_bytes(b"old")
    first = pack(tree, "a\nb\nc\n")
    (tree / "c").write_bytes(b"newer")
    second = pack(tree, "c\n")
    image = tmp_path / "x.img"
    image.write_bytes(first + (packer(second) if packer else second))
    files = read_listing(image).files
    assert {name: (file.size, file.linked) for name, file in files.items()} == {
        b"a": (4, b"a"), b"b": (4, b"a"), b"c": (5, b""),
    }  # fmt: skip
    assert files[b"a"].digest == files[b"b"].digest


@pytest.mark.parametrize(
    ("beside", "changed"),
    [
        ({}, []),
        ({"x-kernel": b"k", "x-cmdline": b"quiet"}, ["boot/cmdline"]),
        ({"x-cmdline": b"quiet"}, ["boot/cmdline"]),
        ({"x-kernel": b"other", "x-cmdline": b"loud"}, ["boot/kernel"]),
    ],
    ids=["nothing", "both", "a command line alone", "another kernel"],
)
def test_what_an_initrd_alone_does_not_tell_is_no_difference(
    tmp_path: Path, beside: dict[str, bytes], changed: list[str]
) -> None:
    (tmp_path / "file").write_bytes(b"data")
    for name, files in (("old", {"x-kernel": b"k", "x-cmdline": b"loud"}), ("new", beside)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x-initrd.img").write_bytes(pack(tmp_path, "file\n"))
        for file, data in files.items():
            (tmp_path / name / file).write_bytes(data)
    one, other = (read_listing(tmp_path / name / "x-initrd.img") for name in ("old", "new"))
    for found in (compare(one, other), compare(other, one)):
        assert [change.path for change in found.files] == changed


def pack(tree: Path, names: str) -> bytes:
    done = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=tree, capture_output=True, check=True
    )
    return done.stdout
