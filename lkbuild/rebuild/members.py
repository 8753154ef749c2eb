"""Which file of an archive a byte of it belongs to, also of a compressed one and for a wrong byte."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import BinaryIO, cast

from lkbuild.archive.compress import decompressed
from lkbuild.archive.cpio import TRAILER
from lkbuild.errors import ArchiveError

Opening = Callable[[], BinaryIO]
_UNIT = 1 << 16
_HEADER = 110


class Regions(io.RawIOBase):
    """Parts of a file, (offset, length) each, read as one; where the file is too short it ends."""

    def __init__(self, file: BinaryIO, regions: Iterable[tuple[int, int]]) -> None:
        self._file = file
        self._regions = [(at, length) for at, length in regions if length]

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._regions:
            return 0
        at, length = self._regions[0]
        self._file.seek(at)
        data = self._file.read(min(length, len(buffer)))
        buffer[: len(data)] = data
        self._regions[0] = at + len(data), length - len(data)
        if length == len(data) or not data:
            self._regions.pop(0)
        return len(data)


def member_at(expected: Opening, actual: Opening, at: int, is_tar: bool) -> str:
    """The file of the archive `expected` in which `actual` is the first to be another; "" where it is no file's.

    `at` is where the two, as they are stored, begin to differ.
    """
    with expected() as good:
        known = sum(map(len, _tolerant(decompressed(cast(BinaryIO, io.BufferedReader(_first(good, at)))))))
    with expected() as good, actual() as bad:
        same = _common(_tolerant(decompressed(good)), _tolerant(decompressed(bad)))
    with expected() as good:
        names = _tar_names if is_tar else _cpio_names
        return names(decompressed(good), max(known, same))


def _first(file: BinaryIO, length: int) -> Regions:
    return Regions(file, [(0, length)])


def _tolerant(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces up to what is damaged, cut into units so that two streams can be laid side by side."""
    left = b""
    try:
        for piece in pieces:
            left += piece
            whole = len(left) - len(left) % _UNIT
            yield from (left[n : n + _UNIT] for n in range(0, whole, _UNIT))
            left = left[whole:]
    except ArchiveError:
        pass
    if left:
        yield left


def _common(one: Iterator[bytes], other: Iterator[bytes]) -> int:
    """How many bytes are the same at the beginning of both."""
    count = 0
    for left, right in zip_longest(one, other, fillvalue=b""):
        if left != right:
            return count + first_other(left, right)
        count += len(left)
    return count


def first_other(left: bytes, right: bytes) -> int:
    """The number of the first byte in which two texts that are not the same differ, or at which one of them ends."""
    shorter = min(len(left), len(right))
    low, high = 0, shorter
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[:middle] == right[:middle] else (low, middle - 1)
    return low


class _Reader:
    """A stream read forward, and how far."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self.at = 0

    def read(self, size: int) -> bytes:
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        data, self._held = self._held[:size], self._held[size:]
        self.at += len(data)
        return data

    def skip(self, size: int) -> None:
        while size > 0 and (data := self.read(min(size, 1 << 20))):
            size -= len(data)


def _cpio_names(pieces: Iterator[bytes], at: int) -> str:
    """The file of a cpio of ours at byte `at` of it."""
    reader = _Reader(pieces)
    while len(header := reader.read(_HEADER)) == _HEADER:
        size, length = int(header[54:62], 16), int(header[94:102], 16)
        name = reader.read(length).rstrip(b"\0")
        reader.skip(-(_HEADER + length) % 4 + size + -size % 4)
        if name == TRAILER[_HEADER:].rstrip(b"\0"):
            return ""
        if at < reader.at:
            return name.decode("utf-8", "surrogateescape")
    return ""


def _tar_names(pieces: Iterator[bytes], at: int) -> str:
    """The file of a part of a tar of ours at byte `at` of it."""
    stream = io.BufferedReader(_Stream(pieces))
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            if at < info.offset_data + -(-info.size // 512) * 512:
                return info.name
    return ""


class _Stream(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._reader = _Reader(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
