"""Small files read out of an image: what the merged tree has, whatever layer it comes from."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

import pytest

from lkbuild.archive.reading import Reading, read_files


@dataclass
class Layer:
    """A layer in memory that counts how often it is opened."""

    data: bytes
    name: str = "layer"
    opened: int = 0

    def open(self) -> BinaryIO:
        self.opened += 1
        return io.BytesIO(self.data)


def layer(**files: str) -> Layer:
    """`a__b` is the path a/b; `-> x` a link, `= x` a hard link, None a directory."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_wh_", ".wh."))
            if text.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, text[3:]
            elif text.startswith("= "):
                info.type, info.linkname = tarfile.LNKTYPE, text[2:]
            else:
                info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return Layer(raw.getvalue())


def read(*layers: Layer, limit: int = 1000) -> Reading:
    return read_files(layers, ("db/status", "lib/installed"), ("db/d",), limit)


CASES = {
    "nothing": ([layer(a="x")], {}),
    "one layer": (
        [layer(db__status="one", db__d__b="2", db__d__a="1", db__d__e__f="no")],
        {"db/status": b"one", "db/d/a": b"1", "db/d/b": b"2"},
    ),
    "a later layer wins": ([layer(db__status="one"), layer(db__status="two")], {"db/status": b"two"}),
    "a whiteout": ([layer(db__status="one", db__d__a="1"), layer(db___wh_status="")], {"db/d/a": b"1"}),
    "a whole directory hidden": (
        [layer(db__d__a="1"), layer(db__d___wh_="", **{"db/d/.wh..wh..opq": ""}, db__d__b="2")],
        {"db/d/b": b"2"},
    ),
    "a parent that is a link": ([layer(lib="-> usr/lib", usr__lib__installed="apk")], {"lib/installed": b"apk"}),
    "a link to the file": ([layer(lib__installed="-> ../x/y", x__y="apk")], {"lib/installed": b"apk"}),
    "a link out of the root": (
        [layer(lib__installed="-> ../../../../x", x="in the root")],
        {"lib/installed": b"in the root"},
    ),
    "a link to nowhere": ([layer(lib__installed="-> gone")], {}),
    "a link to itself": ([layer(lib__installed="-> installed")], {}),
    "a hard link": ([layer(x="linked", lib__installed="= x")], {"lib/installed": b"linked"}),
    "a hard link to a file hidden later": (
        [layer(x="linked", lib__installed="= x"), layer(_wh_x="")],
        {"lib/installed": b"linked"},
    ),
    "a directory in its place": ([layer(lib__installed__a="x")], {}),
    "one too large": (
        [layer(db__status="x" * 1001, lib__installed="apk")],
        {"db/status": None, "lib/installed": b"apk"},
    ),
    "together too large": ([layer(db__d__a="a" * 600, db__d__b="b" * 600)], {"db/d/a": b"a" * 600, "db/d/b": None}),
    "one of a lower layer that was large": (
        [layer(db__status="x" * 900), layer(db__status="y" * 900)],
        {"db/status": b"y" * 900},
    ),
    "a lower one read first leaves no room": (
        [layer(db__d__z="x" * 900), layer(db__d___wh_z="", db__status="y" * 900)],
        {"db/status": b"y" * 900},
    ),
}


@pytest.mark.parametrize(("layers", "expected"), CASES.values(), ids=CASES)
def test_what_the_merged_tree_has(layers: list[Layer], expected: dict[str, bytes | None]) -> None:
    found = read(*layers).files
    assert {path.decode(): data for path, data in found.items()} == expected


def test_layers_are_read_once_where_names_are_as_they_stand() -> None:
    layers = [layer(db__status="one", db__d__a="1"), layer(a="x")]
    read(*layers)
    assert [each.opened for each in layers] == [1, 1]


def test_what_is_there() -> None:
    reading = read(layer(var__lib__rpm__Packages="x", lib="-> var/lib"))
    assert reading.there(("nothing", "lib/rpm/Packages"))
    assert not reading.there(("var/lib/rpm", "nothing"))
