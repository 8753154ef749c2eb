"""Noticing that something changed that a build looked at: the very paths of its stamp, looked at again and again.

An `lstat` of each path, thirty times a second, costs a hundredth of a processor for a hundred paths, works on every
file system, and cannot miss what the build itself did not miss.  docs/adr has the measurements (the inner loop).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lkbuild.engine.stamp import Watch, signature
from lkbuild.packages.tree import is_transient

Look = tuple[object, ...] | None
"""What tells that a path is what it was; None where nothing is."""

_CHANGED: Look = ("changed while it was read",)
_PATIENCE = 5.0
"""Seconds that something may go on changing before it is built as it is."""
_SHARE = 10
"""Looking takes at most one part in so many of the time."""


class Watched:
    """The paths that builds looked at, and how they were then."""

    def __init__(self, cache: Path) -> None:
        """Of what lies in `cache` only the replacing counts: a build itself notes there that it used something."""
        self._cache = os.path.join(os.path.abspath(cache), "")  # noqa: PTH100, PTH118 - as a stamp names its paths
        self._known: dict[str, Look] = {}

    def __len__(self) -> int:
        return len(self._known)

    def now(self) -> dict[str, Look]:
        """How all of it is now."""
        return {path: self._look(path) for path in self._known}

    def learn(self, watch: Watch, before: Mapping[str, Look], whole: bool) -> None:
        """Note what a build looked at; `before` is how things were when it began.

        A path that changed while the build read it counts as changed.  Unless it was a `whole` build, what earlier ones
        looked at stays: who was stopped by a mistake in one file did not come to look at the others.
        """
        found: dict[str, Look] = {} if whole else dict(before)
        for path, seen in watch.paths.items():
            if is_transient(os.path.basename(path)) or "/.git/" in path:  # noqa: PTH119 - hot
                continue
            if path in before:
                found[path] = before[path]
            else:
                look = self._look(path)
                found[path] = look if signature(path) == seen else _CHANGED
        self._known = found

    def changed(self) -> tuple[str, ...]:
        """The paths that are not as they were, sorted."""
        return self.differences(self.now())

    def differences(self, now: Mapping[str, Look]) -> tuple[str, ...]:
        """The paths that `now` differ from what is known, sorted."""
        return tuple(sorted(path for path, look in self._known.items() if now[path] != look))

    def _look(self, path: str) -> Look:
        numbers = signature(path)
        if not numbers:
            return None
        if path.startswith(self._cache):
            return tuple(numbers[2:4])  # inode and size
        if any(stat.S_ISDIR(mode) for mode in numbers[::6] if mode > 0):
            # Its times change with every temporary file; which names are in it is all a build takes from it.
            return (numbers[0], *_names(path))
        return tuple(numbers)


def _names(path: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(name for name in os.listdir(path) if not is_transient(name)))  # noqa: PTH208 - hot
    except OSError:
        return ()


class Vigil:
    """Says when what is watched has changed and come to rest."""

    def __init__(self, watched: Watched, interval: float = 0.03, clock: Callable[[], float] = time.monotonic) -> None:
        """Look every `interval` seconds, less often where looking takes long.  What is as it was in two looks rests."""
        self._watched = watched
        self._interval = interval
        self._clock = clock
        self._next = 0.0
        self._last: dict[str, Look] | None = None
        self._since = 0.0

    def pause(self) -> float:
        """Seconds until it is time to look again."""
        return max(0.0, self._next - self._clock())

    def look(self) -> tuple[str, ...]:
        """The paths that changed, once they rest; nothing before.

        What is changed and changed back, as some editors do to see whether they may, has not changed.
        """
        began = self._clock()
        now = self._watched.now()
        ended = self._clock()
        self._next = ended + max(self._interval, _SHARE * (ended - began))
        differences = self._watched.differences(now)
        if not differences:
            self._last = None
            return ()
        if self._last is None:
            self._since = began
        elif self._last == now or ended - self._since > _PATIENCE:
            self._last = None
            return differences
        self._last = now
        return ()


def shown(paths: Iterable[str], base: Path) -> tuple[str, ...]:
    """The files among paths, for people: relative to `base` where they lie below it; a directory only if alone."""
    paths = tuple(paths)
    files = tuple(path for path in paths if not os.path.isdir(path)) or paths  # noqa: PTH112
    return tuple(os.path.relpath(path, base) if path.startswith(f"{base}/") else path for path in files)
