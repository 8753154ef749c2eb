"""Segments over each other: what Linux would make of them and what a tar says is one, or it is refused."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.archive.entry import Entry
from lkbuild.archive.index import Index, IndexEntry, parse_index
from lkbuild.archive.overlay import Fixup, check, check_indexes, standing
from lkbuild.archive.sink import CpioSink
from lkbuild.errors import ArchiveError


def load_compare() -> ModuleType:
    path = Path(__file__).parents[1] / "conformance" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compare = load_compare()


def row(path: str, kind: Any = "file", group: int = 0, **more: Any) -> IndexEntry:
    target = more.pop("target", "").encode()
    plain = IndexEntry(path.encode(), kind, 0o755, 0, 0, 1492533000, 0, target, group, False, False)
    return plain._replace(**more)


def d(path: str, **more: Any) -> IndexEntry:
    return row(path, "directory", **more)


def link(path: str, target: str) -> IndexEntry:
    return row(path, "symlink", target=target)


IMPLIED = {"implied": True}

FINE = [
    ("nothing in common", [[d("a"), row("a/f")], [d("b"), row("b/f")]], []),
    ("a file over a file", [[row("f")], [row("f")]], []),
    ("a file over a symlink", [[link("f", "x")], [row("f")]], []),
    ("a file over an empty directory", [[d("f")], [row("f")]], []),
    ("a directory over a file", [[row("f")], [d("f")]], []),
    ("a directory over a directory", [[d("f"), row("f/x")], [d("f", mode=0o700)]], []),
    ("a file over one name of two", [[row("a", group=1), row("b", group=1)], [row("b")]], [(1, "b", "symlink")]),
    ("a file over the last of two names", [[row("a", group=1), row("b", group=1)], [link("a", "x")], [row("b")]], []),
    ("links over links", [[row("a", group=1), row("b", group=1)], [row("a", group=1), row("c", group=1)]], [(1, "a", "symlink")]),  # noqa: E501
    ("a symlink over one name of two", [[row("a", group=1), row("b", group=1)], [link("b", "x")]], []),
    ("no parent", [[row("f")], [row("x/y/z")]], [(1, "x", "directory"), (1, "x/y", "directory")]),
    ("below a symlink of before", [[d("usr"), link("l", "usr")], [row("l/f")]], []),
    ("linked file below a symlink", [[d("u"), row("u/a", group=1), row("u/b", group=1), link("l", "/u")], [row("l/a")]], [(1, "u/a", "symlink")]),  # noqa: E501
    ("a made directory over a real one", [[d("e", mode=0o700)], [d("e", **IMPLIED), row("e/f")], [row("g")]], [(2, "e", "directory")]),  # noqa: E501
    ("a made directory over one like it", [[d("e")], [d("e", **IMPLIED), row("e/f")]], []),
    ("a real directory after a made one", [[d("e", **IMPLIED), row("e/f")], [d("e", mode=0o700)]], []),
]  # fmt: skip


@pytest.mark.parametrize(("segments", "fixups"), [t[1:] for t in FINE], ids=[t[0] for t in FINE])
def test_fine_or_put_right(segments: list[list[IndexEntry]], fixups: list[tuple[int, str, str]]) -> None:
    found = check([(f"s{n}", rows) for n, rows in enumerate(segments)])
    assert [(f.before, e.path.decode(), e.kind) for f in found for e in f.entries] == fixups


def test_a_real_directory_gets_back_what_it_had() -> None:
    real = d("e", mode=0o1700, uid=5, gid=6, mtime=7)
    assert check([("a", [real]), ("b", [d("e", **IMPLIED), row("e/f")])]) == [
        Fixup(2, (Entry(b"e", "directory", 0o1700, 5, 6, 7),))
    ]


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([[link("lib", "usr/lib")], [d("lib")]], "'lib' is a directory in s1, but s0 has a symbolic link to 'usr/lib'"),
        ([[link("lib", "usr/lib")], [d("lib", **IMPLIED), row("lib/f")]], "a merged /usr"),
        ([[d("lib"), row("lib/f")], [link("lib", "usr/lib")]], "(?s)'lib' is a symlink in s1, but s0 has a.*merged /usr"),  # noqa: E501
        ([[d("x"), row("x/f")], [row("x")]], "'x' is a file in s1, but s0 has a directory that is not empty"),
        ([[row("x")], [row("x/f")]], "'x/f' in s1 needs a directory 'x', which in s0 is a file"),
        ([[row("x")], [d("x", **IMPLIED), row("x/f")]], "'x' is a directory in s1, but s0 has a file there"),
        ([[link("x", "no")], [row("x/f")]], "leads nowhere"),
        ([[link("x", "x")], [row("x/f")]], "needs a directory"),
        ([[d("u"), link("l", "u")], [row("u/f"), row("l/f")]], "two of its entries come to one place"),
        ([[row("f"), row("f")]], "two of its entries come to one place"),
    ],
)  # fmt: skip
def test_refused(segments: list[list[IndexEntry]], words: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        check([(f"s{n}", rows) for n, rows in enumerate(segments)])
    assert caught.match(words)


# -- against the emulation of Linux --------------------------------------------------------------------------------

PATHS = ["a", "b", "l", "a/a", "a/b", "b/a", "l/a", "a/l", "a/b/c", "l/b/c"]
random_rows = st.builds(
    lambda path, kind, group, mode, implied, target: IndexEntry(
        path.encode(),
        kind,
        0o755 if implied and kind == "directory" else mode,
        0,
        0,
        1492533000 if implied and kind == "directory" else 5,
        0,
        target.encode() if kind == "symlink" else b"",
        group if kind == "file" else 0,
        implied and kind == "directory",
        False,
    ),
    st.sampled_from(PATHS),
    st.sampled_from(["file", "file", "directory", "directory", "symlink", "char"]),
    st.sampled_from([0, 0, 1]),
    st.sampled_from([0o700, 0o644]),
    st.booleans(),
    st.sampled_from(["a", "b", "/a", "a/b", "nowhere"]),
)


def depth_first(rows: list[IndexEntry]) -> list[IndexEntry]:
    """As sinks write them: every path once, names of one file behind one another."""
    once = {r.path: r for r in rows}
    return sorted(once.values(), key=lambda r: (r.path.count(b"/"), r.group, r.path))


def entry_of(r: IndexEntry, content: str) -> dict[str, Any]:
    kind = {"directory": "dir"}.get(r.kind, r.kind)
    entry: dict[str, Any] = {"path": r.path.decode(), "kind": kind, "mode": f"{r.mode:04o}"}
    entry |= {"uid": r.uid, "gid": r.gid, "mtime": r.mtime}
    if r.kind == "symlink":
        entry["target"] = r.target.decode()
    if r.kind == "file":
        entry["sha256"] = content
    return entry


def as_linux(segments: list[list[IndexEntry]], fixups: list[Fixup]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for number in range(len(segments) + 1):
        for fixup in (f for f in fixups if f.before == number):
            for e in fixup.entries:
                fixed = IndexEntry(e.path, e.kind, e.mode, e.uid, e.gid, e.mtime, 0, e.target, 0, False, False)
                out.append(entry_of(fixed, "fixup"))
        for at, r in enumerate(segments[number] if number < len(segments) else []):
            content = f"{number}/{r.group}" if r.group else f"{number}.{at}"
            entry = entry_of(r, content) | ({"_archive": True} if at == 0 else {})
            out.append(entry | ({"_link": r.group} if r.group else {}))
    return out


def as_tar(segments: list[list[IndexEntry]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for number, rows in enumerate(segments):
        first: dict[int, str] = {}
        for at, r in enumerate(rows):
            if r.implied:
                continue
            entry = entry_of(r, f"{number}/{r.group}" if r.group else f"{number}.{at}")
            if r.group in first:
                entry = entry | {"kind": "hardlink", "target": first[r.group]}
            elif r.group:
                first[r.group] = entry["path"]
            out.append(entry)
    return out


@settings(deadline=None, max_examples=600)
@given(st.lists(st.lists(random_rows, max_size=7).map(depth_first), max_size=4))
def test_what_is_not_refused_is_what_a_tar_says(segments: list[list[IndexEntry]]) -> None:
    try:
        fixups = check([(f"s{n}", rows) for n, rows in enumerate(segments)])
    except ArchiveError:
        return
    linux = compare.effective(as_linux(segments, fixups), initrd=True)
    assert linux.dropped == []
    want, have = compare.effective(as_tar(segments)).paths(), linux.paths()
    for path in want.keys() | have.keys():
        # Rows somebody asked for have the time 5; the fixed time is that of made directories.
        if want.get(path, {}).get("implied") or (path not in want and have[path]["mtime"] == 1492533000):
            assert have[path]["kind"] == "dir"
        else:
            assert have.get(path) == want.get(path), path
    there = standing([(f"s{n}", rows) for n, rows in enumerate(segments)])
    kept = (
        entry_of(r, f"{number}/{r.group}" if r.group else f"{number}.{at}").get("sha256")
        for number, rows in enumerate(segments)
        for at, r in enumerate(rows)
        if r.path in there[number]
    )
    others = (entry for entry in have.values() if entry["kind"] != "dir")
    assert sorted(map(str, kept)) == sorted(str(entry.get("sha256")) for entry in others)


def sound(prefix: str, rows: list[IndexEntry]) -> bytes | None:
    """The index of a segment a sink would write of these rows below `prefix`; None where it would write none."""
    sink = CpioSink(io.BytesIO(), "none")
    try:
        sink.directories(prefix.encode())
        for r in rows:
            entry = Entry(f"{prefix}/".lstrip("/").encode() + r.path, r.kind, r.mode, r.uid, r.gid, r.mtime)
            links = (entry.path + b"2",) if r.group else ()
            sink.add(entry._replace(target=r.target), (), links, r.implied)
    except ArchiveError:
        return None
    return sink.index()


def outcome(laid: Callable[[], list[Fixup]]) -> list[Fixup] | str:
    try:
        return laid()
    except ArchiveError as error:
        return str(error)


sound_segments = st.builds(sound, st.sampled_from(["", "a", "a/b", "b/a", "s/x"]), st.lists(random_rows, max_size=7))


@settings(deadline=None, max_examples=600)
@given(st.lists(sound_segments.filter(lambda index: index is not None), max_size=5))
def test_directories_of_one_segment_alone_need_no_look(segments: list[bytes]) -> None:
    rows = [(f"s{n}", parse_index(index)) for n, index in enumerate(segments)]
    indexes = [(f"s{n}", Index(index, 0)) for n, index in enumerate(segments)]
    assert outcome(lambda: check_indexes(indexes)) == outcome(lambda: check(rows))


def test_and_are_not_looked_at() -> None:
    below = [row(f"f{n}") for n in range(1000)]
    first, second = (Index(sound(f"services/{name}/lower", below) or b"") for name in "ab")
    beside = Index(sound("services/a", [row("config"), d("lower"), d("upper")]) or b"")
    assert check_indexes([("first", first), ("second", second), ("beside", beside)]) == []
    assert (first.closed, second.closed, beside.closed) == (b"services/a/lower", b"services/b/lower", b"")
    assert [len(index.known) for index in (first, second, beside)] == [3, 3, 5]
    within = Index(sound("services/a/lower", [row("f7")]) or b"")
    assert check_indexes([("first", first), ("second", second), ("within", within)]) == []
    assert [len(index.known) for index in (first, second)] == [1003, 1003]


# -- indexes -----------------------------------------------------------------------------------------------------------


def test_an_index_says_what_its_segment_holds() -> None:
    sink = CpioSink(io.BytesIO())
    sink.directories(b"containers/x")
    sink.add(Entry(b"containers/x/deep/f", "file", 0o600, 1, 2, 3, 4), (b"data",), (b"h",))
    sink.add(Entry(b"l\xe9", "symlink", 0o777, target=b"\xff"))
    sink.add(Entry(b"c", "char", 0o666, device=(1, 3), xattrs=((b"user.x", b""),)))
    assert parse_index(sink.index()) == [
        d("containers"),
        d("containers/x"),
        d("containers/x/deep", implied=True),
        IndexEntry(b"containers/x/deep/f", "file", 0o600, 1, 2, 3, 4, b"", 1, False, False),
        IndexEntry(b"h", "file", 0o600, 1, 2, 3, 4, b"", 1, False, False),
        IndexEntry(b"l\xe9", "symlink", 0o777, 0, 0, 1492533000, 0, b"\xff", 0, False, False),
        IndexEntry(b"c", "char", 0o666, 0, 0, 1492533000, 0, b"", 0, False, True),
    ]


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=20).filter(lambda n: not set(n) & set(b"\0/.")), st.binary(max_size=20))
def test_any_name_and_target_come_back(name: bytes, target: bytes) -> None:
    sink = CpioSink(io.BytesIO())
    sink.add(Entry(name, "symlink", 0o777, mtime=-3, target=target))
    assert [(row.path, row.target, row.mtime) for row in parse_index(sink.index())] == [(name, target, -3)]


SMALL = CpioSink(io.BytesIO())
SMALL.add(Entry(b"a/b", "file", 0o644))
GOOD = SMALL.index()


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"", "not a segment index"),
        (GOOD[:-1], "cut short"),
        (GOOD.replace(b'"a/b"', b'"/b"'), "not a path"),
        (GOOD.replace(b'"a/b"', b'"a/../b"'), "not a path"),
        (GOOD.replace(b'"f"', b'"?"'), "line 3: not a row"),
        (GOOD.replace(b"420", b"99999"), "ranges"),
        (GOOD.replace(b"420", b"4e2"), "not a row"),
        (GOOD.replace(b'["a/b"', b"[" * 100000), "line 3"),
        (GOOD.replace(b"420", b"9" * 5000), "line 3"),
    ],
)
def test_a_damaged_index_is_refused(index: bytes, words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        parse_index(index)


@settings(deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(max_size=9))
def test_damage_is_only_ever_an_archive_error(at: int, rubbish: bytes) -> None:
    try:
        parse_index(GOOD[:at] + rubbish + GOOD[at + len(rubbish) :])
    except ArchiveError:
        return
