"""One broken spec among many: each way of being broken, told in full at its place, and the others built or not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.engine import building
from lkbuild.engine.arguments import Order
from lkbuild.engine.building import Wish
from lkbuild.engine.events import Listener, nobody
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import Prepared, prepare
from lkbuild.engine.report import Built, Nothing, Refused, Report, Unbuilt
from lkbuild.engine.running import Manners
from lkbuild.errors import SpecError
from lkbuild.sources import Registry, RegistryOptions
from tests.support.building import IMAGES, digests, offline

INIT = "init: [conf/init:1]\n"
GOOD = f"{INIT}files:\n  - {{path: etc/motd, contents: good, mode: '0644'}}\n"

BROKEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "no YAML": ("init: [conf/init:1\nservices: x\n", ("bad.yml:2:9: not YAML", "hint: check the indentation")),
    "an unknown key": (f"{INIT}servces: []\n", ("bad.yml:2:1: unknown key 'servces'; did you mean 'services'?",)),
    "an image that is nowhere": (
        "init: [conf/init:1, conf/nosuch:1]\n",
        ("bad.yml:1:21: image docker.io/conf/nosuch:1 for linux/amd64 was not found", "check the name"),
    ),
    "two images that are nowhere": (
        "init: [conf/nosuch:1]\nservices:\n  - {name: s, image: conf/nope:2}\n",
        ("bad.yml:1:8: image docker.io/conf/nosuch:1", "bad.yml:3:22: image docker.io/conf/nope:2"),
    ),
    "a volume's image that is nowhere": (
        f"{INIT}volumes:\n  - {{name: v, image: conf/nosuch:1, format: oci}}\n",
        ("bad.yml:3:22: image docker.io/conf/nosuch:1 for",),
    ),
    "a source that is missing": (
        f"{INIT}files:\n  - {{path: etc/x, source: ./missing}}\n",
        ("bad.yml:3:27: cannot read source", "hint: a source is relative to the spec"),
    ),
    "no such format": (f"{INIT}outputs: [{{format: isobios}}]\n", ("bad.yml:2:20: unknown output format 'isobios'",)),
    "a format that cannot be": (f"{INIT}outputs: [{{format: raw-bios}}]\n", ("raw-bios boots, and the spec has no",)),
    "no such package": (
        'init: [conf/init:1, "@pkg:./nothing"]\n',
        ("bad.yml:1:21: init[1]: package '@pkg:./nothing'",),
    ),
    "a package that is wrong": ('init: [conf/init:1, "@pkg:./wrong"]\n', ("wrong/build.yml:1:1: unknown key 'imge'",)),
    "a package for others and an image that is nowhere": (
        'init: [conf/nosuch:1, "@pkg:./arm"]\n',
        ("bad.yml:1:8: image docker.io/conf/nosuch:1", "arm/build.yml:2:1: the package arm cannot be built for amd64"),
    ),
    "a verification by nobody": (
        f"{INIT}trust: {{image: [conf/init:1]}}\n",
        ("bad.yml:2:9: trust.image asks for signatures", "say by whom"),
    ),
    "a key that is missing": (
        f"{INIT}trust: {{image: [conf/init:1], keys: [no.pub]}}\n",
        ("bad.yml:2", "no.pub: cannot be read"),
    ),
}
"""A spec, and what is told of it."""


@dataclass
class Fleet:
    """Specs in a directory, built in the order of their names, and what was told."""

    root: Path
    reports: list[Report]

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def order(self, **more: object) -> Order:
        machines = tuple((path,) for path in sorted(self.root.rglob("*.yml")) if path.name != "build.yml")
        given = {"formats": (), "machines": machines, **more}
        return Order(offline(machines[0][0], self.root / "cache", self.root / "out", **given))

    def build(self, keep_going: bool = True, **more: object) -> int:
        def preparing(options: BuildOptions, listen: Listener, going_on: bool = False) -> Prepared:
            return prepare(options, listen, Registry(RegistryOptions()), going_on=going_on)

        time.sleep(0.03)  # what was written just now leaves no stamp
        self.reports.clear()
        return building.build(self.order(**more), Wish(Manners(keep_going=keep_going)), preparing, self.reports.append)

    def built(self) -> list[str]:
        """The machines that are built now, or were and are so still."""
        fresh = [name for each in self.reports if isinstance(each, Nothing) for name in each.machines]
        return sorted([*fresh, *(each.machine for each in self.reports if isinstance(each, Built))])

    def refused(self) -> dict[str, str]:
        """What was told of each spec, by its file's path here."""
        told = [each for each in self.reports if isinstance(each, Refused)]
        return {str(Path(each.spec).relative_to(self.root)): str(each.error) for each in told}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path, [])
    fleet.write("good.yml", GOOD)
    fleet.write("alright.yml", GOOD)
    fleet.write("wrong/build.yml", "imge: x\nimage: wrong\n")
    fleet.write("arm/build.yml", "image: arm\narches: [arm64]\ndirectories: [{path: etc}]\n")
    return fleet


