"""Images laid down: the traps of merging layers one by one, every conformance image, and random layers."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.archive.entry import Entry
from lkbuild.archive.extract import extract_files
from lkbuild.archive.flatten import LayerFile, flatten, lay_down
from lkbuild.archive.index import parse_index
from lkbuild.archive.sink import CpioSink, TapSink, TarSink
from lkbuild.archive.tarwrite import END_OF_ARCHIVE
from lkbuild.archive.view import View
from lkbuild.errors import ArchiveError

CONFORMANCE = Path(__file__).parents[1] / "conformance"
R, D, S, H = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
C, B, F = tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE
CAPABILITY = "\x01\x00\x00\x02\x00 \x00\x00"


def load_compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", CONFORMANCE / "compare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compare = load_compare()


@dataclass
class Layer:
    """A layer in memory that counts how often it is read."""

    data: bytes
    name: str = "layer"
    opened: list[int] = field(default_factory=list)

    def open(self) -> BinaryIO:
        self.opened.append(1)
        return io.BytesIO(self.data)


def tar(*members: tuple[Any, ...]) -> bytes:
    """A tar of (name, type, contents, link target or device, options)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, data, *options in members:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind, 1600000000
            info.mode = 0o755 if kind == D else 0o644
            for key, value in (options[0] if options else {}).items():
                setattr(info, key, value)
            if kind in (S, H):
                info.linkname = data
            elif kind in (C, B):
                info.devmajor, info.devminor = data
            body = data if kind == R else b""
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return raw.getvalue()


def written(layers: Sequence[Layer], view: View, archive: str) -> bytes:
    raw = io.BytesIO()
    sink = TarSink(raw) if archive == "tar" else CpioSink(raw, archive)  # type: ignore[arg-type]
    flatten(layers, sink, view)
    sink.close()
    return raw.getvalue() + (END_OF_ARCHIVE if archive == "tar" else b"")


def tree(data: bytes, directory: Path, initrd: bool) -> dict[str, dict[str, Any]]:
    """path -> what a machine sees there, by the conformance suite's reader."""
    path = directory / "archive"
    path.write_bytes(data)
    machine = compare.effective(compare.read_initrd(path) if initrd else compare.read_tar(path), initrd)
    assert machine.dropped == []
    return machine.paths()  # type: ignore[no-any-return]


LONG = "l" * 90 + "/" + "m" * 90 + "/" + "n" * 90
META = {"mode": 0o711}

