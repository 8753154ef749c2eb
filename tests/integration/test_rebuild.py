"""After a change, what the change reaches is done again, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.building import Built, digests, offline, run

SPEC = """\
kernel:
  image: conf/kernel:1
  cmdline: console=ttyS0
init:
  - conf/init:1
  - conf/runc:1
onboot:
  - name: first
    image: conf/base:1
    command: [/bin/tool]
  - name: second
    image: conf/special:1
    uid: web
services:
  - name: web
    image: "@pkg:./web"
    capabilities: [CAP_CHOWN]
    gid: web
  - name: other
    image: conf/layers:1
files:
  - path: etc/motd
    contents: hello
    mode: "0644"
  - path: etc/from
    source: ./source.txt
"""
WEB = """\
image: web
entrypoint: [/usr/bin/web]
config:
  tmpfs: ["/run"]
"""


@dataclass
class Project:
    """A spec with a package and a source file, a cache, and a place for outputs."""

    root: Path
    cache: Path
    out: Path

    @property
    def spec(self) -> Path:
        return self.root / "machine.yml"

    def build(self, **more: object) -> Built:
        return run(offline(self.spec, self.cache, self.out, **more))

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))


def make_project(tmp_path: Path) -> Project:
    """The spec with its package and its file, never built."""
    root = tmp_path / "project"
    (root / "web" / "root" / "usr" / "share").mkdir(parents=True)
    (root / "web" / "root" / "usr" / "share" / "web.txt").write_text("page of web")
    (root / "web" / "build.yml").write_text(WEB)
    (root / "machine.yml").write_text(SPEC)
    (root / "source.txt").write_text("from a file")
    return Project(root, tmp_path / "cache", tmp_path / "out")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


OUTPUTS = {"machine-kernel", "machine-initrd.img", "machine-cmdline"}


def test_the_first_build_runs_everything_and_the_second_nothing(project: Project) -> None:
    first = project.build()
    assert set(first.wrote) == OUTPUTS
    assert {"tree:services/web", "bundle:services/web", "package:web", "initrd:machine"} <= set(first.ran)
    second = project.build()
    assert (second.ran, second.wrote) == ((), ())


CHANGES: dict[str, tuple[Callable[[Project], None], set[str], set[str]]] = {
    "a files entry": (
        lambda p: p.edit("machine.yml", "contents: hello", "contents: changed"),
        {"files:machine", "initrd:machine"},
        {"machine-initrd.img"},
    ),
    "a source file": (
        lambda p: p.edit("source.txt", "from a file", "from another"),
        {"files:machine", "initrd:machine"},
        {"machine-initrd.img"},
    ),
    "a capability": (
        lambda p: p.edit("machine.yml", "CAP_CHOWN", "CAP_KILL"),
        {"bundle:services/web", "initrd:machine"},
        {"machine-initrd.img"},
    ),
    "a package's file": (
        lambda p: p.edit("web/root/usr/share/web.txt", "page", "other page"),
        {"package:web", "tree:services/web", "initrd:machine"},
        {"machine-initrd.img"},
    ),
    "a package's config": (
        lambda p: p.edit("web/build.yml", "/run", "/var/run"),
        {"bundle:services/web", "initrd:machine"},
        {"machine-initrd.img"},
    ),
    "the cmdline": (
        lambda p: p.edit("machine.yml", "ttyS0", "ttyS1"),
        {"text:machine/cmdline"},
        {"machine-cmdline"},
    ),
    "a comment": (lambda p: p.edit("machine.yml", "init:", "# nothing\ninit:"), set(), set()),
    "a comment in a package": (lambda p: p.edit("web/build.yml", "image: web", "# nothing\nimage: web"), set(), set()),
    "a new onboot entry in front": (
        lambda p: p.edit("machine.yml", "onboot:\n", "onboot:\n  - {name: new, image: conf/docker:1}\n"),
        {
            "pull:docker.io/conf/docker:1",
            *("tree:onboot/000-new", "bundle:onboot/000-new"),
            *("tree:onboot/001-first", "bundle:onboot/001-first"),
            *("tree:onboot/002-second", "bundle:onboot/002-second"),
            *("bundle:services/web", "initrd:machine"),
        },
        {"machine-initrd.img"},
    ),
    "a deleted output": (lambda p: (p.out / "machine-initrd.img").unlink(), set(), {"machine-initrd.img"}),
    "an output overwritten": (
        lambda p: (p.out / "machine-kernel").write_bytes(b"junk"),
        set(),
        {"machine-kernel"},
    ),
    "a fresh checkout": (lambda p: shutil.rmtree(p.out), set(), OUTPUTS),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_the_change_reaches(project: Project, change: str) -> None:
    project.build()
    before = digests(project.out)
    make, steps, files = CHANGES[change]
    make(project)
    built = project.build()
    assert (set(built.ran), set(built.wrote)) == (steps, files)
    if not steps:
        assert digests(project.out) == before, "a restored file has the bytes it had"
    again = project.build()
    assert (again.ran, again.wrote) == ((), ())
    fresh = run(offline(project.spec, project.cache.with_name("fresh"), project.out.with_name("fresh-out")))
    assert fresh.ran
    assert digests(project.out.with_name("fresh-out")) == digests(project.out), "as a build from nothing"


def test_an_edit_that_keeps_size_and_mtime_is_seen(project: Project) -> None:
    project.build()
    path = project.root / "web" / "root" / "usr" / "share" / "web.txt"
    times = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "package:web" in project.build().ran


def test_intermediates_thrown_away_are_not_made_for_outputs_that_are_there(project: Project) -> None:
    project.build()
    for path in (project.cache / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    built = project.build()
    assert (built.ran, built.wrote) == ((), ())


@pytest.mark.parametrize("damage", ["deleted", "flipped", "truncated", "emptied"])
def test_a_damaged_cache_is_mended(project: Project, damage: str) -> None:
    project.build()
    before = digests(project.out)
    for path in sorted((project.cache / "blobs").rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            path.chmod(0o644)
            match damage:
                case "deleted":
                    path.unlink()
                case "flipped":
                    path.write_bytes(bytes([data[0] ^ 255]) + data[1:] if data else b"x")
                case "truncated":
                    path.write_bytes(data[:-1])
                case "emptied":
                    path.write_bytes(b"")
    shutil.rmtree(project.out)
    project.build()
    assert digests(project.out) == before


def test_what_is_taken_away_lies_in_the_outputs_directory(project: Project) -> None:
    """The list of what was written there stands in the cache, which others may write to."""
    project.build(formats=("oci",))
    victim = project.root / "victim"
    victim.touch()
    records = [path for path in (project.cache / "written").iterdir() if "oci-layout" in path.read_text()]
    for record in records:
        state = json.loads(record.read_text())
        record.write_text(json.dumps({**state, str(victim): None, f"../../{victim.name}": None, "gone": None}))
    (output,) = (path.parent for path in project.out.rglob("oci-layout"))
    (output / "gone").touch()
    project.edit("machine.yml", "hello", "hallo")
    assert output.name in project.build(formats=("oci",)).wrote
    assert victim.exists()
    assert not (output / "gone").exists()


def test_two_directories_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    project.build(formats=("kernel+initrd", "tar"))
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(project.root, moved)
    run(offline(moved / "machine.yml", tmp_path / "cache2", tmp_path / "out2", formats=("kernel+initrd", "tar")))
    assert digests(tmp_path / "out2") == digests(project.out)


def test_two_specs_share_what_is_equal(project: Project) -> None:
    (project.root / "twin.yml").write_text(SPEC.replace("CAP_CHOWN", "CAP_KILL"))
    project.build()
    built = run(offline(project.root / "twin.yml", project.cache, project.out))
    assert set(built.ran) == {"bundle:services/web", "initrd:twin"}


def test_two_specs_in_one_build_run_shared_steps_once(project: Project) -> None:
    (project.root / "twin.yml").write_text(SPEC.replace("CAP_CHOWN", "CAP_KILL"))
    built = project.build(machines=((project.spec,), (project.root / "twin.yml",)))
    assert len(built.ran) == len(set(built.ran))
    assert sum(step.startswith("tree:services/web") for step in built.ran) == 1
    assert sum(step.startswith("bundle:services/web") for step in built.ran) == 2
