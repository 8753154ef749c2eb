"""Which changes `lkbuild dev` takes for one, and when: each case is what some editor or program really does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lkbuild.dev.watching import Vigil, Watched, shown
from lkbuild.engine.stamp import Watch


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package directory with a page."""
    (tmp_path / "pkg" / "root").mkdir(parents=True)
    (tmp_path / "pkg" / "build.yml").write_text("image: x\n")
    (tmp_path / "pkg" / "root" / "page").write_text("one")
    return tmp_path / "pkg"


def watched(package: Path, cache: str = "cache") -> Watched:
    """Everything of the package, as a build looked at it."""
    found, watch = Watched(package.parent / cache), Watch()
    watch.add_tree(package)
    found.learn(watch, {}, whole=True)
    return found


def in_place(page: Path) -> None:
    page.write_text("two")


def of_the_same_size_and_time(page: Path) -> None:
    times = page.stat()
    page.write_text("owt")
    os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))


def vim(page: Path) -> None:
    """Tries whether files can be made, moves the old one away, writes anew, removes what it made."""
    swap = page.with_name(".page.swp")
    swap.write_text("swap")
    page.with_name("4913").write_text("")
    page.with_name("4913").unlink()
    page.rename(page.with_name("page~"))
    page.write_text("two")
    page.with_name("page~").unlink()
    swap.unlink()


def emacs(page: Path) -> None:
    lock = page.with_name(".#page")
    lock.symlink_to("me@here.1:2")
    page.write_text("two")
    lock.unlink()


def renamed_over(page: Path) -> None:
    new = page.with_name("page.tmp")
    new.write_text("two")
    new.replace(page)


def executable(page: Path) -> None:
    page.chmod(0o755)


def gone(page: Path) -> None:
    page.unlink()


def another_file(page: Path) -> None:
    page.with_name("other").write_text("x")


def another_directory(page: Path) -> None:
    page.with_name("deep").mkdir()


def a_link_in_its_place(page: Path) -> None:
    page.unlink()
    page.symlink_to("build.yml")


@pytest.mark.parametrize(
    "change",
    [
        in_place,
        of_the_same_size_and_time,
        vim,
        emacs,
        renamed_over,
        executable,
        gone,
        another_file,
        another_directory,
        a_link_in_its_place,
    ],
)
def test_a_change_is_seen_once(package: Path, change: Callable[[Path], None]) -> None:
    found = watched(package)
    vigil = Vigil(found, 0)
    assert vigil.look() == ()
    change(package / "root" / "page")
    assert vigil.look() == (), "it may not have come to its end"
    assert any("page" in path or "root" in path for path in vigil.look())
    before, watch = found.now(), Watch()
    watch.add_tree(package)
    found.learn(watch, before, whole=True)
    assert [vigil.look() for _ in range(4)] == [()] * 4


def leave_a_swap_file(page: Path) -> None:
    page.with_name(".page.swp").write_text("swap")


def change_and_change_back(page: Path) -> None:
    page.with_name("probe").write_text("")
    page.with_name("probe").unlink()


def touch_the_directory(page: Path) -> None:
    os.utime(page.parent)


@pytest.mark.parametrize("nothing", [leave_a_swap_file, change_and_change_back, touch_the_directory])
def test_what_is_no_change(package: Path, nothing: Callable[[Path], None]) -> None:
    vigil = Vigil(watched(package), 0)
    nothing(package / "root" / "page")
    assert [vigil.look() for _ in range(4)] == [()] * 4


def test_several_writes_are_one_change(package: Path) -> None:
    vigil = Vigil(watched(package), 0)
    seen = []
    for number in range(5):
        (package / "root" / "page").write_text("x" * (number + 10))
        seen.append(vigil.look())
    assert seen == [()] * 5
    assert vigil.look() == (str(package / "root" / "page"),)


def test_what_never_rests_is_built_at_last(package: Path) -> None:
    now = [0.0]
    vigil = Vigil(watched(package), 0, clock=lambda: now[0])
    seen: list[tuple[str, ...]] = []
    for number in range(100):
        (package / "root" / "page").write_text("x" * (number + 10))
        now[0] += 0.1
        seen.append(vigil.look())
    assert 0 < sum(map(bool, seen)) <= 2


def test_what_changed_while_it_was_read_is_changed(package: Path) -> None:
    found, watch = Watched(package.parent / "cache"), Watch()
    watch.add_tree(package)
    (package / "root" / "page").write_text("later")
    found.learn(watch, {}, whole=True)
    assert found.changed() == (str(package / "root" / "page"),)


def test_what_changed_since_the_build_began_is_changed(package: Path) -> None:
    found = watched(package)
    before, watch = found.now(), Watch()
    (package / "root" / "page").write_text("later")
    watch.add_tree(package)
    found.learn(watch, before, whole=True)
    assert found.changed() == (str(package / "root" / "page"),)


def test_after_a_mistake_both_are_watched_what_was_and_what_was_reached(package: Path) -> None:
    found = watched(package)
    before, watch = found.now(), Watch()
    watch.add_file(package.parent / "missing")
    found.learn(watch, before, whole=False)
    (package.parent / "missing").write_text("here")
    (package / "build.yml").write_text("image: y\n")
    assert found.changed() == (str(package.parent / "missing"), str(package / "build.yml"))


def test_a_cache_s_note_that_something_was_used_is_no_change(package: Path) -> None:
    found = watched(package, "pkg/root")
    page = package / "root" / "page"
    os.utime(page)
    assert found.changed() == ()
    renamed_over(page)
    assert found.changed() == (str(page),)


def test_what_is_shown(package: Path) -> None:
    page = str(package / "root" / "page")
    assert shown([str(package / "root"), page], package) == ("root/page",)
    assert shown([str(package / "root")], package) == ("root",)
    assert shown(["/elsewhere/x"], package) == ("/elsewhere/x",)
