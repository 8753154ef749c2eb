"""Which specs a change reaches: a table of changes to a repository, and what is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lkbuild.engine.affected import Question, affected, places
from lkbuild.errors import ToolError, UsageError

WEB = """\
# a web server
init: [conf/init:1]
services:
  - name: web
    image: "@pkg:../pkg/web"
files:
  - path: etc/motd
    source: ../motd
"""
PLAIN = """\
init: [conf/init:1]
files:
  - path: etc/spec
    metadata: yaml
"""


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    write(root / "specs" / "web.yml", WEB)
    write(root / "specs" / "plain.yml", PLAIN)
    write(root / "pkg" / "web" / "build.yml", "image: web\n")
    write(root / "pkg" / "web" / "root" / "etc" / "page", "hello")
    write(root / "pkg" / "other" / "build.yml", "image: other\n")
    write(root / "real" / "motd", "welcome")
    (root / "motd").symlink_to("real/motd")
    write(root / "layout" / "index.json", "{}")
    write(root / "dodo.py", "from lkbuild.dodo import *\n")
    write(root / "README", "nothing")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "more")


def link_to_package(root: Path) -> None:
    """Move the package, and leave a link in its place."""
    (root / "pkg" / "web").rename(root / "pkg" / "moved")
    (root / "pkg" / "web").symlink_to("moved")


WEB_ONLY, PLAIN_ONLY, BOTH, NONE = ["specs/web.yml"], ["specs/plain.yml"], ["specs/plain.yml", "specs/web.yml"], []

CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda r: None, NONE),
    "a file of no spec": (lambda r: write(r / "README", "more"), NONE),
    "a package of no spec": (lambda r: write(r / "pkg" / "other" / "x", "more"), NONE),
    "a comment": (lambda r: edit(r / "specs" / "web.yml", "# a web", "# the web"), NONE),
    "how it is written": (
        lambda r: edit(r / "specs" / "web.yml", "init: [conf/init:1]", "init:\n- 'conf/init:1'"),
        NONE,
    ),
    "what a spec says": (lambda r: edit(r / "specs" / "web.yml", "etc/motd", "etc/issue"), WEB_ONLY),
    "what a spec says that was written out": (lambda r: edit(r / "specs" / "plain.yml", "yaml", "json"), PLAIN_ONLY),
    "a file of a package": (lambda r: write(r / "pkg" / "web" / "root" / "etc" / "page", "bye"), WEB_ONLY),
    "a new file of a package": (lambda r: write(r / "pkg" / "web" / "root" / "new file\nand\tmore", "x"), WEB_ONLY),
    "a file of a package less": (lambda r: (r / "pkg" / "web" / "root" / "etc" / "page").unlink(), WEB_ONLY),
    "a source behind a link": (lambda r: write(r / "real" / "motd", "bye"), WEB_ONLY),
    "a link to a source": (lambda r: ((r / "motd").unlink(), write(r / "motd", "bye")), WEB_ONLY),
    "a package that became a link": (link_to_package, WEB_ONLY),
    "a lock": (lambda r: write(r / "specs" / "plain.lock", "x"), PLAIN_ONLY),
    "a lock of another": (lambda r: write(r / "specs" / "else.lock", "x"), NONE),
    "a new spec": (lambda r: write(r / "specs" / "new.yml", PLAIN), ["specs/new.yml"]),
    "a renamed spec": (lambda r: (r / "specs" / "web.yml").rename(r / "specs" / "www.yml"), ["specs/www.yml"]),
    "a deleted spec": (lambda r: (r / "specs" / "web.yml").unlink(), NONE),
    "a spec that is broken": (lambda r: edit(r / "specs" / "web.yml", "init:", "innit:"), WEB_ONLY),
    "a package that is gone": (lambda r: (r / "pkg" / "web" / "build.yml").unlink(), WEB_ONLY),
    "the project's tasks": (lambda r: write(r / "dodo.py", "# mine"), BOTH),
    "an image layout": (lambda r: write(r / "layout" / "index.json", "[]"), BOTH),
}


def named(root: Path, since: str = "main", *names: str) -> list[str]:
    found = affected(Question(since, names, (root / "layout",)), root)
    return [os.path.relpath(each.spec, root) for each in found.affected]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_reaches(root: Path, change: str) -> None:
    work, expected = CHANGES[change]
    git(root, "checkout", "-qb", "topic")
    work(root)
    assert named(root) == expected, "in the working tree, not added"
    git(root, "add", "-A")
    assert named(root) == expected, "added"
    if git(root, "status", "--porcelain"):
        commit(root)
    assert named(root) == expected, "committed"
    assert named(root, "HEAD") == NONE or expected == WEB_ONLY, "since what is checked out, only what is broken"


def test_what_others_did_meanwhile_does_not_count(root: Path) -> None:
    git(root, "checkout", "-qb", "topic")
    edit(root / "specs" / "plain.yml", "yaml", "json")
    commit(root)
    git(root, "checkout", "-q", "main")
    edit(root / "specs" / "web.yml", "etc/motd", "etc/issue")
    commit(root)
    git(root, "checkout", "-q", "topic")
    assert named(root) == PLAIN_ONLY


def test_reasons_are_told_and_what_is_gone(root: Path) -> None:
    write(root / "pkg" / "web" / "root" / "etc" / "page", "bye")
    (root / "specs" / "plain.yml").unlink()
    answer = affected(Question("HEAD"), root)
    (found,) = answer.affected
    assert found.reasons == ("the package @pkg:../pkg/web: pkg/web/root/etc/page",)
    assert answer.deleted == ("specs/plain.yml",)
    assert affected(Question("HEAD", ("specs/plain.yml",)), root).deleted == ("specs/plain.yml",)


def test_lkbuild_itself_reaches_every_spec(root: Path) -> None:
    write(root / "lkbuild" / "step.py", "new")
    answer = affected(Question("HEAD", own=root / "lkbuild"), root)
    assert [each.reasons for each in answer.affected] == [("lkbuild itself: lkbuild/step.py",)] * 2


def test_specs_that_are_merged_are_one_machine(root: Path) -> None:
    edit(root / "specs" / "plain.yml", "conf/init:1", "conf/init:2")
    assert named(root, "HEAD", "specs/web.yml+specs/plain.yml") == ["specs/web.yml+" + str(root / "specs/plain.yml")]


def test_mistakes_are_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows no revision 'nowhere'"):
        named(root, "nowhere")
    with pytest.raises(UsageError, match="knows no revision '--output=x'"):
        named(root, "--output=x")
    with pytest.raises(UsageError, match=r"there is no none\.yml"):
        named(root, "main", "none.yml")
    with pytest.raises(UsageError, match="is in no working tree of git"):
        affected(Question("main"), tmp_path)


def test_without_git_it_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError, match="git cannot be called"):
        named(root)


def test_places_follow_links_and_end_in_a_ring(root: Path) -> None:
    assert places(root / "motd") == {str(root / "motd"), str(root / "real" / "motd")}
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert places(root / "a") == {str(root / "a"), str(root / "b")}


def lkbuild(root: Path, *words: str) -> str:
    argv = [sys.executable, "-m", "lkbuild", "affected", *words]
    path = os.pathsep.join((str(Path(__file__).parents[2]), *sys.path))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(argv, cwd=root, env=environment, check=True, capture_output=True, text=True).stdout


def test_a_spec_that_cannot_be_read_is_named_and_the_others_too(root: Path) -> None:
    """Those of a matrix are built: the job of the broken one says what is wrong, and fails alone."""
    edit(root / "specs" / "web.yml", "init: [", "init: [[")
    edit(root / "specs" / "plain.yml", "yaml", "json")
    assert json.loads(lkbuild(root, "--since", "main", "--json")) == ["specs/plain.yml", "specs/web.yml"]
    assert lkbuild(root, "--since", "main") == "specs/plain.yml\nspecs/web.yml\n"
    (_, broken) = affected(Question("main"), root).affected
    assert re.match(r"\S*specs/web\.yml:\d+:\d+: not YAML", broken.unreadable)
    assert broken.reasons == (f"it cannot be read: {broken.unreadable}",)


def test_a_list_for_a_matrix(root: Path) -> None:
    assert json.loads(lkbuild(root, "--since", "main", "--json")) == []
    write(root / "real" / "motd", "bye")
    assert json.loads(lkbuild(root, "--since=main", "--json")) == ["specs/web.yml"]
    assert (
        lkbuild(root, "--since", "main", "--why", "specs/web.yml") == "specs/web.yml\n  the file etc/motd: real/motd\n"
    )
