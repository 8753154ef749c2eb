"""The history of builds: what is kept of each, how long, and that no build fails because of it."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.engine.history import (
    BuildRecord,
    FileWritten,
    MachineRecord,
    RefusedRecord,
    StepRun,
    decode_state,
    encode_state,
    own_names,
)
from lkbuild.engine.history_files import BUILDS, PER_MACHINE, HistoryFiles, Past
from tests.unit.toy_project import DODO, NGINX, ToyProject

KEY = Digest.of(b"key")
STEP = StepRun("pull:a", "pull", KEY, "not fetched yet", 5, 9, 0, "ran", 0, 7, ("x",))
RECORD = BuildRecord(
    began=1_700_000_000_000_000,
    prepared=3,
    end=20,
    ended="done",
    lkbuild="0.1.0",
    jobs=2,
    request=(("formats", ("tar", "oci")), ("arch", ("amd64",))),
    machines=(MachineRecord("n", "0" * 32, ("/n.yml",), ("/n.tar",), 3, "1" * 32, True),),
    refused=(RefusedRecord(("/b.yml",), "/b.yml:1: wrong"),),
    steps=(STEP, replace(STEP, key=None, how="failed")),
    written=(FileWritten("build:n:tar", "/n.tar", 7, 10, 20, 1),),
)


@pytest.fixture
def project(tmp_path: Path) -> ToyProject:
    return ToyProject.make(tmp_path, DODO)


def records(project: ToyProject) -> list[BuildRecord]:
    return list(HistoryFiles(project.root / "cache").newest())


# -- values ------------------------------------------------------------------------------------------------------------


def test_a_record_comes_back() -> None:
    assert BuildRecord.decode(RECORD.encode()) == RECORD


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "no record"),
        (b"[" * 100_000, "deeply"),
        (RECORD.encode()[:-5], "delimiter|Unterminated|Expecting"),
        (RECORD.encode().replace(b'"format":2', b'"format":99'), "in format 99, and this lkbuild reads 2"),
        (RECORD.encode().replace(b'"format":2', b'"format":true'), "in format True"),
        (RECORD.encode().replace(b'"jobs":2', b'"jobs":"2"'), r"build\.jobs: found '2', wanted int"),
        (RECORD.encode().replace(b'"jobs":2', b'"workers":2'), "no field 'workers'"),
        (RECORD.encode().replace(b'"ran"', b'"flew"'), "wanted one of ran"),
    ],
)
def test_what_is_no_record_is_told(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BuildRecord.decode(data)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1),
        st.binary().map(Digest.of),
        max_size=5,
    )
)
def test_a_state_comes_back(state: dict[str, Digest]) -> None:
    assert list(decode_state(encode_state(state)).items()) == list(state.items())


@pytest.mark.parametrize(
    "text", ["x\n", f"{KEY.hex}\n", f"{KEY.hex} a\n{KEY.hex} a\n", "zz a\n", "../../etc/passwd a\n"]
)
def test_what_is_no_state_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        decode_state(text.encode())


def test_a_machine_calls_its_steps_the_same_whatever_is_built_along_with_it() -> None:
    assert own_names(["tree:init/0@2", "tree:init/1"]) == {"tree:init/0": "tree:init/0@2", "tree:init/1": "tree:init/1"}
    assert own_names(["deb:a@3", "deb:a@5", "deb:a"]) == {"deb:a": "deb:a@3", "deb:a@2": "deb:a@5", "deb:a@3": "deb:a"}


# -- files -------------------------------------------------------------------------------------------------------------


def test_records_of_builds_are_bounded(tmp_path: Path) -> None:
    files = HistoryFiles(tmp_path)
    count = BUILDS * 5 // 4 + 2
    for number in range(count):
        state = files.keep_state({"a": Digest.of(str(number).encode())})
        machine = replace(RECORD.machines[0], state=state)
        files.keep(replace(RECORD, began=RECORD.began + number, machines=(machine,)))
    assert BUILDS <= len(files.builds()) <= BUILDS * 5 // 4 + 1
    assert next(files.newest()).began == RECORD.began + count - 1
    past = files.machine("0" * 32)
    assert PER_MACHINE <= len(past) <= PER_MACHINE * 5 // 4 + 1
    assert past[0].build.startswith(str(RECORD.began + count - 1))
    files.prune()
    assert len(files.builds()) == BUILDS
    assert {path.name for path in (files.root / "states").glob("??/*")} == {each.state for each in past}
    assert all(files.state(each.state) for each in past)


def test_records_of_builds_are_bounded_by_their_size_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lkbuild.engine.history_files.BUILDS_BYTES", 3 * len(RECORD.encode()))
    files = HistoryFiles(tmp_path)
    for number in range(6):
        files.keep(replace(RECORD, began=RECORD.began + number))
    files.prune()
    assert len(files.builds()) == 3
    monkeypatch.setattr("lkbuild.engine.history_files.BUILDS_BYTES", 0)
    files.prune()
    assert len(files.builds()) == 1, "the newest stays whatever its size"


def test_damaged_and_foreign_files_are_passed_over_and_it_is_said(tmp_path: Path) -> None:
    files = HistoryFiles(tmp_path)
    assert (files.builds(), list(files.newest()), files.machine("0" * 32), files.state("1" * 32)) == ([], [], [], None)
    state = files.keep_state({"a": KEY})
    files.keep(replace(RECORD, machines=(replace(RECORD.machines[0], state=state),)))
    (files.root / "builds" / "1800000000000000-1.json").write_text('{"format": 2}')
    (files.root / "builds" / "1800000000000001-1.json").write_bytes(b"\xff\x00")
    said: list[str] = []
    assert [record.began for record in files.newest(said.append)] == [RECORD.began]
    assert [line.partition(" is passed over: ")[0].rpartition(" ")[2] for line in said] == [
        "1800000000000001-1",
        "1800000000000000-1",
    ]
    machine = files.root / "machines" / ("0" * 32)
    machine.write_bytes(b"\xffjunk\n../../x y\n" + machine.read_bytes() + b"1800000000000000-9 12")
    assert files.machine("0" * 32) == [Past(f"{RECORD.began}-{os.getpid()}", state)]
    (path,) = (files.root / "states").glob("??/*")
    path.write_bytes(path.read_bytes() + path.read_bytes().replace(b" a", b" b"))
    assert files.state(state) is None, "a state's name is the fingerprint of what it holds"


# -- builds ------------------------------------------------------------------------------------------------------------


def test_a_build_leaves_a_record(project: ToyProject) -> None:
    project.doit("build", "spec=nginx.yml", "-n", "2")
    (record,) = records(project)
    assert (record.ended, record.jobs) == ("done", 2)
    assert [(s.name, s.kind, s.how, s.needs) for s in record.steps] == [
        ("toy:nginx/base", "toy", "ran", ()),
        ("toy:nginx/mid", "toy", "ran", ("toy:nginx/base",)),
        ("toy:nginx/top", "toy", "ran", ("toy:nginx/base", "toy:nginx/mid")),
    ]
    assert [(s.bytes_in, s.bytes_out) for s in record.steps] == [(0, 6), (6, 17), (23, 29)]
    assert [s.reason.partition(" ")[0] for s in record.steps] == ["never", "waits", "waits"]
    (written,) = record.written
    assert (written.output, Path(written.path).name, written.bytes) == ("build:nginx:tar", "nginx.tar", 29)
    times = [record.prepared, *(t for s in record.steps for t in (s.start, s.end)), written.start, written.end]
    assert sorted(times) == times, "one after the other, each in what it needs"
    assert record.end >= written.end
    (machine,) = record.machines
    assert (machine.name, machine.steps, machine.built) == ("nginx", 3, True)
    assert machine.files == (str(project.root / "nginx.yml"),)
    state = HistoryFiles(project.root / "cache").state(machine.state)
    assert state is not None
    assert list(state) == ["toy:nginx/base", "toy:nginx/mid", "toy:nginx/top"]
    assert [state[s.name] for s in record.steps] == [s.key for s in record.steps]


def test_a_build_with_nothing_to_do_leaves_none_and_the_next_tells_only_what_ran(project: ToyProject) -> None:
    project.doit("build", "spec=nginx.yml")
    project.doit("build", "spec=nginx.yml")
    assert len(records(project)) == 1
    project.write("nginx.yml", NGINX.replace("world", "earth"))
    project.doit("build", "spec=nginx.yml")
    new, old = records(project)
    assert [step.name for step in new.steps] == ["toy:nginx/top"]
    assert new.machines[0].id == old.machines[0].id
    past = HistoryFiles(project.root / "cache").machine(new.machines[0].id)
    assert [each.state for each in past] == [new.machines[0].state, old.machines[0].state]


def test_two_builds_that_come_to_the_same_share_a_state(project: ToyProject) -> None:
    project.doit("build", "spec=nginx.yml")
    (project.root / "nginx.tar").unlink()
    project.doit("build", "spec=nginx.yml")
    one, two = records(project)
    assert one.steps == ()
    assert one.machines[0].state == two.machines[0].state
    assert len(list((project.root / "cache" / "history" / "states").glob("??/*"))) == 1


def test_a_machine_is_itself_among_many(project: ToyProject) -> None:
    for name in ("a.yml", "b.yml"):
        project.write(name, NGINX)
    project.doit("build", "spec=a.yml")
    project.write("a.yml", NGINX.replace("world", "earth"))
    project.doit("build", "spec=[ab].yml")
    new, old = records(project)
    assert [machine.name for machine in new.machines] == ["a", "b"]
    assert new.machines[0].id == old.machines[0].id


def test_a_build_that_failed_leaves_what_it_did(project: ToyProject) -> None:
    project.write("n.yml", "a: hello\nb < a: fail\nc < b: x\n")
    assert project.doit("build", "spec=n.yml").code == 1
    (record,) = records(project)
    assert (record.ended, record.machines[0].built, record.written) == ("failed", False, ())
    assert [(s.name, s.how) for s in record.steps] == [("toy:n/a", "ran"), ("toy:n/b", "failed")]
    state = HistoryFiles(project.root / "cache").state(record.machines[0].state)
    assert list(state or ()) == ["toy:n/a"]
    project.write("n.yml", "a: hello\nb < a: crash\n")
    assert project.doit("build", "spec=n.yml").code == 2
    assert records(project)[0].ended == "broke"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_was_interrupted_leaves_what_it_did(project: ToyProject, number: signal.Signals) -> None:
    project.write("n.yml", f"a: hello\nb < a: mark {project.root}/there 30\n")
    said = project.stopped(number, "there", "build", "spec=n.yml", "-n", "2")
    assert said.code == 130
    (record,) = records(project)
    assert record.ended == "interrupted"
    assert [(s.name, s.how) for s in record.steps] == [("toy:n/a", "ran"), ("toy:n/b", "unfinished")]


def test_a_history_that_cannot_be_written_fails_no_build(project: ToyProject) -> None:
    (project.root / "cache").mkdir()
    (project.root / "cache" / "history").write_text("in the way")
    said = project.doit("build", "spec=nginx.yml")
    assert said.code == 0
    assert (project.root / "nginx.tar").exists()
    assert said.err.count("the history of this build is not kept") == 1
    assert "history: Not a directory" in said.err or "history: File exists" in said.err


def test_collecting_garbage_tidies_the_history(project: ToyProject) -> None:
    project.doit("build", "spec=nginx.yml")
    history = project.root / "cache" / "history"
    (history / "states" / "ab").mkdir()
    (history / "states" / "ab" / ("ab" + "0" * 30)).write_text("left over")
    assert project.lkbuild("cache", "gc").code == 0
    assert not (history / "states" / "ab" / ("ab" + "0" * 30)).exists()
    assert len(records(project)) == 1
    assert json.loads(next((history / "builds").glob("*")).read_text())["format"] == 2
