"""Directories to work in, in the store's file system: emptied after use and kept for the next who wants one.

Making and removing a directory takes a file system longer than most steps take, so a process does it once for each
thread at work.  Each is locked while its process lives; those of processes that were killed are swept away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lkbuild.frozen import frozen

_YOUNG = 60
"""Seconds for which a directory that nobody seems to hold is left alone: its maker may be about to lock it."""


@frozen
class _Directory:
    """A directory and the descriptor it is locked by."""

    path: Path
    handle: int

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.handle)


class Scratch:
    """The directories of one process below `parent`.  Threads may share one."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._spare: list[_Directory] = []

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory, ours alone until the end of the block; what is still in it then is removed."""
        try:
            mine = self._spare.pop()
        except IndexError:
            mine = self._make()
        try:
            yield mine.path
        finally:
            if _emptied(mine.path):
                self._spare.append(mine)
            else:
                mine.remove()

    def close(self) -> None:
        """Remove the directories that are kept."""
        while self._spare:
            self._spare.pop().remove()

    def sweep(self) -> None:
        """Remove the directories of processes that were killed: nobody holds their lock any more."""
        with contextlib.suppress(OSError):
            for path in self._parent.iterdir():
                with contextlib.suppress(OSError):  # of somebody else's, or gone meanwhile
                    _sweep(path)

    def _make(self) -> _Directory:
        path = Path(tempfile.mkdtemp(dir=self._parent))
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return _Directory(path, handle)


def _sweep(path: Path) -> None:
    """Remove a directory if nobody holds it, and nobody is about to.  OSError where it cannot be opened, or is held."""
    if not path.is_dir() or time.time() - path.stat().st_mtime < _YOUNG:
        return
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


def _emptied(directory: Path) -> bool:
    """Remove what is in a directory; returns whether it is there, and empty now."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)  # noqa: PTH108 - hot
    except OSError:
        return False
    return True
