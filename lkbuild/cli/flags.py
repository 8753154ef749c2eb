"""Flags as `linuxkit` has them, one dash or two, turned into the words that `doit` takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lkbuild.engine.arguments import BUILD_OPTIONS, SWITCHED, Option, Word
from lkbuild.engine.project import Show
from lkbuild.engine.specs import closest
from lkbuild.errors import UsageError
from lkbuild.frozen import frozen


@frozen
class Flag:
    """A flag: its names, the word it means, and the value it gives it where it takes none itself, or is said false."""

    names: tuple[str, ...]
    word: str
    meaning: str
    value: str = ""
    bare: str | None = None
    off: str = "no"


@frozen
class Given:
    """What a command line gave: words in order, and what is no flag."""

    words: tuple[Word, ...]
    names: tuple[str, ...]


@frozen
class Command:
    """A verb: how it is called, what it takes and what it does.  `words`: names that may be given as NAME=VALUE too;
    `fault`: what the user's mistakes exit with.
    """

    usage: str
    about: str
    flags: tuple[Flag, ...]
    work: Callable[[Given, Show], int]
    words: tuple[str, ...] = ()
    fault: int = 1


HELP = Flag(("help", "h"), "help", "say what there is", bare="yes")
_SHORT = {"quiet": ("quiet", "q"), "verbose": ("verbose", "v")}
_TRUE = {**SWITCHED, "2": "yes"}


def flags_of(options: Sequence[Option]) -> tuple[Flag, ...]:
    """The flags for options that doit takes as words."""
    return tuple(_flag(option) for option in options)


def _flag(option: Option) -> Flag:
    names = _SHORT.get(option.name, tuple(dict.fromkeys((option.name.replace("_", "-"), option.name))))
    bare = "yes" if option.yes_or_no else "always" if option.name == "pull" else None
    off = "missing" if option.name == "pull" else "no"
    return Flag(names, option.name, option.meaning, option.value, bare, off)


def parse(command: Command, argv: Sequence[str]) -> Given:
    """The words and names of a command line; UsageError for a flag that is none, or has no value."""
    flags = {name: flag for flag in (*command.flags, HELP) for name in flag.names}
    words: list[Word] = []
    names: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.partition("=")
        if argument == "--":
            names += rest
            break
        if argument == "-" or not argument.startswith("-"):
            if equals and name in command.words:
                words.append((name, argument[len(name) + 1 :]))
            else:
                names.append(argument)
            continue
        words.append(_word(argument, rest, flags))
    return Given(tuple(words), tuple(names))


def _word(argument: str, rest: list[str], flags: dict[str, Flag]) -> Word:
    name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
    joined = re.fullmatch(r"([a-z])(\d+)", name)
    if name not in flags and joined and joined[1] in flags:
        name, equals, value = joined[1], "=", joined[2]
    flag = flags.get(name)
    if flag is None:
        close = closest(name, flags)
        hint = f"did you mean --{close[0]}?" if close else "--help lists the flags"
        raise UsageError(f"unknown flag {argument.partition('=')[0]}", hint)
    if flag.bare is None:
        if not equals:
            if not rest:
                raise UsageError(f"{argument} needs a value", f"say {argument} {flag.value}")
            value = rest.pop(0)
        return flag.word, value
    if flag.word == "verbose" and not equals and rest and re.fullmatch(r"\d", rest[0]):
        equals, value = "=", rest.pop(0)
    if not equals:
        return flag.word, flag.bare
    return flag.word, {"yes": flag.bare, "no": flag.off}.get(_TRUE.get(value.lower(), value), value)


def help_text(command: Command) -> str:
    """What a verb does and takes."""
    rows = []
    for flag in (*command.flags, HELP):
        names = ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in flag.names if "_" not in name)
        bare = f"{names}[={flag.value}]" if flag.value not in ("", "yes|no") else names
        rows.append((f"{names} {flag.value}" if flag.bare is None else bare, flag.meaning))
    width = max(len(left) for left, _ in rows) + 2
    lines = [f"usage: {command.usage}", "", command.about, "", *(f"  {left:{width}}{right}" for left, right in rows)]
    return "\n".join([*lines, ""])


BUILD_FLAGS = (
    *flags_of(BUILD_OPTIONS),
    Flag(("jobs", "n", "j"), "jobs", "steps carried out at once; as many as there are processors", "N"),
    Flag(
        ("keep-going", "continue", "k"),
        "keep_going",
        "after a failure, do what does not depend on it; of specs, build those that can be",
        bare="yes",
    ),
    Flag(("o",), "o", "write the one output to this file; - is standard output", "FILE"),
    Flag(("no-sbom",), "sbom", "the same as --sbom no, as `linuxkit` has it", bare="no", off="spdx"),
    Flag(("no-provenance",), "provenance", "the same as --provenance=no", bare="no", off="yes"),
    Flag(("no-lock",), "lock", "the same as --lock=no", bare="no", off="yes"),
    Flag(
        ("disable-content-trust",), "trust", "the same as --trust ignore, as `moby` had it", bare="ignore", off="verify"
    ),
)
