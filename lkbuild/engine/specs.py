"""Which machines `spec=` names: each file or match of a glob is one; `a.yml+b.yml` merges files into one."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from lkbuild.errors import UsageError

_MAX_LISTED = 12


def expand(values: Iterable[str], base: Path) -> tuple[tuple[Path, ...], ...]:
    """The files of each machine, in the order named, each machine once; UsageError where a name matches nothing.

    Relative names are relative to `base`.
    """
    found: dict[tuple[Path, ...], None] = {}
    for value in values:
        parts = [value] if "+" not in value or (base / value).exists() else value.split("+")
        for files in itertools.product(*(_matches(part, base) for part in parts)):
            found[tuple(files)] = None
    return tuple(found)


def _matches(part: str, base: Path) -> list[Path]:
    path = base / Path(part).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise UsageError(f"spec={part} is a directory", f"name the files in it: spec='{part.rstrip('/')}/*.yml'")
    if glob.has_magic(part):
        matches = sorted(glob.glob(os.fspath(path), recursive=True))  # noqa: PTH207 - an absolute pattern
        if matches:
            return [Path(match) for match in matches if not Path(match).is_dir()]
    raise UsageError(
        f"spec={part} matches no file" if glob.has_magic(part) else f"there is no {part}", hint(part, base)
    )


def no_spec(base: Path) -> UsageError:
    """The error for a build that names no spec."""
    return UsageError("no spec is named", hint("", base))


def hint(wanted: str, base: Path) -> str:
    """What specs there are, the likeliest first."""
    found = [os.path.relpath(path, base) for path in specs_near(base)]
    if not found:
        return "say spec=FILE.yml (there is none in this directory or in specs/)"
    close = closest(wanted, found) or closest(Path(wanted).name, [name for name in found if "/" not in name])
    listed = ", ".join(found[:_MAX_LISTED]) + (f" and {len(found) - _MAX_LISTED} more" if found[_MAX_LISTED:] else "")
    return (f"did you mean {close[0]}? " if wanted and close else "") + f"say spec=FILE; there are {listed}"


def specs_near(base: Path) -> list[Path]:
    """The YAML files in `specs/` and in the directory itself, as far as their names tell."""
    patterns = ("specs/*.yml", "specs/*.yaml", "*.yml", "*.yaml")
    return [path for pattern in patterns for path in sorted(base.glob(pattern)) if not path.name.startswith(".")]


def closest(wanted: str, known: Iterable[str]) -> list[str]:
    """The one of `known` that was meant perhaps, or nothing."""
    import difflib  # which takes longer to load than a build with nothing to do may last

    return difflib.get_close_matches(wanted, list(known), 1)