@pytest.mark.parametrize("kind", BROKEN)
def test_one_broken_spec(fleet: Fleet, kind: str) -> None:
    text, words = BROKEN[kind]
    fleet.write("bad.yml", text)
    with pytest.raises(SpecError) as raised:
        fleet.build(keep_going=False)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert not (fleet.root / "out").exists()
    assert fleet.build() == 1
    assert (fleet.built(), list(fleet.refused())) == (["alright", "good"], ["bad.yml"])
    assert fleet.refused()["bad.yml"] == str(raised.value)
    (end,) = (each for each in fleet.reports if isinstance(each, Unbuilt))
    assert (end.asked, [each.machine for each in end.machines]) == (3, ["bad"])
    assert end.machines[0].why in str(raised.value) or " more)" in end.machines[0].why
    assert fleet.build() == 1
    assert isinstance(fleet.reports[0], Nothing) and fleet.reports[0].machines == ("alright", "good")
    fleet.write("bad.yml", GOOD)
    assert (fleet.build(), fleet.built()) == (0, ["alright", "bad", "good"])


def test_all_of_them(fleet: Fleet) -> None:
    """Whatever stage each gets to, all are told, in their order; what the others make is what it is without them."""
    fleet.build()
    alone = digests(fleet.root / "out")
    shutil.rmtree(fleet.root / "out")
    kinds = {f"bad{number:02}.yml": kind for number, kind in enumerate(BROKEN)}
    for name, kind in kinds.items():
        fleet.write(name, BROKEN[kind][0])
    with pytest.raises(SpecError) as raised:
        fleet.build(keep_going=False)
    told = str(raised.value)
    places = [told.index(word.replace("bad.yml", name)) for name, kind in kinds.items() for word in BROKEN[kind][1][:1]]
    assert places == sorted(places)
    assert not (fleet.root / "out").exists()
    assert fleet.build() == 1
    assert list(fleet.refused()) == list(kinds)
    assert fleet.built() == ["alright", "good"]
    assert digests(fleet.root / "out") == alone


def test_what_several_are_refused_for_is_said_once(fleet: Fleet) -> None:
    for name in ("x.yml", "y.yml"):
        fleet.write(name, BROKEN["a package that is wrong"][0])
    assert fleet.build() == 1
    refused = [each for each in fleet.reports if isinstance(each, Refused)]
    assert [(Path(each.spec).name, each.again) for each in refused] == [("x.yml", False), ("y.yml", True)]
    with pytest.raises(SpecError) as raised:
        fleet.build(keep_going=False)
    assert len(raised.value.problems) == 1


def test_two_of_one_name_are_both_refused(fleet: Fleet) -> None:
    """Neither is the right one.  Formats of the spec's own that are written to other paths are another matter."""
    fleet.write("a/web.yml", GOOD)
    fleet.write("b/web.yml", f"{GOOD}outputs: [{{format: tar}}]\n")
    assert (fleet.build(), fleet.built()) == (0, ["alright", "good", "web"])
    fleet.write("b/web.yml", f"{GOOD}# as the other\n")
    assert fleet.build(directory=fleet.root / "elsewhere") == 1
    told = fleet.refused()
    assert list(told) == ["a/web.yml", "b/web.yml"] and fleet.built() == ["alright", "good"]
    assert "a/web.yml: build:web:kernel+initrd and build:web:kernel+initrd of " in told["a/web.yml"]
    assert "b/web.yml would both write " in told["a/web.yml"] and "other names" in told["a/web.yml"]
    with pytest.raises(SpecError, match="would both write"):
        fleet.build(keep_going=False, directory=fleet.root / "third")
    assert not (fleet.root / "third").exists()


