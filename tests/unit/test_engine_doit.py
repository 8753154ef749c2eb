"""doit's commands in a project of lkbuild's, as people type them; and in anybody else's."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
from pathlib import Path

import pytest

from tests.unit.toy_project import DODO, NGINX, THEIRS, ToyProject


@pytest.fixture
def project(tmp_path: Path) -> ToyProject:
    return ToyProject.make(tmp_path)


def without_times(text: str) -> list[str]:
    return [re.sub(r"\d+(\.\d+)? (s|ms)\b", "T", line) for line in text.splitlines()]


def test_building_twice(project: ToyProject) -> None:
    first = project.doit("build", "spec=nginx.yml")
    tar = project.root / "nginx.tar"
    assert without_times(first.out) == [
        "toy:nginx/base  T",
        "toy:nginx/mid  T",
        "toy:nginx/top  T",
        f"wrote {tar} (29 B)",
        "nginx: 3 steps ran, 0 cached, 1 file written, T",
        f"  {tar}",
    ]
    assert (first.code, first.err) == (0, "")
    assert tar.read_text() == "hello\nhello\nsleep 0.01\nworld\n"
    second = project.doit("build", "spec=nginx.yml")
    assert (without_times(second.out), second.code) == (["nginx: nothing to do (checked in T)"], 0)
    assert sorted(path.name for path in project.root.iterdir()) == [
        "__pycache__", "cache", "dodo.py", "nginx.tar", "nginx.yml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("-n", "4", "-P", "thread", "build", "spec=nginx.yml"),
        ("build", "spec=nginx.yml", "-n", "4"),
        ("spec=nginx.yml", "build", "-n4"),
        ("run", "-n", "2", "build", "spec=nginx.yml"),
        ("spec=nginx.yml",),  # `build` is what is done where nothing is said
        ("build:nginx", "spec=nginx.yml"),
        ("build:nginx:tar", "spec=nginx.yml", "-P", "thread"),
        ("build:*", "spec=nginx.yml"),
        ("nginx.tar", "spec=nginx.yml"),  # a target
        ("build", "spec=nginx.yml", "-c", "--always-execute"),
    ],
)
def test_options_in_any_order(project: ToyProject, words: tuple[str, ...]) -> None:
    said = project.doit(*words)
    assert (said.code, said.err) == (0, "")
    assert (project.root / "nginx.tar").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("format=tar",), "format 'tar' cannot be booted"),
        (("publish=80",), "publish '80' is not HOST:GUEST"),
        (("mem=much",), "mem 'much' is no size"),
        (("-n", "x"), "num_process: 'x' is no whole number"),
    ],
)
def test_what_cannot_be_booted_is_not_built(project: ToyProject, words: tuple[str, ...], message: str) -> None:
    said = project.doit("boot", "spec=nginx.yml", *words)
    assert (said.code, said.out, message in said.err) == (1, "", True)
    assert not (project.root / "cache").exists()


def test_a_number_that_is_none_is_said_in_plain_words(project: ToyProject) -> None:
    said = project.doit("-n", "x", "build", "spec=nginx.yml")
    assert (said.code, said.err) == (3, "ERROR: num_process: 'x' is no whole number\n"), "doit's own code for it"


def test_processes_are_threads_and_it_is_said(project: ToyProject) -> None:
    said = project.doit("build", "spec=nginx.yml", "-n", "2", "-P", "process")
    assert said.code == 0
    assert "-P process is taken as -P thread" in said.err


def test_specs_add_up_and_only_what_changed_is_done(project: ToyProject) -> None:
    for name in ("a.yml", "b.yml", "c.yml"):
        project.write(name, NGINX)
    project.doit("build", "spec=a.yml", "spec=b.yml", "spec=c.y*")
    project.write("b.yml", NGINX.replace("world", "earth"))
    (project.root / "c.tar").unlink()
    said = project.doit("build", "spec=[abc].yml")
    assert without_times(said.out)[0] == "a: nothing to do (checked in T)"
    assert sorted(without_times(said.out)[1:4]) == [
        "toy:b/top  T",
        f"wrote {project.root}/b.tar (29 B)",
        f"wrote {project.root}/c.tar (29 B)",
    ]
    assert without_times(said.out)[4:] == [
        "b: 1 step ran, 2 cached, 1 file written",
        f"  {project.root}/b.tar",
        "c: 0 steps ran, 3 cached, 1 file written",
        f"  {project.root}/c.tar",
        "2 machines: 1 step ran, 5 cached, 2 files written, T",
    ]


def test_a_merge_is_one_machine(project: ToyProject) -> None:
    project.write("nginx.yml", "top: from nginx\n")
    project.write("more.yml", "top: on top\n")
    assert project.doit("build", "spec=nginx.yml+more.yml").code == 0
    assert (project.root / "more.tar").exists()
    assert not (project.root / "nginx.tar").exists()


@pytest.mark.parametrize(
    "words", [("forget",), ("ignore", "build"), ("reset-dep",), ("dumpdb",), ("strace", "build"), ("forget", "--all")]
)
def test_commands_that_mean_nothing_here_say_what_to_use(project: ToyProject, words: tuple[str, ...]) -> None:
    said = project.doit(*words)
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"error: .+\n  hint: .*`.+`.*\n", said.err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build",), "no spec is named\n  hint: say spec=FILE; there are nginx.yml"),
        ((), "no spec is named"),
        (("build", "spec=ngnix.yml"), "did you mean nginx.yml?"),
        (("buidl",), "there is no task 'buidl'\n  hint: did you mean build?"),
        (("sbom", "nginx.yml"), "there is no task 'sbom'\n  hint: say `lkbuild sbom`"),
        (("cache", "spec=nginx.yml"), "there is no task 'cache'\n  hint: say `lkbuild cache`"),
        (("build:nginx:iso", "spec=nginx.yml"), "there is no task 'build:nginx:iso'\n  hint: did you mean build:nginx"),
        (("info", "toy:nginx/topp", "spec=nginx.yml"), "did you mean toy:nginx/top?"),
        (("build", "spec=nginx.yml", "formt=tar"), "did you mean format=?"),
        (("build", "spec=nginx.yml", "--bogus"), "--bogus not recognized"),
        (("clean",), "no spec is named"),
    ],
)
def test_mistakes_are_told_in_words(project: ToyProject, words: tuple[str, ...], message: str) -> None:
    said = project.doit(*words)
    assert said.code == 1
    assert message in said.err
    assert "Traceback" not in said.err


def test_all_problems_of_a_spec_are_told_each_on_its_line(project: ToyProject) -> None:
    project.write("bad.yml", "good: x\n?\n")
    said = project.doit("build", "spec=bad.yml")
    assert said.err == "error: bad.yml:2: '?' is no step\n  hint: write NAME: TEXT\n"
    assert (said.code, said.out) == (1, "")


BAD = "base: its own\nbroken: fail\nother < base: sleep 0.02\ntop < broken other: x\n"


def test_a_failing_step(project: ToyProject) -> None:
    project.write("bad.yml", BAD)
    said = project.doit("build", "spec=bad.yml", "-n", "1")
    assert said.err == "error: bad.yml:2: toy:bad/broken: this toy is broken\n  hint: mend it\n"
    assert said.code == 1
    assert "toy:bad/other" not in said.out


def test_going_on_after_a_failure(project: ToyProject) -> None:
    project.write("bad.yml", BAD)
    said = project.doit("build", "--continue", "spec=bad.yml", "spec=nginx.yml")
    assert said.code == 1
    assert "toy:bad/top: not done, since toy:bad/broken failed" in said.err
    assert "toy:bad/other" in said.out
    assert "nginx: 3 steps ran" in said.out
    assert "bad: " not in said.out, "what is not built has no summary"


def test_a_mistake_of_ours_says_so(project: ToyProject) -> None:
    project.write("crash.yml", "a: crash\n")
    said = project.doit("build", "spec=crash.yml")
    assert said.code == 2
    assert "ZeroDivisionError: toy" in said.err
    assert re.search(
        r"error: toy:crash/a: this is a bug in lkbuild \S+, not in what you wrote\n  hint: please report", said.err
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_prompt_and_leaves_a_good_cache(project: ToyProject, number: signal.Signals) -> None:
    project.write("slow.yml", "a: quick\nb < a: mark started 30\nc < b: x\n")
    said = project.stopped(number, "started", "build", "spec=slow.yml")
    assert (said.err, said.code) == ("interrupted; what was done so far is kept\n", 130)
    (project.root / "started").unlink()
    project.write("slow.yml", "a: quick\nb < a: mark started 0\nc < b: x\n")
    again = project.doit("build", "spec=slow.yml")
    assert (again.code, again.err) == (0, "")
    assert "toy:slow/a" not in again.out, "what was done before is kept"


def test_notes_are_warnings_each_time(project: ToyProject) -> None:
    project.write("noted.yml", "a: note mind the gap\n")
    assert "warning: noted.yml:1: toy:noted/a: mind the gap" in project.doit("build", "spec=noted.yml").err
    (project.root / "noted.tar").unlink()
    assert "warning: noted.yml:1: toy:noted/a: mind the gap" in project.doit("build", "spec=noted.yml").err


def test_listing_names_no_network_and_no_spec(project: ToyProject) -> None:
    said = project.doit("list")
    assert [line.split()[0] for line in said.lines] == [
        "boot",
        "build",
        "dev",
        "lock",
        "plan",
        "report",
        "update",
        "why",
    ]
    assert all(len(line.split()) > 3 for line in said.lines), "every task has a description"
    assert not (project.root / "cache").exists()
    assert not list(project.root.glob(".doit.db*"))
    assert "without spec=FILE" in project.doit("list", "--all").err


def test_listing_all(project: ToyProject) -> None:
    said = project.doit("list", "--all", "-s", "spec=nginx.yml", "format=tar,raw-efi")
    assert [line.split()[:2] for line in said.lines if ":" in line.split()[1]] == [
        ["R", "build:nginx"],
        ["R", "build:nginx:raw-efi"],
        ["R", "build:nginx:tar"],
        ["R", "toy:nginx/base"],
        ["R", "toy:nginx/mid"],
        ["R", "toy:nginx/top"],
    ]
    project.doit("build", "spec=nginx.yml")
    after = project.doit("list", "--all", "-s", "spec=nginx.yml", "format=tar,raw-efi")
    stale = {line.split()[1] for line in after.lines if line.startswith("R ")}
    assert {"build:nginx:raw-efi", "build:nginx"} < stale
    assert stale.isdisjoint({"build:nginx:tar", "toy:nginx/top"})


def test_listing_a_spec_shows_its_outputs(project: ToyProject) -> None:
    said = project.doit("list", "spec=nginx.yml", "format=tar,raw-efi")
    names = [line.split()[0] for line in said.lines]
    builds = ["build", "build:nginx", "build:nginx:raw-efi", "build:nginx:tar"]
    assert names == ["boot", *builds, "dev", "lock", "plan", "report", "update", "why"]


def test_info_says_why(project: ToyProject) -> None:
    before = project.doit("info", "toy:nginx/top", "spec=nginx.yml")
    assert "status     : run" in before.out
    assert "waits for toy:nginx/base, toy:nginx/mid" in before.out
    assert " - toy:nginx/mid" in before.out
    project.doit("build", "spec=nginx.yml")
    assert "up-to-date" in project.doit("info", "toy:nginx/top", "spec=nginx.yml").out
    (project.root / "nginx.tar").unlink()
    gone = project.doit("info", "build:nginx:tar", "spec=nginx.yml")
    assert f"{project.root}/nginx.tar is not there" in gone.out


def test_cleaning_removes_outputs_and_says_so(project: ToyProject) -> None:
    project.doit("build", "spec=nginx.yml")
    kept = sorted((project.root / "cache/blobs").rglob("*"))
    dry = project.doit("clean", "-n", "spec=nginx.yml")
    assert "removing file" in dry.out
    assert (project.root / "nginx.tar").exists()
    said = project.doit("clean", "build", "spec=nginx.yml")
    assert said.out == f"build:nginx:tar - removing file '{project.root}/nginx.tar'\n"
    assert not (project.root / "nginx.tar").exists()
    assert sorted((project.root / "cache/blobs").rglob("*")) == kept
    assert "0 steps ran, 3 cached, 1 file written" in project.doit("build", "spec=nginx.yml").out


def test_json(project: ToyProject) -> None:
    said = project.doit("build", "spec=nginx.yml", "json=yes")
    events = [json.loads(line) for line in said.lines]
    assert {event["event"] for event in events} == {
        "resolving",
        "planned",
        "started",
        "finished",
        "writing",
        "wrote",
        "built",
    }
    assert events[-1]["outputs"] == [f"{project.root}/nginx.tar"]
    assert [json.loads(line)["event"] for line in project.doit("spec=nginx.yml", "json=yes").lines] == ["nothing"]
    failed = json.loads(project.doit("build", "spec=none.yml", "json=yes").out)
    assert failed["error"]["message"] == "there is no none.yml"


def test_quiet(project: ToyProject) -> None:
    said = project.doit("build", "spec=nginx.yml", "quiet=yes")
    assert (said.out, said.err, said.code) == ("", "", 0)


def test_tasks_of_the_project_itself(tmp_path: Path) -> None:
    project = ToyProject.make(tmp_path, DODO + THEIRS)
    lint = project.doit("lint", "stage=prod")
    assert lint.out == ".  lint\nlinted prod\n"
    for path in project.root.glob(".doit.db*"):
        path.unlink()
    assert "no spec is named" in project.doit("deploy").err, "it needs `build`"
    deployed = project.doit("-n", "2", "deploy", "spec=nginx.yml", "stage=prod")
    assert (deployed.code, deployed.err) == (0, "")
    assert "deployed" in deployed.out
    assert "option -x not recognized" in project.doit("deploy", "-x", "spec=nginx.yml").err
    assert "nginx: 3 steps ran" in deployed.out
    assert project.doit("forget", "lint").out == "forgetting lint\n"
    assert {"deploy", "lint"} < {line.split()[0] for line in project.doit("list").lines}


def test_help_lists_the_words(project: ToyProject) -> None:
    said = project.doit("help", "build")
    assert "format=FORMAT" in said.out
    assert "publish=" in project.doit("help", "boot").out
    assert "doit list" in project.doit("help").out


OTHER = """
def task_hello():
    return {"actions": ["echo hello > made"], "file_dep": ["dodo.py"], "targets": ["made"], "clean": True}
