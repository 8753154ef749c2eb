"""The stamp says "nothing to do" only where nothing it looked at can have changed."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.engine.options import BuildOptions
from lkbuild.engine.stamp import Fresh, Request, Watch, check, signature, ticked, write, written


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose files are old enough to be trusted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yml").write_text("kernel: {}\n")
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/file").write_text("one")
    (tmp_path / "tree/link").symlink_to("below/file")
    (tmp_path / "out.tar").write_text("made")
    time.sleep(0.03)
    return tmp_path


REQUEST = Request(BuildOptions(((Path("spec.yml"),),), images=(Path("layout"),)))


def stamped(request: Request = REQUEST, texts: tuple[tuple[str, str], ...] = ()) -> bool:
    watch = Watch()
    watch.add_layout(Path("layout"))
    part = watch.part(0)
    part.add_file(Path("spec.yml"))
    part.add_file(Path("spec.yml.lock"))
    part.add_tree(Path("tree"))
    for name, text in texts:
        watch.add_text(name, text)
    outputs = Watch()
    outputs.add_file(Path("out.tar"))
    return write(request, [watch.whole(0), outputs], Fresh("spec", (str(Path("out.tar").absolute()),)))


def test_nothing_changed(project: Path) -> None:
    assert check(REQUEST) is None
    assert stamped()
    assert check(REQUEST) == Fresh("spec", (str(project / "out.tar"),))


def _same_stat(path: Path, text: str) -> None:
    """The same size and mtime, other bytes: what build systems that trust mtimes miss."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[], object]] = {
    "the spec is written": lambda: Path("spec.yml").write_text("init: []\n"),
    "the spec is replaced by one of the same size and mtime": lambda: _same_stat(Path("spec.yml"), "kernel: []\n"),
    "a lock file appears": lambda: Path("spec.yml.lock").write_text("{}"),
    "a file of a tree is written": lambda: Path("tree/below/file").write_text("two"),
    "a file of a tree changes its mode": lambda: Path("tree/below/file").chmod(0o755),
    "a file of a tree changes its mtime": lambda: os.utime("tree/below/file", (1, 1)),
    "a file appears in a tree": lambda: Path("tree/below/new").write_text(""),
    "a directory appears in a tree": lambda: Path("tree/new").mkdir(),
    "a file of a tree is gone": lambda: Path("tree/below/file").unlink(),
    "a link points elsewhere": lambda: (Path("tree/link").unlink(), Path("tree/link").symlink_to("nowhere")),
    "an image layout appears": lambda: (Path("layout").mkdir(), Path("layout/index.json").write_text("{}")),
    "an output is gone": lambda: Path("out.tar").unlink(),
    "an output is overwritten": lambda: _same_stat(Path("out.tar"), "junk"),
    "an output is a directory": lambda: (Path("out.tar").unlink(), Path("out.tar").mkdir()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_makes_it_stale(project: Path, change: Callable[[], object]) -> None:
    assert stamped()
    change()
    assert check(REQUEST) is None


def _with(**changes: object) -> Request:
    return Request(dataclasses.replace(REQUEST.options, **changes))  # type: ignore[arg-type]


OTHERS = {
    "format": _with(formats=("tar",)),
    "arch": _with(arch="arm64"),
    "name": _with(name="other"),
    "dir": _with(directory=Path("elsewhere")),
    "pull": _with(pull="never"),
    "images": _with(images=()),
    "bootloader": _with(bootloader="linuxkit/mkimage-iso-bios"),
    "trust": _with(trust="ignore"),
    "lock": _with(lock=False),
    "docker": _with(docker=True),
    "docker_host": _with(docker=True, docker_host="unix:///run/other.sock"),
    "compression": _with(compression="zstd"),
    "profile": _with(profile="release"),
    "decompress_kernel": _with(decompress_kernel=True),
    "size": _with(size=512),
    "sbom": _with(sbom="cyclonedx"),
    "sbom_output": _with(sbom_output="other"),
    "supplier": _with(supplier="Example Ltd"),
    "key": _with(key=Path("key.pem")),
    "provenance": _with(provenance=False),
    "-o": Request(REQUEST.options, "/somewhere"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_every_option_counts(project: Path, other: Request) -> None:
    assert stamped()
    assert check(other) is None
    assert stamped(other)
    assert check(other) is not None


def test_where_the_daemon_is_counts_only_if_images_are_looked_for_there(project: Path) -> None:
    assert stamped()
    assert check(_with(docker_host="unix:///run/other.sock")) is not None


def test_the_table_above_has_every_option() -> None:
    fields = {field.name for field in dataclasses.fields(BuildOptions)}
    renamed = {"formats": "format", "directory": "dir"}
    assert {renamed.get(name, name) for name in fields} - {"machines", "cache"} <= OTHERS.keys()


def test_a_request_is_relative_to_a_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = project / "cache"
    request = _with(cache=cache)
    assert stamped(request)
    monkeypatch.chdir(project / "tree")
    assert check(request) is None


def test_always_pulling_never_stops_at_a_stamp(project: Path) -> None:
    request = _with(pull="always")
    assert not stamped(request)
    assert check(request) is None


def test_a_file_that_may_change_within_its_tick_is_not_trusted(project: Path) -> None:
    Path("spec.yml").write_text("new")
    assert not stamped()
    time.sleep(0.03)
    assert stamped()


def test_fingerprints_are_asked_for(project: Path) -> None:
    texts = (("daemon", "nginx=1"),)
    assert stamped(texts=texts)
    assert check(REQUEST) is None, "nobody to ask"
    assert check(REQUEST, lambda asked: dict(asked) == dict(texts)) is not None
    assert check(REQUEST, lambda _: False) is None


def test_what_a_part_looked_at_is_its_own() -> None:
    watch = Watch()
    watch.add_file(Path("/common"))
    watch.part(0).add_file(Path("/first"))
    watch.part(1).add_text("daemon", "x")
    assert set(watch.whole(0).paths) == {"/common", "/first"}
    assert set(watch.whole(1).paths) == {"/common"}
    assert (watch.whole(0).texts, watch.whole(1).texts) == ({}, {"daemon": "x"})


def test_what_several_machines_look_at_is_signed_once(project: Path) -> None:
    """It may have been read for the first; so what the second sees of it later is not what counts."""
    watch = Watch()
    watch.part(0).add_tree(Path("tree"))
    Path("tree/below/file").write_text("after")
    Path("tree/below/new").write_text("new")
    watch.part(1).add_tree(Path("tree"))
    name = str(project / "tree/below/file")
    assert watch.whole(0).paths[name] == watch.whole(1).paths[name] != signature(name)
    directory = str(project / "tree/below")
    assert watch.whole(1).paths[directory] != signature(directory)


def test_what_was_seen_in_two_ways_is_not_trusted(project: Path) -> None:
    first = Watch()
    first.add_file(Path("spec.yml"))
    outputs = Watch()
    outputs.add_file(Path("out.tar"))
    assert write(REQUEST, [first, outputs], Fresh("spec", (str(project / "out.tar"),)))
    _same_stat(Path("spec.yml"), "kernel: []\n")
    time.sleep(0.03)
    second = Watch()
    second.add_file(Path("spec.yml"))
    assert not write(REQUEST, [first, second, outputs], Fresh("spec", (str(project / "out.tar"),)))


def test_a_link_to_nothing_that_points_elsewhere(project: Path) -> None:
    link = Path("tree/link")
    link.unlink()
    link.symlink_to("nowhere")
    time.sleep(0.03)
    assert stamped()
    link.unlink()
    link.symlink_to("nothing")
    assert check(REQUEST) is None


def test_a_link_to_itself(project: Path) -> None:
    Path("tree/loop").symlink_to("loop")
    time.sleep(0.03)
    assert stamped()
    assert check(REQUEST) is not None
    assert signature(str(project / "tree/loop/below")) not in ([], signature(str(project / "tree/loop")))


def test_a_read_only_cache_is_no_error(project: Path) -> None:
    (project / "cache").write_text("not a directory")
    assert not stamped()
    assert check(REQUEST) is None


DAMAGE = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "nested too deep": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe",
    "no fields": b"{}",
}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_stamp_is_stale(project: Path, text: bytes) -> None:
    assert stamped()
    REQUEST.path.write_bytes(text)
    assert check(REQUEST) is None


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
LISTS = st.lists(SCALARS, max_size=3)
VALUES = SCALARS | LISTS | st.dictionaries(st.text(max_size=5), SCALARS | LISTS, max_size=3)


@given(st.dictionaries(st.sampled_from(["request", "machine", "paths", "texts", "outputs"]), VALUES))
def test_no_field_of_a_stamp_is_believed(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    """Whatever is in it, it is stale: an output list that is empty vouches for nothing."""
    request = Request(dataclasses.replace(REQUEST.options, cache=tmp_path_factory.getbasetemp() / "stamps-fuzz"))
    request.path.parent.mkdir(parents=True, exist_ok=True)
    document = {"request": request.text, "machine": "m", "paths": {}, "texts": {}, "outputs": [], **fields}
    request.path.write_text(json.dumps(document))
    assert check(request) is None


def test_a_signature_tells_links_from_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    assert signature(str(tmp_path / "file")) == signature(str(tmp_path / "link"))[6:]
    assert signature(str(tmp_path / "file/below")) == signature(str(tmp_path / "missing")) == []


def test_outputs_are_looked_at_after_a_tick(tmp_path: Path) -> None:
    path = tmp_path / "output"
    for number in range(20):
        path.write_bytes(b"one")
        assert written([str(path)], False).racy
        assert ticked()
        seen = written([str(path)], True)
        path.write_bytes(b"two")
        assert not seen.racy
        assert seen.paths[str(path)] != signature(str(path)), f"try {number}: a change right afterwards is not told"