def test_two_of_one_name_are_both_refused_also_when_one_is_fresh(fleet: Fleet) -> None:
    fleet.write("a/web.yml", GOOD)
    assert (fleet.build(), fleet.built()) == (0, ["alright", "good", "web"])
    fleet.write("b/web.yml", GOOD)
    assert fleet.build() == 1
    assert (list(fleet.refused()), fleet.built()) == (["a/web.yml", "b/web.yml"], ["alright", "good"])


def test_what_is_known_to_be_over_its_budget_is_refused(fleet: Fleet) -> None:
    """What the cache knows of a machine decides before the first step, and steps that only it needs are left out."""
    fleet.write("bad.yml", f"{INIT}files:\n  - {{path: etc/own, contents: own}}\n")
    assert fleet.build() == 0
    fleet.write("bad.yml", f"{INIT}files:\n  - {{path: etc/own, contents: own}}\nbudget: {{image: 1K}}\n")
    shutil.rmtree(fleet.root / "out")
    assert fleet.build() == 1
    assert "bad.yml:4" in fleet.refused()["bad.yml"] and "the budget is 1" in fleet.refused()["bad.yml"]
    assert fleet.built() == ["alright", "good"]
    assert not list((fleet.root / "out").glob("bad*"))


def test_a_program_that_is_missing_concerns_those_that_need_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fleet.root))
    kernel = "kernel: {image: conf/kernel:1}\n"
    fleet.write("squash.yml", f"{kernel}{INIT}outputs: [{{format: kernel+squashfs}}]\n")
    assert fleet.build() == 1
    assert "squash.yml: kernel+squashfs needs the program mksquashfs" in fleet.refused()["squash.yml"]
    assert fleet.built() == ["alright", "good"]


def test_boot_loaders_that_are_missing_concern_those_that_need_them(fleet: Fleet) -> None:
    fleet.write("disk.yml", f"kernel: {{image: conf/kernel:1}}\n{INIT}outputs: [{{format: raw-bios}}]\n")
    assert fleet.build(bootloader="conf/nosuch:1") == 1
    assert "bootloader: image docker.io/conf/nosuch:1" in fleet.refused()["disk.yml"]
    assert fleet.built() == ["alright", "good"]


def test_boot_loaders_are_in_the_provenance_of_those_that_have_them(fleet: Fleet) -> None:
    """What is built along with a machine changes nothing in it."""
    fleet.write("loaders/build.yml", "image: loaders\ndirectories: [{path: boot}]\n")
    fleet.write("disk.yml", f"kernel: {{image: conf/kernel:1}}\n{INIT}outputs: [{{format: raw-bios}}]\n")
    options = fleet.order(bootloader=f"@pkg:{fleet.root / 'loaders'}", provenance=True).options
    prepared = prepare(options, nobody, Registry(RegistryOptions()))
    try:
        made = {step.name: step.params for step in prepared.session.graph.steps if step.kind == "provenance"}
    finally:
        prepared.close()
    assert {name: "loaders/build.yml" in str(params) for name, params in made.items()} == {
        "provenance:alright": False,
        "provenance:disk": True,
        "provenance:good": False,
    }


def test_one_file_is_not_that_of_whichever_is_left(fleet: Fleet) -> None:
    (fleet.root / "alright.yml").unlink()
    fleet.write("bad.yml", BROKEN["no YAML"][0])
    words = ["build", "-k", "-o", "one.tar", "--format", "tar", "--images", str(IMAGES), "--offline", "spec=*.yml"]
    done = subprocess.run(
        [sys.executable, "-m", "lkbuild", *words], cwd=fleet.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "bad.yml:2:9: not YAML" in done.stderr
    assert not (fleet.root / "one.tar").exists()


def test_hints_speak_of_flags(fleet: Fleet) -> None:
    fleet.write("bad.yml", BROKEN["a format that cannot be"][0])
    words = ["build", "--images", str(IMAGES), "--offline", "spec=*.yml"]
    done = subprocess.run(
        [sys.executable, "-m", "lkbuild", *words], cwd=fleet.root, capture_output=True, text=True, check=False
    )
    assert "hint: add a kernel section; or --format=tar\n" in done.stderr
