"""Words become an order, or an error that says what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.engine.arguments import BUILD_OPTIONS, Option, megabytes, order
from lkbuild.engine.options import BuildOptions
from lkbuild.errors import UsageError

HERE = Path()


@pytest.fixture(autouse=True)
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LKBUILD_CACHE", raising=False)
    Path("specs").mkdir()
    for name in ("a.yml", "b.yml", "c+d.yml", "specs/web.yml", "specs/db.yml"):
        Path(name).write_text("")


def machines(*values: str) -> list[list[str]]:
    found = order([("spec", value) for value in values], HERE).options.machines
    return [[os.fspath(file) for file in files] for files in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a.yml"], [["a.yml"]]),
        (["a.yml", "b.yml"], [["a.yml"], ["b.yml"]]),  # repeated words add up
        (["a.yml+b.yml"], [["a.yml", "b.yml"]]),  # merged
        (["c+d.yml"], [["c+d.yml"]]),  # a file that is there is no merge
        (["specs/*.yml"], [["specs/db.yml"], ["specs/web.yml"]]),  # sorted, each its own machine
        (["a.yml+specs/*.yml"], [["a.yml", "specs/db.yml"], ["a.yml", "specs/web.yml"]]),
        (["**/web.yml"], [["specs/web.yml"]]),
        (["a.yml", "?.yml"], [["a.yml"], ["b.yml"]]),  # named twice is one machine
    ],
)
def test_machines(values: list[str], expected: list[list[str]]) -> None:
    assert machines(*values) == expected


def test_files_named_together_are_merged() -> None:
    assert order([], HERE, merged=["a.yml", "b.yml"]).options.machines == ((Path("a.yml"), Path("b.yml")),)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ([("spec", "webb.yml")], "there is no webb.yml", "a.yml"),
        ([("spec", "specs/webb.yml")], "there is no specs/webb.yml", "did you mean specs/web.yml?"),
        ([("spec", "x*.yml")], "matches no file", "specs/web.yml"),
        ([("spec", "specs")], "is a directory", "specs/*.yml"),
        ([("fromat", "tar")], "unknown option fromat=tar", "did you mean format=?"),
        ([("decompress-kernel", "yes")], "unknown option", "did you mean decompress_kernel=?"),
        ([("zzz", "1")], "unknown option", "there are spec, format"),
        ([("docker", "on")], "docker=on", "docker=yes or docker=no"),
        ([("pull", "allways")], "pull=allways", "did you mean pull=always?"),
        ([("arch", "arm")], "arch=arm", "arm64"),
        ([("format", "")], "format= has no value", "FORMAT"),
        ([("offline", "yes"), ("pull", "always")], "asks the network", "leave one"),
        ([("dir", "x"), ("dir", "y")], "dir is given as 'x' and as 'y'", "once"),
        ([("spec", "a.yml"), ("spec", "b.yml"), ("name", "n")], "2 are asked for", "leave name= out"),
        ([("name", "../n")], "cannot name files", "dir="),
        ([("size", "big")], "size 'big' is no size", "512M"),
        ([("size", "-5")], "size '-5' is no size", "512M"),
        ([("size", "1.5G")], "size '1.5G' is no size", "512M"),
        ([("size", "0")], "size '0' is 0 MB", "from 1"),
        ([("size", "99999999G")], "size '99999999G' is", "to 67108864 MB"),
        ([("sbom", "spdxx")], "sbom=spdxx is not known", "did you mean sbom=spdx?"),
        ([("sbom_output", "../x")], "sbom_output=../x is no file of the machine", "sbom.spdx.json"),
        ([("sbom_output", "//")], "is no file of the machine", "sbom.spdx.json"),
        ([("supplier", "Ex\udcff Ltd")], "supplier='Ex\\udcff Ltd' is no name", "UTF-8"),
        ([("supplier", "Ex\nLtd")], "is no name", "one line"),
        ([("provenance", "no"), ("key", "k")], "key= signs the provenance", "leave one of them out"),
        ([("provenance", "maybe")], "provenance=maybe", "provenance=no"),
    ],
)
def test_mistakes(words: list[tuple[str, str]], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        order(words, HERE)
    assert message in error.value.message
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize("said", ["yes", "1", "true", "True"])
def test_switches_are_turned_on_in_several_ways(said: str) -> None:
    uefi = Option("uefi", "yes|no", "")
    found = order([("docker", said), ("quiet", said), ("uefi", said)], HERE, [uefi])
    assert (found.options.docker, found.manner, found.rest) == (True, "quiet", (("uefi", "yes"),))
    assert not order([("docker", "0"), ("verbose", "false")], HERE).options.docker


def test_every_word_reaches_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    words = {
        "spec": "a.yml",
        "format": "tar, iso-efi",
        "arch": "aarch64",
        "name": "n",
        "dir": "out",
        "pull": "always",
        "cache": "c",
        "images": "layout",
        "docker": "yes",
        "compression": "zstd",
        "profile": "release",
        "decompress_kernel": "yes",
        "size": "2G",
        "bootloader": "linuxkit/mkimage-iso-bios",
        "sbom": "cyclonedx",
        "sbom_output": "/usr/share//sbom.json",
        "supplier": "Example Ltd",
        "key": "key.pem",
        "trust": "ignore",
        "lock": "no",
    }
    expected = BuildOptions(
        machines=((Path("a.yml"),),),
        formats=("tar", "iso-efi"),
        arch="arm64",
        name="n",
        directory=Path("out"),
        pull="always",
        cache=Path("c"),
        images=(Path("layout"),),
        docker=True,
        compression="zstd",
        profile="release",
        decompress_kernel=True,
        size=2048,
        bootloader="linuxkit/mkimage-iso-bios",
        sbom="cyclonedx",
        sbom_output="usr/share/sbom.json",
        supplier="Example Ltd",
        key=Path("key.pem"),
        trust="ignore",
        lock=False,
    )
    assert order(list(words.items()), HERE).options == expected
    shown = {"json", "quiet", "verbose", "offline", "provenance"}
    assert {option.name for option in BUILD_OPTIONS} == (words.keys() - {"spec"}) | shown


def test_what_is_shown() -> None:
    assert order([("json", "yes"), ("verbose", "yes")], HERE).manner == "json"
    assert order([("quiet", "yes")], HERE).manner == "quiet"
    assert order([("offline", "yes")], HERE).options.pull == "never"
    assert order([("format", "tar"), ("format", "tar,raw-efi")], HERE).options.formats == ("tar", "raw-efi")


def test_paths_are_relative_to_where_it_was_called(tmp_path: Path) -> None:
    options = order([("spec", "web.yml"), ("images", "l")], tmp_path / "specs").options
    assert options.machines == ((tmp_path / "specs/web.yml",),)
    assert (options.images, options.directory) == ((tmp_path / "specs/l",), tmp_path / "specs")
    assert options.cache == Path("cache")


def test_the_environment_says_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKBUILD_CACHE", "~/lk")
    assert order([], HERE).options.cache == Path("~/lk").expanduser()
    assert order([("cache", "here")], HERE).options.cache == Path("here")


@pytest.mark.parametrize("words", [[], [("docker", "yes")]], ids=["for Dockerfiles only", "for images too"])
def test_the_environment_says_where_the_daemon_is(
    words: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    assert order(words, HERE).options.docker_host == "unix:///run/other.sock"
    monkeypatch.setenv("DOCKER_HOST", "")
    assert order(words, HERE).options.docker_host is None


def test_words_of_others_are_kept_for_them() -> None:
    asked = order([("publish", "80:80"), ("publish", "81:81")], HERE, [Option("publish", "HOST:GUEST", "")])
    assert asked.rest == (("publish", "80:80"), ("publish", "81:81"))


@pytest.mark.parametrize(("text", "size"), [("512", 512), ("512M", 512), ("1g", 1024), ("2GiB", 2048), ("7MB", 7)])
def test_sizes(text: str, size: int) -> None:
    assert megabytes(text) == size


@given(st.text(max_size=12))
def test_a_size_is_a_size_or_refused(text: str) -> None:
    try:
        assert 0 < megabytes(text) <= 64 << 20
    except UsageError as error:
        assert error.hint


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4))
def test_any_words_are_an_order_or_refused(words: list[tuple[str, str]]) -> None:
    try:
        order(words, HERE)
    except UsageError as error:
        assert error.message
