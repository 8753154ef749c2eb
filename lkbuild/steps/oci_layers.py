"""A tar in which a later member wins, as layers in which no path stands twice.

That a layer holds a path once is not in the image specification, but Docker and Podman refuse others: tar-split, with
which both take layers apart, knows each path once.  What comes again goes into a layer of its own, which wins as the
later member did; a directory that comes again needs none, for it has nothing but its header.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, groupby
from typing import BinaryIO, cast

from lkbuild.disk.extents import Extent
from lkbuild.disk.layout import Opener, Ranges, joined, read
from lkbuild.frozen import frozen
from lkbuild.steps.rootfs import ended
from lkbuild.store.recipe import Recipe


@frozen
class _Member:
    """A member: its path, whether it is a directory, and which bytes of the tar are its headers and contents."""

    path: str
    directory: bool
    start: int
    end: int


class _File(io.RawIOBase):
    """The bytes of extents as a file that can be read anywhere."""

    def __init__(self, ranges: Ranges, open_blob: Opener) -> None:
        super().__init__()
        self._ranges, self._open, self._at = ranges, open_blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ranges.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        count = max(min(len(view), self._ranges.size - self._at), 0)
        view[:count] = b"".join(read(self._ranges.cut(self._at, count), self._open)) if count else b""
        self._at += count
        return count


def layers(tar: Recipe, open_blob: Opener) -> list[Recipe]:
    """The layers, the lowest first, that together hold what `tar` does once a later member has won.

    Each extent of `tar` is whole members, among them every one that a hard link in it leads to; no path stands in it
    twice.  So layers begin where extents do.
    """
    ranges = Ranges(tar.extents)
    made: list[Recipe] = []
    layer: dict[str, _Member] = {}
    for segment in _segments(tar, _members(_File(ranges, open_blob))):
        if any(_replaces(member, layer.get(member.path)) for member in segment):
            made.append(_recipe(layer, ranges))
            layer = {}
        layer.update((member.path, member) for member in segment)  # a directory keeps its place, before what is in it
    return [*made, _recipe(layer, ranges)]


def _replaces(member: _Member, before: _Member | None) -> bool:
    return before is not None and not (before.directory and member.directory)


def _segments(tar: Recipe, members: Iterator[_Member]) -> Iterator[list[_Member]]:
    """The members of each extent."""
    ends = list(accumulate(extent.length for extent in tar.extents))
    for _, segment in groupby(members, lambda member: bisect_right(ends, member.start)):
        yield list(segment)


def _members(file: _File) -> Iterator[_Member]:
    with tarfile.open(fileobj=cast(BinaryIO, io.BufferedReader(file, 4096)), mode="r:") as tar:
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # which else has them all
            end = info.offset_data + (-(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if info.isreg() else 0)
            yield _Member(posixpath.normpath(info.name), info.isdir(), info.offset, end)


def _recipe(layer: dict[str, _Member], ranges: Ranges) -> Recipe:
    """The tar of these members."""
    extents: list[Extent] = []
    for start, end in _runs(layer):
        extents += ranges.cut(start, end - start)
    return Recipe.of(ended(joined(extents)))


def _runs(layer: dict[str, _Member]) -> Iterator[tuple[int, int]]:
    """From where to where the members lie, those that follow each other as one."""
    start = end = 0
    for member in layer.values():
        if member.start != end:
            if end > start:
                yield start, end
            start = member.start
        end = member.end
    if end > start:
        yield start, end
