"""LinuxKit's flags, as they were typed in 2017 and as they are now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.cli.build_verb import command
from lkbuild.cli.flags import help_text, parse
from lkbuild.errors import UsageError


@pytest.mark.parametrize(
    ("argv", "words", "names"),
    [
        (["--format", "tar", "a.yml"], [("format", "tar")], ["a.yml"]),
        (["-format", "tar,iso-efi"], [("format", "tar,iso-efi")], []),  # one dash, as `moby` took it
        (["-format=tar"], [("format", "tar")], []),
        (["a.yml", "--name", "x", "b.yml"], [("name", "x")], ["a.yml", "b.yml"]),
        (["--images", "a", "--images=b"], [("images", "a"), ("images", "b")], []),
        (["--pull"], [("pull", "always")], []),
        (["--pull=true"], [("pull", "always")], []),
        (["--pull=never"], [("pull", "never")], []),
        (["--pull=false"], [("pull", "missing")], []),
        (["--docker", "--no-sbom"], [("docker", "yes"), ("sbom", "no")], []),
        (["--no-sbom=false", "--no-provenance=false"], [("sbom", "spdx"), ("provenance", "yes")], []),
        (["--no-sbom=true", "--no-provenance"], [("sbom", "no"), ("provenance", "no")], []),
        (["--provenance=false", "--sbom-output", "a"], [("provenance", "no"), ("sbom_output", "a")], []),
        (["-disable-content-trust"], [("trust", "ignore")], []),  # as `moby` had it
        (["-disable-content-trust=true"], [("trust", "ignore")], []),
        (["-disable-content-trust=false"], [("trust", "verify")], []),
        (["--trust", "ignore"], [("trust", "ignore")], []),
        (["--docker=false"], [("docker", "no")], []),
        (["--decompress-kernel"], [("decompress_kernel", "yes")], []),
        (["--size", "512M"], [("size", "512M")], []),
        (["-o", "-"], [("o", "-")], []),
        (["--o=x"], [("o", "x")], []),
        (["-v", "a.yml"], [("verbose", "yes")], ["a.yml"]),
        (["-v", "2", "a.yml"], [("verbose", "yes")], ["a.yml"]),  # LinuxKit's -v takes a number
        (["-v=0"], [("verbose", "no")], []),
        (["-q"], [("quiet", "yes")], []),
        (["-n4"], [("jobs", "4")], []),
        (["-j", "4"], [("jobs", "4")], []),
        (["--continue"], [("keep_going", "yes")], []),
        (["spec=specs/*.yml", "format=tar"], [("spec", "specs/*.yml"), ("format", "tar")], []),
        (["odd=name.yml"], [], ["odd=name.yml"]),  # no word of ours: a file
        (["--", "-odd.yml"], [], ["-odd.yml"]),
        (["-h"], [("help", "yes")], []),
    ],
)
def test_flags(argv: list[str], words: list[tuple[str, str]], names: list[str]) -> None:
    given = parse(command, argv)
    assert (list(given.words), list(given.names)) == (words, names)


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["--formt", "tar"], "unknown flag --formt", "--format"),
        (["--zzzz=1"], "unknown flag --zzzz", "--help"),
        (["--format"], "--format needs a value", "FORMAT"),
    ],
)
def test_mistakes(argv: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(command, argv)
    assert error.value.message == message
    assert hint in (error.value.hint or "")


def test_help_has_every_flag() -> None:
    text = help_text(command)
    for flag in command.flags:
        assert any(f"-{name}" in text for name in flag.names)
        assert flag.meaning in text


@given(st.lists(st.text(alphabet="-=abonvformat24 .", max_size=8), max_size=5))
def test_any_command_line_is_read_or_refused(argv: list[str]) -> None:
    try:
        parse(command, argv)
    except UsageError as error:
        assert error.hint
