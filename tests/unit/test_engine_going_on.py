"""Machines that cannot be prepared: told, every one, and with --continue the others are built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lkbuild.engine.events import nobody
from lkbuild.engine.execute import Place
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.outputs import is_current
from lkbuild.engine.session import Session
from lkbuild.plan.kinds import KINDS
from lkbuild.store import Store
from tests.unit import toy
from tests.unit.toy_project import DODO, THEIRS, ToyProject


@pytest.fixture
def project(tmp_path: Path) -> ToyProject:
    return ToyProject.make(tmp_path)


BROKEN = "base: hello\n%s is no step\n"


def broken(project: ToyProject) -> None:
    """Specs in the order nginx, z, other, a, of which z and a are broken."""
    project.write("z.yml", BROKEN % "z")
    project.write("a.yml", BROKEN % "a")
    project.write("other.yml", "base: other\n")


IN_ORDER = ("spec=nginx.yml", "spec=z.yml", "spec=other.yml", "spec=a.yml")
Z, A = (f"error: {name}.yml:2: '{name} is no step' is no step\n  hint: write NAME: TEXT\n" for name in ("z", "a"))
SUMMARY = """\
2 of 4 machines are not built:
  z: z.yml:2: 'z is no step' is no step
  a: a.yml:2: 'a is no step' is no step
