"""Where a package's files go: the one layout of all packages, merged /usr, and the globs that speak of it.

Debian moved /bin, /sbin and /lib into /usr; its packages of before name the old places.  Every image of ours has
`bin -> usr/bin` and the like, so that images laid over one another at a machine's root never meet a real directory
where another has a link.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

ALWAYS = ("bin", "lib", "lib64", "sbin")
"""The links every image has."""
MERGED = (*ALWAYS, "lib32", "libo32", "libx32")
"""What Debian's usrmerge moves into /usr."""


def relative(path: str) -> str:
    """A path of the image without leading `/` or `./`; ValueError where it is empty, leaves the root or has a NUL."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError(f"{path!r} names no file of the image")
    if ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} leaves the image (no '..' in a path)")
    return "/".join(parts)


def merged(path: str) -> str:
    """Where a relative path of the image really lies: `bin/sh` is `usr/bin/sh`."""
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


def merged_target(path: str, target: str) -> str:
    """A symlink's text after `path` was moved: the same file as before, seen from the new place."""
    if target.startswith("/") or merged(path) == path or ".." not in target.split("/"):
        return target
    meant = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
    return posixpath.relpath("/" + merged(meant), "/" + posixpath.dirname(merged(path)))


def points_at(path: str, target: str) -> str:
    """The place of the image a symlink at `path` (already moved) names, links on the way not followed."""
    meant = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
    return merged(meant)


def parents(path: str) -> tuple[str, ...]:
    """The directories above a relative path, the topmost first."""
    parts = path.split("/")[:-1]
    return tuple("/".join(parts[:end]) for end in range(1, len(parts) + 1))


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path is named by one of `patterns`: `*`, `?`, `[…]` within a name, `**` any depth.

    A pattern that names a directory names all below it.  Patterns are moved as paths are.
    """
    expressions = [_expression(merged(relative(pattern))) for pattern in patterns]
    if not expressions:
        return lambda path: False
    found = re.compile("|".join(f"(?:{expression})" for expression in expressions), re.DOTALL)
    return lambda path: found.fullmatch(path) is not None


def _expression(pattern: str) -> str:
    parts = pattern.split("/")
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _name(part) + ("" if last else "/")
    return text + "(?:/.*)?"


def _name(part: str) -> str:
    """One name of a pattern as a regular expression."""
    text, position = "", 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            text += "[^/]*"
        elif character == "?":
            text += "[^/]"
        elif character == "[" and (end := part.find("]", position + 1)) > 0:
            inside = part[position:end].replace("\\", "\\\\").replace("[", "\\[")
            text += f"(?!/)[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
            position = end + 1
        else:
            text += re.escape(character)
    return text
