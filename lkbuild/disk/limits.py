"""Saying what is too large: the limit, the numbers, and the parts that are to blame."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.errors import StepError

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def size_text(size: int) -> str:
    """A size for people and for comparing: `104.9 MB (104857600 bytes)`, small ones in bytes alone."""
    if size < 100_000:
        return f"{size} bytes"
    unit, name = next((n, text) for n, text in _UNITS if size >= n)
    return f"{size / unit:.1f} {name} ({size} bytes)"


def largest(parts: Iterable[tuple[str, int]], count: int = 3) -> str:
    """The largest parts by name and size, the largest first."""
    kept = sorted(parts, key=lambda part: (-part[1], part[0]))[:count]
    return ", ".join(f"{name} {size_text(size)}" for name, size in kept)


def too_large(what: str, parts: Iterable[tuple[str, int]], hint: str) -> StepError:
    """The error that says `what` (limit and numbers in it) and names the largest parts."""
    blamed = largest(parts)
    return StepError(f"{what}; the largest parts: {blamed}" if blamed else what, hint)