# Name, the layers, what is there in the end (contents of a file, target of a link, a kind, None for nothing).
TRAPS: list[tuple[str, list[list[tuple[Any, ...]]], dict[str, Any]]] = [
    ("whiteout", [[("etc/a", R, b"1"), ("etc/b", R, b"2")], [("etc/.wh.a", R, b"")]], {"etc/a": None, "etc/b": b"2"}),
    (
        "whiteout of a directory made anew in its layer, before and after",
        [
            [("d/old", R, b"1"), ("e/old", R, b"1")],
            [(".wh.d", R, b""), ("d/new", R, b"2"), ("e/new", R, b"2"), (".wh.e", R, b"")],
        ],
        {"d/old": None, "d/new": b"2", "e/old": None, "e/new": b"2"},
    ),
    ("whiteout and the file in one layer", [[("f", R, b"1")], [(".wh.f", R, b""), ("f", R, b"2")]], {"f": b"2"}),
    ("the file and its whiteout in one layer", [[("f", R, b"1")], [("f", R, b"2"), (".wh.f", R, b"")]], {"f": b"2"}),
    ("added back above", [[("f", R, b"1")], [(".wh.f", R, b"")], [("f", R, b"3")]], {"f": b"3"}),
    ("whiteout of what is not there", [[("f", R, b"1")], [("x/.wh.y", R, b"")]], {"f": b"1", "x": None}),
    (
        "opaque directory, wherever its marker stands",
        [[("o/low", R, b"1"), ("o/d/low", R, b"1")], [("o/new", R, b"2"), ("o/.wh..wh..opq", R, b"")]],
        {"o/low": None, "o/d": None, "o/new": b"2"},
    ),
    ("opaque in the lowest layer hides nothing", [[("o/f", R, b"1"), ("o/.wh..wh..opq", R, b"")]], {"o/f": b"1"}),
    (
        "AUFS metadata",
        [[("f", R, b"1"), (".wh..wh.plnk/1.2", R, b"x"), (".wh..wh.aufs", R, b"")]],
        {"f": b"1", ".wh..wh.plnk": None},
    ),
    ("file to directory", [[("x", R, b"1")], [("x", D, b""), ("x/in", R, b"2")]], {"x": "dir", "x/in": b"2"}),
    ("directory to file", [[("x/in", R, b"1")], [("x", R, b"2")]], {"x": b"2", "x/in": None}),
    ("directory to symlink", [[("x/in", R, b"1")], [("x", S, "y")]], {"x": "-> y", "x/in": None}),
    (
        "directory again keeps what is in it",
        [[("d", D, b""), ("d/c", R, b"1")], [("d", D, b"", META)]],
        {"d": 0o711, "d/c": b"1"},
    ),
    ("a name twice in a layer", [[("f", R, b"1"), ("f", R, b"2")]], {"f": b"2"}),
    ("child before parent", [[("d/f", R, b"1"), ("d", D, b"", META)]], {"d": 0o711, "d/f": b"1"}),
    ("hard link", [[("a", R, b"1"), ("b", H, "a")]], {"a": b"1", "b": b"1", "links": {"a", "b"}}),
    (
        "hard link to a lower layer",
        [[("a", R, b"1")], [("b", H, "a")], [("c", H, "./b")]],
        {"c": b"1", "links": {"a", "b", "c"}},
    ),
    (
        "hard link, target replaced above",
        [[("a", R, b"old"), ("b", H, "a")], [("a", R, b"new")]],
        {"a": b"new", "b": b"old", "links": set()},
    ),
    (
        "hard link, target replaced in its layer",
        [[("a", R, b"old")], [("b", H, "a"), ("a", R, b"new")]],
        {"a": b"new", "b": b"old"},
    ),
    ("hard link, target whited out", [[("a", R, b"1"), ("b", H, "a")], [(".wh.a", R, b"")]], {"a": None, "b": b"1"}),
    ("hard link of empty files", [[("a", R, b""), ("b", H, "a")]], {"a": b"", "b": b"", "links": {"a", "b"}}),
    ("hard link to a symlink", [[("s", S, "x"), ("t", H, "s")]], {"s": "-> x", "t": "-> x"}),
    ("hard link to itself", [[("a", R, b"1"), ("a", H, "a")]], {"a": b"1"}),
    (
        "hard link through a symlinked parent",
        [[("usr/f", R, b"1"), ("l", S, "usr"), ("g", H, "l/f")]],
        {"g": b"1", "links": {"g", "usr/f"}},
    ),
    (
        "parent is a symlink",
        [[("usr/lib", D, b""), ("lib", S, "usr/lib")], [("lib/f", R, b"1")]],
        {"lib": "-> usr/lib", "usr/lib/f": b"1"},
    ),
    (
        "parent is an absolute symlink",
        [[("usr/lib", D, b""), ("lib", S, "/usr/lib"), ("lib/f", R, b"1")]],
        {"usr/lib/f": b"1"},
    ),
    ("symlinked parent out of the root", [[("l", S, "../../../etc"), ("l/f", R, b"1")]], {"etc/f": b"1"}),
    ("symlinked parent that is not there yet", [[("l", S, "a/b"), ("l/f", R, b"1")]], {"a/b/f": b"1"}),
    (
        "directory over a symlink",
        [[("usr/x", R, b"1"), ("l", S, "usr")], [("l", D, b""), ("l/y", R, b"2")]],
        {"l": "dir", "l/y": b"2", "usr/x": b"1", "usr/y": None},
    ),
    (
        "whiteout below a symlinked parent",
        [[("usr/f", R, b"1"), ("l", S, "usr")], [("l/.wh.f", R, b"")]],
        {"usr/f": None},
    ),
    ("whiteout of a symlink", [[("usr/f", R, b"1"), ("l", S, "usr")], [(".wh.l", R, b"")]], {"usr/f": b"1", "l": None}),
    (
        "leading / and ./ and inner ..",
        [[("/abs", R, b"1"), ("./dot", R, b"2"), ("a/../b", R, b"3"), ("c//d", R, b"4")]],
        {"abs": b"1", "dot": b"2", "b": b"3", "c/d": b"4", "a": None},
    ),
    ("long name", [[(LONG, R, b"1")]], {LONG: b"1"}),
    (
        "setuid and sticky",
        [[("s", R, b"1", {"mode": 0o4755}), ("t", D, b"", {"mode": 0o1777})]],
        {"s": 0o4755, "t": 0o1777},
    ),
    (
        "devices and a fifo",
        [[("n", C, (1, 3)), ("b", B, (8, 1)), ("p", F, b"")]],
        {"n": (1, 3), "b": (8, 1), "p": "fifo"},
    ),
    ("a file where a directory is needed", [[("x", R, b"1")], [("x/y", R, b"2")]], {"x": "dir", "x/y": b"2"}),
    ("an empty layer", [[("f", R, b"1")], []], {"f": b"1"}),
]