def task_build():
    return {"actions": ["echo built"], "params": [{"name": "n", "short": "n", "default": ""}], "verbosity": 2}
"""


@pytest.mark.parametrize(
    "calls",
    [
        [("list",), ("list", "-s"), ("info", "hello"), ("hello",), ("hello",), ("list", "-s"), ("clean",), ("hello",)],
        [("build", "-n", "7", "spec=x"), ("-n", "2", "build", "hello"), ("forget", "hello"), ("info", "hello")],
        [("hello",), ("dumpdb",), ("ignore", "hello"), ("hello",), ("reset-dep",), ("nothing",), ("help",)],
        [("help", "hello"), ("help", "run"), ("run", "--bogus"), ("dumpdb",)],
    ],
)
def test_other_projects_are_not_disturbed(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    """What doit does with lkbuild installed is what it does without."""
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    project = ToyProject.make(tmp_path / "with", OTHER)
    alone = dataclasses.replace(ToyProject.make(tmp_path / "without", OTHER), plugins=False)
    for words in calls:
        expected, said = alone.doit(*words), project.doit(*words)
        lines, others = (sorted(re.sub(r"\d+\.\d+", "T", each.out).splitlines()) for each in (said, expected))
        assert (said.code, lines) == (expected.code, others), words
        assert (said.err.splitlines() or [""])[-1] == (expected.err.splitlines() or [""])[-1], words
    assert {path.name for path in project.root.iterdir()} == {path.name for path in alone.root.iterdir()}


def test_why_and_plan(project: ToyProject) -> None:
    assert project.doit("why", "toy:nginx/top", "spec=nginx.yml").lines == [
        "toy:nginx/top: would run",
        "  its machine was never built here",
    ]
    project.doit("build", "spec=nginx.yml")
    project.write("nginx.yml", NGINX.replace("world", "earth"))
    said = project.doit("why", "toy:nginx/*", "spec=nginx.yml", "json=yes")
    told = [json.loads(line) for line in said.lines]
    assert [(each["event"], each["task"], each["standing"]) for each in told] == [
        ("explained", "toy:nginx/base", "up to date"),
        ("explained", "toy:nginx/mid", "up to date"),
        ("explained", "toy:nginx/top", "would run"),
    ]
    change = {"what": "params.text", "old": '"world"', "new": '"earth"', "place": "nginx.yml:3", "step": ""}
    assert told[2]["causes"] == [{"step": "toy:nginx/top", "changes": [change], "note": ""}]
    plan = project.doit("plan", "spec=nginx.yml", "-n", "2").lines
    assert plan[0] == "nginx: 1 of 3 steps would run, 1 file would be written"
    assert plan[2].split()[0] == "toy:nginx/top"
    assert plan[2].endswith('params.text: "world" → "earth" (nginx.yml:3)')
    assert "world" in (project.root / "nginx.tar").read_text(), "nothing was done"
    info = project.doit("info", "toy:nginx/top", "spec=nginx.yml").out
    assert ' * never made from these inputs\n    params.text: "world" → "earth" (nginx.yml:3)' in info
    for words, message in (
        (("why", "nope"), "there is no task 'nope'"),
        (("plan", "toy:nginx/top"), "plan tells of whole machines"),
    ):
        wrong = project.doit(*words, "spec=nginx.yml")
        assert (wrong.code, message in wrong.err) == (1, True)
    assert project.doit("why").code == 1
    assert "spec=FILE" in project.doit("help", "why").out


def test_lkbuild_why_and_plan_are_the_same(project: ToyProject) -> None:
    project.doit("build", "spec=nginx.yml")
    project.write("nginx.yml", NGINX.replace("world", "earth"))
    for verb, *rest in (("why", "toy:nginx/top"), ("plan",)):
        mine = project.lkbuild(verb, "nginx.yml", *rest)
        assert (mine.code, mine.err) == (0, "")
        assert mine.lines == project.doit(verb, *rest, "spec=nginx.yml").lines