"""


def test_all_broken_specs_are_told_and_nothing_is_built(project: ToyProject) -> None:
    broken(project)
    for said in (project.doit("build", *IN_ORDER), project.lkbuild("build", *IN_ORDER)):
        assert (said.out, said.err, said.code) == ("", Z + A, 1)
    assert not list(project.root.glob("*.tar"))


def test_going_on_without_broken_specs(project: ToyProject) -> None:
    broken(project)
    said = project.doit("build", "--continue", *IN_ORDER)
    assert (said.err, said.code) == (Z + A + SUMMARY, 1)
    assert "2 machines: 4 steps ran, 0 cached, 2 files written" in said.out
    assert sorted(path.name for path in project.root.glob("*.tar")) == ["nginx.tar", "other.tar"]
    again = project.lkbuild("build", "-k", *IN_ORDER)
    assert again.lines[0].startswith("2 machines: nothing to do"), "those that were built have stamps"
    assert (again.err, again.code) == (Z + A + SUMMARY, 1)
    quiet = project.lkbuild("build", "-k", "--quiet", *IN_ORDER)
    assert (quiet.out, quiet.err, quiet.code) == ("", Z + A + SUMMARY, 1)
    project.write("other.yml", "base: changed\n")
    changed = project.lkbuild("build", "-k", *IN_ORDER)
    assert "nginx: nothing to do" in changed.out and "other: 1 step ran" in changed.out
    assert changed.err == Z + A + SUMMARY


def test_one_spec_alone_is_told_as_ever(project: ToyProject) -> None:
    broken(project)
    said = project.lkbuild("build", "-k", "z.yml")
    assert (said.out, said.err, said.code) == ("", Z, 1)


def test_nothing_is_left_to_be_built(project: ToyProject) -> None:
    broken(project)
    said = project.doit("build", "-c", "spec=z.yml", "spec=a.yml")
    assert (said.out, said.err, said.code) == ("", Z + A + SUMMARY.replace("4", "2"), 1)
    assert project.lkbuild("report").code == 0


def test_going_on_as_json_and_in_the_history(project: ToyProject) -> None:
    broken(project)
    project.write("bad.yml", "base: its own\nbroken: fail\ntop < broken: x\n")
    said = project.lkbuild("build", "-k", "--json", "spec=bad.yml", *IN_ORDER)
    events = [json.loads(line) for line in said.lines]
    assert [(e["spec"], e["error"]["problems"][0]["origin"]["line"]) for e in events if e["event"] == "refused"] == [
        ("z.yml", 2),
        ("a.yml", 2),
    ]
    assert events[-1] == {
        "event": "unbuilt",
        "asked": 5,
        "machines": [
            {"machine": "z", "why": "z.yml:2: 'z is no step' is no step"},
            {"machine": "a", "why": "a.yml:2: 'a is no step' is no step"},
            {"machine": "bad", "why": "bad.yml:2: toy:bad/broken: this toy is broken"},
        ],
    }
    (record,) = HistoryFiles(project.root / "cache").newest()
    assert [(Path(r.files[0]).name, r.why) for r in record.refused] == [
        ("z.yml", "z.yml:2: 'z is no step' is no step"),
        ("a.yml", "a.yml:2: 'a is no step' is no step"),
    ]
    assert ([machine.name for machine in record.machines], record.ended) == (["bad", "nginx", "other"], "failed")
    assert [machine.files for machine in record.machines][1:] == [
        (f"{project.root}/nginx.yml",),
        (f"{project.root}/other.yml",),
    ]
    told = project.lkbuild("report", *IN_ORDER)
    assert "z.yml was not built: z.yml:2: 'z is no step' is no step" in told.err and told.code == 0
    alone = project.lkbuild("report", "z.yml")
    assert (alone.code, "no build of " in alone.err) == (1, True), "nothing is known of it"


def test_a_mistake_of_ours_in_one_spec_leaves_the_others(project: ToyProject) -> None:
    project.write("crash.yml", "crash\n")
    project.write("bad.yml", BROKEN % "x")
    said = project.doit("build", "-c", "spec=crash.yml", "spec=bad.yml", "spec=nginx.yml")
    assert said.code == 2
    assert "ZeroDivisionError: toy" in said.err and "error: crash.yml: this is a bug in lkbuild" in said.err
    assert "error: bad.yml:2: " in said.err
    assert "  crash: crash.yml: this is a bug in lkbuild: ZeroDivisionError: toy\n" in said.err
    assert "nginx: 3 steps ran" in said.out


def test_names_that_doit_would_take_for_an_option(project: ToyProject) -> None:
    project.write("a=b.yml", BROKEN % "x")
    project.write("c=d.yml", "base: hello\n")
    for call, word in ((project.doit, "--continue"), (project.lkbuild, "-k")):
        said = call("build", word, "spec=a=b.yml", "spec=c=d.yml", "spec=nginx.yml", "format=tar")
        assert (said.code, "not built:\n  a=b: a=b.yml:2:" in said.err) == (1, True), said.err
        assert (project.root / "c=d.tar").read_text() == "hello\n"


def test_what_needs_all_machines_is_not_done_without_some(tmp_path: Path) -> None:
    project = ToyProject.make(tmp_path, DODO + THEIRS)
    broken(project)
    said = project.doit("-c", "-n", "2", "lint", "deploy", *IN_ORDER)
    assert said.code == 1
    assert "linted" in said.out and "nginx: 3 steps ran" in said.out
    assert "deploy: not done, since build failed" in said.err
    assert "deployed" not in said.out
    one = project.doit("-c", "build:other", *IN_ORDER)
    assert (one.code, one.err) == (1, Z + A + SUMMARY.replace("of 4", "of 3")), "it is named, so it is told"
    refused = project.doit("-c", "build:z", *IN_ORDER)
    assert (refused.code, refused.out, "there is no task" in refused.err) == (1, "", False)


@pytest.mark.parametrize("words", [("plan",), ("why",)])
def test_questions_are_answered_for_the_specs_that_can_be_read(project: ToyProject, words: tuple[str, ...]) -> None:
    broken(project)
    for said in (project.doit(*words, *IN_ORDER), project.lkbuild(*words, *IN_ORDER)):
        assert (said.err, said.code) == (Z + A, 1)
        assert "nginx" in said.out and "other" in said.out


def test_of_a_machine_that_is_left_out_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results may be known, and were to be made again: that is over when it is left out."""
    monkeypatch.setitem(KINDS, "toy", toy.KIND)
    (tmp_path / "good.yml").write_text("base: hello\n")
    (tmp_path / "bad.yml").write_text("base: note of the bad\ntop < base: x\n")
    machines = tuple((tmp_path / name,) for name in ("good.yml", "bad.yml"))
    made = toy.prepare(BuildOptions(machines, cache=tmp_path / "cache", directory=tmp_path), nobody).session
    blobs = [made.make(step.name)["out"] for step in made.graph.steps]
    for blob in blobs:
        made.place.store.path(blob.digest).unlink()
    made.place.store.close()
    told: list[object] = []
    store = Store.open(tmp_path / "cache")
    try:
        session = Session(made.graph, Place(store, made.place.doors, told.append))
        assert session.decide(session.graph.outputs, is_current) == {"toy:good/base", "toy:bad/base", "toy:bad/top"}
        session.leave_out({"bad"})
        assert session.decide(session.graph.outputs, is_current) == {"toy:good/base"}
        assert told == []
    finally:
        store.close()