@pytest.mark.parametrize("archive", ["tar", "none"])
@pytest.mark.parametrize(("layers", "wanted"), [t[1:] for t in TRAPS], ids=[t[0] for t in TRAPS])
def test_traps(layers: list[list[tuple[Any, ...]]], wanted: dict[str, Any], archive: str, tmp_path: Path) -> None:
    packs = (gzip.compress, zstandard.compress, bytes)
    sources = [Layer(packs[n % 3](tar(*members))) for n, members in enumerate(layers)]
    found = tree(written(sources, View(), archive), tmp_path, archive != "tar")
    for path, want in wanted.items():
        got = found.get(path)
        match want:
            case None:
                assert got is None, path
            case bytes():
                assert got is not None and got["kind"] == "file", path
                assert got["sha256"] == compare.hashlib.sha256(want).hexdigest(), path
            case int():
                assert got is not None and got["mode"] == f"{want:04o}"
            case tuple():
                assert got is not None and got["device"] == list(want)
            case set():
                assert {path for path, entry in found.items() if "links" in entry} == want
            case str() if want.startswith("-> "):
                assert got is not None and (got["kind"], got["target"]) == ("symlink", want[3:])
            case str():
                assert got is not None and got["kind"] == want


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../../escape", R, b"x")], "leaves the root"),
        ([("a/../../escape", R, b"x")], "leaves the root"),
        ([("f", R, b"x"), ("h", H, "../f")], "leaves the root"),
        ([("h", H, "nowhere")], "which is not there"),
        ([("d", D, b""), ("h", H, "d")], "which is a directory"),
        ([("l", S, "l"), ("l/f", R, b"x")], "too many symbolic links"),
        ([(".", R, b"x")], "stands for the root"),
        ([("n" * 4096, R, b"x")], "at most 4095"),
        (
            [
                ("/".join("n" * 250 for _ in range(15)), D, b""),
                ("s", S, "/".join("n" * 250 for _ in range(15))),
                ("s/" + "m" * 500, R, b"x"),
            ],
            "4095",
        ),
    ],
)
def test_hostile_layers_are_refused_and_named(members: list[tuple[Any, ...]], words: str) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        written([Layer(tar(*members), "sha256:bad")], View(), "none")
    assert caught.value.message.startswith("sha256:bad: ")


def test_a_cut_layer_is_refused_whichever_it_is() -> None:
    whole = gzip.compress(tar(("f", R, os.urandom(9000))))
    for layers in ([whole[:-3000]], [whole, whole[:-3000]], [whole[:-3000], whole]):
        with pytest.raises(ArchiveError, match="layer: the gzip stream ends too early"):
            written([Layer(data) for data in layers], View(), "none")


# -- LinuxKit's rules --------------------------------------------------------------------------------------------------


def conformance_layers(name: str) -> list[LayerFile]:
    blobs = CONFORMANCE / "images" / "blobs" / "sha256"

    def blob(digest: str) -> Any:
        return json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())

    index = json.loads((CONFORMANCE / "images" / "index.json").read_bytes())
    names = {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in index["manifests"]}
    manifest = blob(names[f"docker.io/conf/{name}:1"])
    if "manifests" in manifest:
        manifest = blob(next(m["digest"] for m in manifest["manifests"] if m["platform"]["architecture"] == "amd64"))
    digests = [layer["digest"] for layer in manifest["layers"]]
    return [LayerFile(blobs / digest.removeprefix("sha256:"), digest) for digest in digests]


