"""Layers without a path twice that together hold what the tar does, as Python's tarfile extracts both."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.disk.extents import Extent, Slice
from lkbuild.disk.layout import read
from lkbuild.steps.oci_layers import layers
from lkbuild.steps.rootfs import ended
from lkbuild.store.recipe import Recipe
from tests.unit.disk_images import Blobs

Entry = tuple[str, str]
"""A path, and what it is: `dir` or `dir MODE`, `-> TARGET`, `= LINKED`, or its contents."""


def member(tar: tarfile.TarFile, path: str, what: str) -> None:
    info = tarfile.TarInfo(path)
    data = b""
    if what.startswith("dir"):
        info.type, info.mode = tarfile.DIRTYPE, int(what[4:] or "755", 8)
    elif what.startswith("-> "):
        info.type, info.linkname = tarfile.SYMTYPE, what[3:]
    elif what.startswith("= "):
        info.type, info.linkname = tarfile.LNKTYPE, what[2:]
    else:
        data = what.encode()
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def segment(entries: Iterable[Entry]) -> bytes:
    """Members without an end."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, what in entries:
            member(tar, path, what)
        return raw.getvalue()[: tar.offset]


def made(segments: Iterable[Iterable[Entry]]) -> tuple[bytes, list[bytes]]:
    """The tar of these segments, and its layers."""
    blobs = Blobs()
    extents: list[Extent] = [each for entries in segments for each in blobs.add(segment(entries))]
    recipe = Recipe.of(ended(extents))
    found = [b"".join(read(layer.extents, blobs.open)) for layer in layers(recipe, blobs.open)]
    return b"".join(read(recipe.extents, blobs.open)), found


def extracted(archives: Iterable[bytes]) -> dict[str, tuple[str, int, object]]:
    """What there is at the end, a later member winning: kind, mode and what it leads to or holds."""
    there: dict[str, tuple[str, int, object]] = {}
    for archive in archives:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for info in tar:
                linked = there[info.linkname][2] if info.islnk() else None
                body = tar.extractfile(info) if info.isreg() else None
                held = info.linkname if info.issym() else linked if info.islnk() else body.read() if body else None
                kind = "f" if info.isreg() or info.islnk() else info.type.decode()
                there[info.name] = kind, 0o644 if info.islnk() else info.mode, held
    return there


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([[("a", "x")], [("b", "y")]], [["a", "b"]]),
        ([[("d", "dir"), ("d/a", "x")], [("d", "dir"), ("d/b", "y")]], [["d", "d/a", "d/b"]]),
        ([[("d", "dir"), ("d/a", "x")], [("d", "dir 700")]], [["d", "d/a"]]),  # the later mode, before its file
        ([[("a", "x")], [("a", "y")]], [["a"], ["a"]]),
        ([[("a", "x"), ("b", "= a")], [("c", "z"), ("b", "new")]], [["a", "b"], ["c", "b"]]),
        ([[("a", "-> b")], [("a", "dir")], [("c", "y")]], [["a"], ["a", "c"]]),
        ([[("x", "1")], [("a", "1"), ("b", "= a"), ("x", "2")]], [["x"], ["a", "b", "x"]]),  # a link with its file
        ([[("./a", "x")], [("a", "y")]], [["./a"], ["a"]]),
        ([[("p" * 150, "x")], [("p" * 150, "y")]], [["p" * 150], ["p" * 150]]),  # headers before the header
        ([], [[]]),
    ],
)
def test_layers(segments: list[list[Entry]], expected: list[list[str]]) -> None:
    whole, found = made(segments)
    assert [names(layer) for layer in found] == expected
    assert extracted(found) == extracted([whole])


ENTRIES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "e" * 120]),
    st.sampled_from(["dir", "dir 700", "one", "two", "-> a"]),
    max_size=5,
)


@given(st.lists(ENTRIES, max_size=6))
def test_any_segments(segments: list[dict[str, str]]) -> None:
    whole, found = made([entries.items() for entries in segments])
    assert extracted(found) == extracted([whole])
    assert all(len(names(layer)) == len(set(names(layer))) for layer in found)


def test_what_is_not_replaced_stays_one_slice(tmp_path: Path) -> None:
    blobs = Blobs()
    data = segment([("a", "x" * 9000), ("b", "y" * 9000)])
    recipe = Recipe.of(ended(blobs.add(data)))
    (layer,) = layers(recipe, blobs.open)
    assert layer.extents[0] == Slice(Digest.of(data), 0, len(data))
