"""What of a step changed, as comparing it before and after tells: tags, packages, inputs that came, went or moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from lkbuild.digest import Digest, plain
from lkbuild.engine.causes import Change, causes
from lkbuild.engine.sides import Made, Source
from lkbuild.errors import Origin
from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import Files, Pull, PullLayer, Rootfs, Text
from lkbuild.plan.recorded import unkeyed
from lkbuild.plan.step import Step
from lkbuild.reference import Reference

A, B, C = (Digest.of(text) for text in (b"a", b"b", b"c"))


def made(kind: str, params: Any, *sources: Source, version: int = 1) -> Made:
    return Made(kind, version, plain(params), unkeyed(params), sources)


def source(role: str, digest: Digest | None, step: str = "", output: str = "segment", file: str = "") -> Source:
    return Source(role, digest, 1, ((step, output),) if step else (), file)


@dataclass
class Fixed:
    """A side that knows these steps."""

    steps: dict[str, Made]

    def made(self, name: str) -> Made | None:
        return self.steps.get(name)


def changes(old: Made, new: Made, planned: Step | None = None) -> list[tuple[str, str, str]]:
    (cause, *_) = causes("x", Fixed({"x": old}), Fixed({"x": new}), {"x": planned} if planned else {})
    return [(change.what, change.old, change.new) for change in cause.changes]


def pull(*layers: Digest) -> Pull:
    return Pull(tuple(PullLayer(digest, 1) for digest in layers), Reference.parse("nginx:1"))


def deb(version: str, digest: Digest) -> DebFile:
    return DebFile(digest, 1, f"http://deb.invalid/pool/n/nginx_{version}_amd64.deb")


ROOT = Rootfs(("a", "b"))

CASES: list[tuple[str, Made, Made, list[tuple[str, str, str]]]] = [
    ("a tag that means another image", made("pull", pull(A, B)), made("pull", pull(A, C)),
     [("layers of docker.io/library/nginx:1", f"{A}, {B}", f"{A}, {C}")]),
    ("and says what made its layers", made("pull", pull(A)), made("pull", replace(pull(C), history=("RUN b",))),
     [("layers of docker.io/library/nginx:1", f"{A}", f"{C}")]),
    ("a package's version", made("deb", deb("1.0-1", A)), made("deb", deb("1.1-1", B)),
     [("package", "nginx_1.0-1_amd64.deb", "nginx_1.1-1_amd64.deb")]),
    ("the same package from elsewhere", made("deb", deb("1", A)), made("deb", replace(deb("1", A), uri="y")), []),
    ("a newer lkbuild", made("text", Text("a")), made("text", Text("a"), version=2),
     [("version of text steps", "1", "2")]),
    ("another kind of step", made("text", Text()), made("files", Files(())), [("kind", "text", "files")]),
    ("both outputs of a step", made("initrd", ROOT, source("segment0", A, "t"), source("index0", B, "t", "index")),
     made("initrd", ROOT, source("segment0", C, "t"), source("index0", None, "t", "index")),
     [("segment0, index0 (t)", f"{A} (1 bytes)", f"{C} (1 bytes)")]),
    ("one that moved", made("initrd", ROOT, source("segment0", A, "t"), source("segment1", B, "u")),
     made("initrd", ROOT, source("segment0", C, "n"), source("segment1", A, "t"), source("segment2", B, "u")),
     [("segment0 (n)", "nothing", f"{C} (1 bytes)")]),
    ("one that went", made("initrd", ROOT, source("segment0", A, "t"), source("segment1", B, "u")),
     made("initrd", ROOT, source("segment0", B, "u")), [("segment0 (t)", f"{A} (1 bytes)", "nothing")]),
    ("the same in another order", made("initrd", ROOT, source("segment0", A, "t"), source("segment1", B, "u")),
     made("initrd", ROOT, source("segment0", B, "u"), source("segment1", A, "t")),
     [("order of the inputs", "t, u", "u, t")]),
    ("another step in its place", made("tree", Text(), source("layer0", A, "pull:1", "layer0")),
     made("tree", Text(), source("layer0", B, "pull:2", "layer0")),
     [("layer0 (pull:2 in place of pull:1)", f"{A} (1 bytes)", f"{B} (1 bytes)")]),
    ("a file, and one more before it", made("package-layer", Text(), source("file0", A, file="b")),
     made("package-layer", Text(), source("file0", C, file="a"), source("file1", B, file="b")),
     [("file a", "nothing", f"{C} (1 bytes)"), ("file b", f"{A} (1 bytes)", f"{B} (1 bytes)")]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_changes(old: Made, new: Made, found: list[tuple[str, str, str]]) -> None:
    assert sorted(changes(old, new)) == sorted(found)


def test_causes_are_followed_each_step_once_and_to_an_end() -> None:
    def side(digest: Digest, text: str) -> Fixed:
        ring = made("tree", Text(), source("a", digest, "left"), source("b", digest, "right"))
        return Fixed({"top": ring, "left": made("tree", Text(), source("c", digest, "leaf")),
                      "right": made("tree", Text(), source("c", digest, "leaf"), source("d", digest, "top")),
                      "leaf": made("text", Text(text))})  # fmt: skip

    found = causes("top", side(A, "old"), side(B, "new"), {})
    assert [cause.step for cause in found] == ["top", "left", "right", "leaf"], "also where a cache claims a ring"
    assert found[-1].changes == (Change("params.text", '"old"', '"new"'),)


def test_the_place_is_that_of_the_part_that_changed() -> None:
    places = (("text", Origin("a.yml", 3, 5)),)
    for planned, place in (
        (Step("x", "text", Text(), (), Origin("a.yml", 1), places), "a.yml:3:5"),
        (Step("x", "text", Text(), (), Origin("a.yml", 1)), "a.yml:1"),
        (Step("x", "text", Text()), ""),
    ):
        old, new = Fixed({"x": made("text", Text("a"))}), Fixed({"x": made("text", Text("b"))})
        (cause,) = causes("x", old, new, {"x": planned})
        assert [change.place for change in cause.changes] == [place]


def test_steps_that_are_not_known_say_so() -> None:
    known, unknown = Fixed({"x": made("text", Text())}), Fixed({})
    notes = [causes("x", *sides, {})[0].note for sides in ((unknown, known), (known, unknown), (known, known))]
    assert notes == [
        "changed, but what it was made from before is no longer in the cache",
        "is gone, or what it was made from is no longer in the cache",
        "is as it was",
    ]