IMAGES = ["base", "docker", "layers", "multi", "plain", "special", "zstd"]
PLACES = {
    "init": View("", "init"),
    "image": View("containers/services/x/lower", "container"),
    "image-ro": View("containers/services/x/rootfs", "container"),
}


@pytest.mark.parametrize("archive", ["tar", "gzip", "zstd", "none"])
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("place", PLACES)
def test_conformance(place: str, image: str, archive: str, tmp_path: Path) -> None:
    others = ("x/config.json", "x/runtime.json") + (("x/tmp", "x/rootfs") if place == "image" else ())
    golden = [
        entry
        for entry in json.loads((CONFORMANCE / "golden" / f"{place}-{image}.json").read_bytes())
        if not entry["path"].endswith(others)
    ]
    path = tmp_path / "root"
    path.write_bytes(written(conformance_layers(image), PLACES[place], archive))  # type: ignore[arg-type]
    got = compare.read_tar(path) if archive == "tar" else compare.read_initrd(path)
    assert list(compare.differences(golden, got, archive != "tar")) == []


def test_the_rules_against_an_image_that_breaks_them_all(tmp_path: Path) -> None:
    layer = tar(
        ("dev", S, "somewhere"),
        ("dev/console", R, b""),
        ("etc/hosts/in", R, b"x"),
        ("etc/mtab", R, b"mine"),
        ("etc/hostname/below", R, b"stays"),
        ("proc", R, b"a file"),
        ("keep", R, b"k"),
        ("etc/resolv.conf", H, "keep"),
    )
    found = tree(written([Layer(layer)], View("", "container"), "none"), tmp_path, True)
    assert {path: entry["kind"] for path, entry in found.items()} == {
        **dict.fromkeys(("dev", "dev/pts", "dev/shm", "etc", "proc", "sys", "somewhere", "etc/hostname"), "dir"),
        **dict.fromkeys(("somewhere/console", "etc/hosts", "etc/resolv.conf", "etc/mtab", "keep"), "file"),
        "etc/hostname/below": "file",
    }
    assert (found["etc/mtab"]["size"], found["etc/mtab"]["mtime"]) == (4, 1492533000)
    assert "links" not in found["keep"]


def test_one_pass_where_it_can_be_and_two_where_it_must() -> None:
    one, two = Layer(tar(("f", R, b"1"), ("d", D, b""))), Layer(tar(("f", R, b"1"), ("g", H, "f")))
    written([one], View("x", "container"), "gzip")
    written([two], View("x", "container"), "gzip")
    assert (len(one.opened), len(two.opened)) == (1, 2)


def test_the_root_of_an_image_keeps_its_mode_at_the_prefix(tmp_path: Path) -> None:
    for extra in ((), (("f", H, "g"),)):
        layer = Layer(tar(("./", D, b"", {"mode": 0o700, "uid": 7}), ("g", R, b"1"), *extra))
        found = tree(written([layer], View("a/b"), "none"), tmp_path, True)
        assert (found["a/b"]["mode"], found["a/b"]["uid"], found["a"]["mode"]) == ("0700", 7, "0755")


def test_lay_down_knows_no_whiteouts() -> None:
    raw = io.BytesIO()
    sink = CpioSink(raw)
    lay_down(Layer(tar(("etc/.wh.x", R, b"1"), ("dev/console", R, b"2"))), sink)
    sink.close()
    assert [row.path for row in parse_index(sink.index())] == [b"etc", b"etc/.wh.x", b"dev", b"dev/console"]


def test_file_capabilities_are_kept_in_a_tar_and_missed_aloud_in_an_initrd() -> None:
    layer = Layer(tar(("ping", R, b"x", {"pax_headers": {"SCHILY.xattr.security.capability": CAPABILITY}})))
    raw = io.BytesIO()
    cpio, kept = CpioSink(raw), TarSink(io.BytesIO())
    flatten([layer], cpio, View())
    flatten([layer], kept, View())
    assert len(cpio.warnings) == 1 and "'ping'" in cpio.warnings[0] and "security.capability" in cpio.warnings[0]
    assert [row.xattrs_lost for row in parse_index(cpio.index())] == [True]
    assert not kept.warnings
    with tarfile.open(fileobj=io.BytesIO(written([layer], View(), "tar"))) as archive:
        assert archive.getmember("ping").pax_headers["SCHILY.xattr.security.capability"] == CAPABILITY


