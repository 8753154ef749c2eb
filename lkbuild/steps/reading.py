"""Reading inputs and telling how far that is: the progress of steps that work through many bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.frozen import frozen
from lkbuild.steps.work import Work


@dataclass(slots=True)
class Reading:
    """The reading of `total` bytes, which is done `passes` times over.  Not for several threads at once."""

    work: Work
    total: int
    passes: int = 1
    done: int = 0

    def open(self, path: Path) -> io.FileIO:
        """A file, whose bytes count as they are read."""
        return _Counted(path, self)

    def open_blob(self, digest: Digest) -> io.FileIO:
        """A blob of the store, the same way."""
        return self.open(self.work.store.path(digest))

    def count(self, size: int) -> None:
        """So many bytes more were read."""
        self.done += size
        self.work.progress(min(self.done // self.passes, self.total), self.total)


def reading(work: Work, role: str, passes: int = 1) -> Reading:
    """The reading of the inputs `role`0, `role`1, …"""
    return Reading(work, sum(item.blob.size for item in work.numbered(role)), passes)


@frozen
class CountedLayer:
    """A layer in a file, as `archive.flatten` reads it, whose bytes count."""

    path: Path
    name: str
    progress: Reading

    def open(self) -> io.FileIO:
        """Its bytes from the beginning."""
        return self.progress.open(self.path)


class _Counted(io.FileIO):
    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path)
        self._reading = reading

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._reading.count(len(data or b""))
        return data or b""
