"""`lkbuild`'s verbs, as processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lkbuild import __version__, cli
from lkbuild.engine import running
from lkbuild.engine.standing_tasks import OURS
from tests.unit.toy_project import REPOSITORY, ToyProject


@pytest.fixture
def project(tmp_path: Path) -> ToyProject:
    return ToyProject.make(tmp_path)


def test_build_and_build_again(project: ToyProject) -> None:
    first = project.lkbuild("build", "nginx.yml")
    assert "nginx: 3 steps ran, 0 cached, 1 file written" in first.out
    assert (first.code, first.err) == (0, "")
    assert project.lkbuild("build", "nginx.yml").out.startswith("nginx: nothing to do")
    assert project.doit("build", "spec=nginx.yml").out.startswith("nginx: nothing to do"), "they share their stamps"


def test_a_number_of_jobs_is_one_also_where_there_is_nothing_to_do(project: ToyProject) -> None:
    project.lkbuild("build", "nginx.yml")
    for words in (("--jobs", "x"), ("-n", "0")):
        said = project.lkbuild("build", *words, "nginx.yml")
        assert (said.code, said.err.startswith(f"error: --jobs {words[1]} is no number")) == (1, True)


def test_files_are_merged(project: ToyProject) -> None:
    project.write("more.yml", "extra: more\n")
    assert project.lkbuild("build", "-name", "both", "nginx.yml", "more.yml").code == 0
    assert (project.root / "both.tar").read_text() == "more\n"


def test_one_output_to_a_file(project: ToyProject) -> None:
    assert project.lkbuild("build", "-o", "here", "nginx.yml").code == 0
    assert (project.root / "here").read_text() == "hello\nhello\nsleep 0.01\nworld\n"
    assert "nothing to do" in project.lkbuild("build", "-o", "here", "nginx.yml").out
    (project.root / "here").unlink()
    assert "1 file written" in project.lkbuild("build", "-o", "here", "nginx.yml").out
    several = project.lkbuild("build", "--o", "x", "--format", "tar,raw-efi", "nginx.yml")
    assert (several.code, "-o takes one file, but this makes 2" in several.err) == (1, True)


def test_one_output_to_standard_output(project: ToyProject) -> None:
    for _ in range(2):
        said = project.lkbuild("build", "-o", "-", "nginx.yml")
        assert said.out == "hello\nhello\nsleep 0.01\nworld\n"
        assert said.code == 0
        assert "nginx: " in said.err
    assert not (project.root / "nginx.tar").exists()


@pytest.mark.parametrize("size", [1, 3_000_000], ids=["less than a pipe holds", "more than a pipe holds"])
def test_a_reader_of_the_output_that_leaves_is_no_error(project: ToyProject, size: int) -> None:
    project.write("nginx.yml", f"base: {'x' * size}\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        said = project.lkbuild("build", "-o", "-", "nginx.yml", stdout=writer)
    finally:
        os.close(writer)
    assert said.code == 0
    assert not re.search("Traceback|error|wrote", said.err), said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bild",), "did you mean build?"),
        (("boot", "nginx.yml"), "say `lkbuild run qemu NAME`"),
        (("clean",), "`lkbuild cache gc`"),
        (("build",), "say lkbuild build FILE; there are nginx.yml"),
        (("build", "none.yml"), "there is no none.yml"),
        (("build", "-"), "standard input"),
        (("build", "--jobs", "0", "nginx.yml"), "--jobs 0"),
        (("build", "--formt", "x"), "--format"),
        (("build", "nginx.yml", "nginx.yml"), "nginx.yml is named twice"),
        (("build", "--dir", "dodo.py", "nginx.yml"), "dir=dodo.py is a file, not a directory"),
        (("build", "--cache", "/proc/x", "nginx.yml"), "hint: put the cache elsewhere"),
        (("run", "qemu", "nginx.yml"), "build it (lkbuild build nginx.yml), then lkbuild run qemu nginx"),
        (("cache", "sl"), "say ls, gc, verify, export, import"),
        (("cache", "ls", "more"), "say ls, gc, verify, export, import"),
        (("cache", "import"), "takes one file or directory"),
        (("cache", "import", "none.tar"), "there is no none.tar"),
        (("cache", "ls"), "is no cache of lkbuild"),
        (("lock",), "no spec is named"),
    ],
)
def test_mistakes(project: ToyProject, words: tuple[str, ...], message: str) -> None:
    said = project.lkbuild(*words)
    assert said.code == 1
    assert message in said.err
    assert "Traceback" not in said.err


def test_a_failing_step_and_going_on(project: ToyProject) -> None:
    project.write("bad.yml", "broken: fail\nother: fine\ntop < broken other: x\n")
    said = project.lkbuild("build", "--continue", "bad.yml")
    assert (said.code, "toy:bad/other" in said.out) == (1, True)
    assert said.err.startswith("error: bad.yml:1: toy:bad/broken: this toy is broken\n  hint: mend it\n")


def test_json(project: ToyProject) -> None:
    events = [json.loads(line)["event"] for line in project.lkbuild("build", "--json", "nginx.yml").lines]
    assert events[:2] == ["resolving", "planned"]
    assert events[-1] == "built"


def test_cache(project: ToyProject) -> None:
    project.lkbuild("build", "nginx.yml")
    assert "3 results, 3 blobs, 52 B" in project.lkbuild("cache", "ls").lines
    held = json.loads(project.lkbuild("cache", "ls", "--json").out)
    assert (held["event"], held["machines"][0]["name"], held["kinds"][0]["kind"]) == ("holding", "nginx", "toy")
    whole = ["3 blobs (52 B), 3 results and 3 recorded steps are as they should be, 0 were damaged"]
    assert project.lkbuild("cache", "verify").lines == whole
    victim = next((project.root / "cache/blobs/sha256").glob("??/*"))
    victim.chmod(0o644)
    victim.write_bytes(b"junk")
    damaged = project.lkbuild("cache", "verify")
    assert (damaged.code, "is damaged and was removed" in damaged.err) == (1, True)
    assert not victim.exists()
    dry = project.lkbuild("cache", "gc", "--max-size", "1M", "--dry-run")
    assert dry.out.startswith("would remove ")
    assert project.lkbuild("cache", "gc", "--max-age", "1h").out.startswith("removed 0 results")
    assert project.lkbuild("cache", "gc", "--max-age", "soon").code == 1


def test_collecting_keeps_current_specs_whatever_the_bounds(project: ToyProject) -> None:
    project.lkbuild("build", "nginx.yml")
    project.write("other.yml", "one: for another\n")
    project.lkbuild("build", "other.yml")
    kept = project.lkbuild("cache", "gc", "--max-age", "0h", "nginx.yml")
    assert kept.out.startswith("removed 1 results and 1 blobs: ")
    assert "1 step ran" in project.lkbuild("build", "other.yml", "--format", "oci").out
    assert project.lkbuild("cache", "gc", "--max-age", "0h").out.startswith("removed 0 results")
    assert "is on record" in project.lkbuild("cache", "gc", "nginx.yml", "dodo.py").err
    assert "--all keeps nothing" in project.lkbuild("cache", "gc", "--all", "nginx.yml").err
    (project.root / "other.yml").unlink()
    assert project.lkbuild("cache", "gc", "--max-age", "0h").out.startswith("removed 1 results")
    everything = project.lkbuild("cache", "gc", "--all", "--max-age", "0h", "--dry-run")
    assert everything.lines[0].startswith("would remove 3 results")
    assert everything.lines[1:] == ["kind  results  bytes", "toy         3   52 B"]


def test_a_cache_is_carried_elsewhere(project: ToyProject) -> None:
    project.lkbuild("build", "nginx.yml")
    assert "wrote nginx.tar.tar" in project.lkbuild("cache", "export", "nginx.tar.tar", "nginx.yml").out
    there = project.lkbuild("cache", "import", "nginx.tar.tar", "--cache", "there")
    assert there.lines == [
        "nginx: 0 results and 0 blobs (0 B) were new, 0 results were here",
        "3 results are of steps that this lkbuild does not know, and were left out",
    ], "toys are steps of these tests alone"


@pytest.mark.parametrize("words", [("report",), ("report", "nginx.yml"), ("report", "spec=nginx.yml")])
def test_a_report_is_written_by_both_commands(project: ToyProject, words: tuple[str, ...]) -> None:
    assert "build it first" in project.lkbuild(*words).err
    project.lkbuild("build", "nginx.yml")
    said = project.lkbuild(*words, "--trace", "trace.json", "-o", "sub/report.html")
    assert [line.partition(" (")[0] for line in said.lines] == ["wrote trace.json", "wrote sub/report.html"]
    assert json.loads((project.root / "trace.json").read_text())["displayTimeUnit"] == "ms"
    assert "toy:nginx/top" in (project.root / "sub" / "report.html").read_text()
    said = project.doit("report", "spec=nginx.yml")
    assert (said.code, said.lines[0].partition(" (")[0]) == (0, "wrote nginx-report.html")
    (project.root / "file").write_text("in the way")
    failed = project.lkbuild(*words, "-o", "file/report.html")
    assert (failed.code, "writing file/report.html" in failed.err, "Traceback" in failed.err) == (1, True, False)


def test_what_needs_no_project(tmp_path: Path) -> None:
    def lkbuild(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lkbuild", *words],
            cwd=tmp_path, env={"PYTHONPATH": f"{REPOSITORY}:{':'.join(sys.path)}"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    assert lkbuild("version") == lkbuild("--version") == f"lkbuild {__version__}\n"
    assert json.loads(lkbuild("schema"))["$id"] == "urn:lkbuild:spec"
    assert "kernel+initrd" in lkbuild("list")
    assert "usage: lkbuild build" in lkbuild("build", "--help")
    assert "  --pull[=missing|always|never]  " in lkbuild("build", "--help")
    assert "which of the outputs is run" in lkbuild("run", "--help")
    assert all(verb in lkbuild("help") for verb in ("build", "run", "cache"))


HEAVY = {
    "doit", "yaml", "urllib3", "docker", "isal", "multiprocessing", "cryptography", "sigstore", "lkbuild.plan.machine",
    "lkbuild.spec.model",
}  # fmt: skip


def test_a_build_with_nothing_to_do_loads_nothing_heavy(project: ToyProject) -> None:
    project.lkbuild("build", "nginx.yml")
    code = (
        f"import sys\nfrom lkbuild.cli import main\ncode = main()\nprint(code, sorted({HEAVY!r} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "build", "nginx.yml"],
        cwd=project.root, env=project._environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0].startswith("nginx: nothing to do")
    assert done.stdout.splitlines()[1] == "0 []"


def test_a_wheel_in_an_empty_directory(tmp_path: Path) -> None:
    """Everything that `pip install` brings is enough for a one-line dodo.py."""
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run(["cp", "-r", "lkbuild", "pyproject.toml", str(source)], cwd=REPOSITORY, check=True)
    (source / "README.md").write_text("")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    installed = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(next(tmp_path.glob("*.whl"))), str(installed)], check=True
    )
    root = tmp_path / "empty"
    root.mkdir()
    (root / "dodo.py").write_text("from lkbuild.dodo import *\n")
    (root / "one.yml").write_text("files:\n  - path: etc/motd\n    contents: hello\n    mode: '0644'\n")
    packages = ":".join(path for path in sys.path if path.endswith("site-packages"))

    def doit(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "doit", *words], cwd=root, env={"PYTHONPATH": f"{installed}:{packages}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    tasks = {"boot", "build", "dev", "lock", "plan", "report", "update", "why"}
    assert {line.split()[0] for line in doit("list").splitlines()} == tasks
    doit("build", "spec=one.yml", "format=tar", "offline=yes")
    listed = subprocess.run(["tar", "-tf", root / "one.tar"], capture_output=True, text=True, check=True).stdout
    assert "etc/motd" in listed
    assert doit("build", "spec=one.yml", "format=tar", "offline=yes").startswith("one: nothing to do")
    assert not list(root.glob(".doit*"))


def test_the_engine_knows_what_is_a_verb_and_no_task() -> None:
    """It names them where somebody says `doit sbom`, and may not import the verbs themselves."""
    assert set(running.VERBS) == set(cli.VERBS) - {*OURS, "list"}, "list is a command of doit's own"