def test_tap_copies_a_file_on_its_way() -> None:
    for members in (
        [("a/b", R, b"data")],
        [("a/b", R, b"data"), ("c", H, "a/b")],
        [("c", R, b"data"), ("a/b", H, "c")],
    ):
        copy = io.BytesIO()
        tap = TapSink(CpioSink(io.BytesIO()), b"a/b", copy)
        flatten([Layer(tar(*members))], tap, View())
        assert (copy.getvalue(), tap.found) == (b"data", True)


# -- extraction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ([[("kernel", R, b"k"), ("x", R, b"1")]], {"kernel": b"k"}),
        ([[("kernel", R, b"old")], [("kernel", R, b"new")]], {"kernel": b"new"}),
        ([[("kernel", R, b"old")], [(".wh.kernel", R, b"")]], {"kernel": None}),
        ([[("kernel", S, "boot/vmlinuz"), ("boot/vmlinuz", R, b"v")]], {"kernel": b"v"}),
        ([[("kernel", S, "/../../boot/../boot/vmlinuz"), ("boot/vmlinuz", R, b"v")]], {"kernel": b"v"}),
        ([[("kernel", S, "kernel")]], {"kernel": None}),
        ([[("kernel", D, b"")]], {"kernel": None}),
        ([[("a", R, b"v"), ("kernel", H, "a")]], {"kernel": b"v", "a": b"v"}),
        ([[("boot/config-6.2", R, b"2"), ("boot/config-6.1", R, b"1")]], {"boot/config-*": b"1", "/boot/config-6.2": b"2"}),  # noqa: E501
        ([[("b", D, b""), ("boot", S, "b"), ("b/config-x", R, b"1")]], {"boot/config-*": b"1"}),
        ([[("x", R, b"")]], {"boot/config-*": None, "x": b""}),
    ],
)  # fmt: skip
def test_extract(layers: list[list[tuple[Any, ...]]], wanted: dict[str, bytes | None]) -> None:
    files = {name: io.BytesIO() for name in wanted}
    found = extract_files([Layer(tar(*members)) for members in layers], files)
    assert {name: files[name].getvalue() if name in found else None for name in wanted} == wanted
    assert all(found[name].entry.size == len(files[name].getvalue()) for name in found)


def test_extraction_reads_once_where_names_mean_what_they_say() -> None:
    layer = Layer(tar(("kernel", R, b"k"), ("kernel.tar", R, b"t")))
    extract_files([layer], {"kernel": io.BytesIO(), "kernel.tar": io.BytesIO()})
    assert len(layer.opened) == 1


# -- other readers -----------------------------------------------------------------------------------------------------


def test_gnu_cpio_unpacks_it(tmp_path: Path) -> None:
    layers = [
        Layer(
            tar(("d", D, b""), ("d/a", R, b"x" * 5000), ("d/l", S, "a"), ("e", R, b""), ("b", H, "d/a"), ("f", H, "e"))
        ),
        Layer(tar(("d/new", R, b"n", {"mtime": 1500000000}), ("c", H, "b"))),
    ]
    data = written(layers, View("top"), "none")
    assert len(data) % 4096 == 0
    subprocess.run(["cpio", "-idm", "--quiet"], input=data, cwd=tmp_path, check=True)
    top = tmp_path / "top"
    assert sorted(str(p.relative_to(top)) for p in top.rglob("*")) == ["b", "c", "d", "d/a", "d/l", "d/new", "e", "f"]
    assert {(top / name).stat().st_ino for name in ("b", "c", "d/a")} == {(top / "b").stat().st_ino}
    assert (top / "c").read_bytes() == b"x" * 5000
    assert (top / "e").stat().st_ino == (top / "f").stat().st_ino
    assert (top / "d/l").readlink() == Path("a")
    assert (top / "d/new").stat().st_mtime == 1500000000


