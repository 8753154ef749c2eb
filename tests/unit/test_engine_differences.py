"""Where two values differ, in the words of specs, and in short."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lkbuild.digest import plain
from lkbuild.engine.differences import NOTHING, differences, shortened
from lkbuild.oci.image import RunConfig
from lkbuild.plan.kinds import Bundle, FileEntry, Files, Rootfs, Segment
from lkbuild.spec.model import ContainerConfig, Mount, Resources
from lkbuild.spec.resources import Memory

BUNDLE = Bundle("d", "d/rootfs", False, ContainerConfig(), RunConfig())
FILES = Files((FileEntry("etc/motd", "file", "hello", mode=0o644), FileEntry("b", "directory")))


def bundle(**config: Any) -> Bundle:
    return dataclasses.replace(BUNDLE, entry=ContainerConfig(**config))


def files(*entries: FileEntry) -> Files:
    return dataclasses.replace(FILES, entries=entries)


CASES: list[tuple[str, Any, Any, list[tuple[str, object, object]]]] = [
    ("nothing", BUNDLE, BUNDLE, []),
    ("a key as specs spell it", bundle(oom_score_adj=1), bundle(oom_score_adj=2), [("entry.oomScoreAdj", 1, 2)]),
    ("a list of texts is one value", bundle(capabilities_add=("A",)), bundle(capabilities_add=("A", "B")),
     [("entry.capabilities.add", ["A"], ["A", "B"])]),
    ("what is given first", bundle(), bundle(readonly=True), [("entry.readonly", None, True)]),
    ("deep, through what may be missing", bundle(resources=Resources(memory=Memory(limit=1))),
     bundle(resources=Resources(memory=Memory(limit=2))), [("entry.resources.memory.limit", 1, 2)]),
    ("entries without a name by their place", bundle(mounts=(Mount("/a"), Mount("/b"))),
     bundle(mounts=(Mount("/a"), Mount("/c"))), [("entry.mounts[1].destination", "/b", "/c")]),
    ("entries with a path by it", FILES, files(FileEntry("etc/motd", "file", "bye", mode=0o600), FILES.entries[1]),
     [("entries[etc/motd].contents", "hello", "bye"), ("entries[etc/motd].mode", 0o644, 0o600)]),
    ("an entry that came", files(FILES.entries[0]), FILES, [("entries[b]", NOTHING, plain(FILES.entries[1]))]),
    ("an entry that went", FILES, files(FILES.entries[0]), [("entries[b]", plain(FILES.entries[1]), NOTHING)]),
    ("another order", FILES, files(*reversed(FILES.entries)), [("entries", ["etc/motd", "b"], ["b", "etc/motd"])]),
    ("true is not one", plain(BUNDLE) | {"readonly": 1}, plain(BUNDLE) | {"readonly": True}, [("readonly", 1, True)]),
    ("params of another class", plain(Rootfs(("a",))), plain(Rootfs(("a",), ucode=True)), [("ucode", False, True)]),
    ("values within", Segment(), Segment(profile="release"), [("profile", "dev", "release")]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_differences(old: Any, new: Any, found: list[tuple[str, object, object]]) -> None:
    hint = type(new) if dataclasses.is_dataclass(new) else Any
    assert [(d.where, d.old, d.new) for d in differences(hint, plain(old), plain(new))] == found


LONG = "x" * 200


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (None, True, ("nothing", "true")),
        (NOTHING, "a", ("nothing", '"a"')),
        (["A"], ["A", "B"], ('["A"]', '["A", "B"]')),
        (list("abcdefghijklmnop"), list("abcdefghijklmnopq"), ("[…]", '[…, "q"]')),
        (list("abcdefghijklmnopq"), list("bcdefghijklmnopq"), ('["a", …]', "[…]")),
        (f"{LONG}old{LONG}", f"{LONG}new{LONG}", (f"…{'x' * 24}old{'x' * 24}…", f"…{'x' * 24}new{'x' * 24}…")),
        (NOTHING, LONG, ("nothing", f'"{"x" * 143}…')),
        (f"{LONG}a", "b", (f'"{"x" * 143}…', '"b"')),
        ("", LONG + "\n", ('""', f'"{"x" * 143}…')),
    ],
)
def test_values_in_short(old: object, new: object, words: tuple[str, str]) -> None:
    assert shortened(old, new) == words