def test_gnu_cpio_lists_nodes_and_odd_times() -> None:
    layer = tar(
        ("n", C, (1, 3)),
        ("b", B, (8, 17)),
        ("p", F, b""),
        ("old", R, b"1", {"mtime": -5}),
        ("far", R, b"2", {"mtime": 1 << 40}),
    )
    done = subprocess.run(
        ["cpio", "-itv", "--quiet"], input=written([Layer(layer)], View(), "none"), capture_output=True, check=True
    )
    lines = {line.split()[-1]: line for line in done.stdout.decode().splitlines()}
    assert lines["n"].startswith("crw-r--r--") and "1,   3" in lines["n"]
    assert lines["b"].startswith("brw-r--r--") and "8,  17" in lines["b"]
    assert lines["p"].startswith("prw-r--r--")
    assert "1970" in lines["old"] and "2106" in lines["far"]


def test_a_file_of_four_gigabytes_is_refused_by_name() -> None:
    sink = CpioSink(io.BytesIO())
    with pytest.raises(ArchiveError, match="'big' has 4294967296 bytes"):
        sink.add(Entry(b"big", "file", 0o644, size=1 << 32))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([b"/abs"], "no path of a segment"),
        ([b"a/../b"], "no path of a segment"),
        ([b"a//b"], "no path of a segment"),
        ([b"a", b"a"], "twice"),
        ([b"a", b"a/b"], "no directory"),
        ([b"n" * 4096], "4095"),
    ],
)
def test_sinks_refuse_paths_that_make_no_tree(paths: list[bytes], words: str) -> None:
    sink = CpioSink(io.BytesIO())
    with pytest.raises(ArchiveError, match=words):
        for path in paths:
            sink.add(Entry(path, "file", 0o644))


def test_a_body_of_another_size_is_refused() -> None:
    with pytest.raises(ArchiveError, match="3 bytes came, 4 were announced"):
        TarSink(io.BytesIO()).add(Entry(b"f", "file", 0o644, size=4), (b"abc",))


# -- properties --------------------------------------------------------------------------------------------------------

parts = st.sampled_from(["a", "b", "c", "lib"])
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
random_members = st.one_of(
    st.tuples(paths, st.just(R), st.binary(max_size=3)),
    st.tuples(paths, st.just(D), st.just(b""), st.fixed_dictionaries({"mode": st.sampled_from([0o700, 0o755])})),
    st.tuples(paths, st.just(S), paths),
    st.tuples(paths, st.just(H), paths),
)


@settings(deadline=None)
@given(st.lists(random_members, max_size=9))
def test_a_random_tar_is_laid_down_as_tar_would_unpack_it(
    tmp_path_factory: pytest.TempPathFactory, members: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "random"
    laid = {}
    for archive in ("tar", "none"):
        raw = io.BytesIO()
        sink = TarSink(raw) if archive == "tar" else CpioSink(raw, "none")
        try:
            lay_down(Layer(tar(*members)), sink)
        except ArchiveError:
            return
        sink.close()
        laid[archive] = raw.getvalue() + END_OF_ARCHIVE * (archive == "tar")
    path.write_bytes(tar(*members))
    model = compare.effective(compare.read_tar(path))
    if model.dropped:
        return
    want = model.paths()
    for archive, data in laid.items():
        found = tree(data, path.parent, archive != "tar")
        assert found.keys() == want.keys()
        for name, entry in want.items():
            if entry.get("implied"):
                assert found[name]["kind"] == "dir"
            elif archive == "tar" or entry["kind"] == "file" or "links" not in entry:
                assert found[name] == entry, name


@settings(deadline=None)
@given(st.lists(random_members, max_size=8))
def test_one_pass_and_two_give_the_same_tree(tmp_path_factory: pytest.TempPathFactory, members: list[Any]) -> None:
    """An empty second layer changes nothing but the number of passes."""
    view = View("p", "container")
    directory = tmp_path_factory.getbasetemp()
    try:
        one = written([Layer(tar(*members))], view, "none")
    except ArchiveError as error:
        with pytest.raises(ArchiveError, match=error.message[-10:].replace("\\", ".")):
            written([Layer(tar(*members)), Layer(tar())], view, "none")
        return
    two = written([Layer(tar(*members)), Layer(tar())], view, "none")
    assert tree(one, directory, True) == tree(two, directory, True)
