"""Reading files that others may have made: a range of bytes at a time, none of it believed to be there.

Whatever is not as its format has it is a ValueError, which readers leave to whoever asked: what is not understood is
not judged.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from lkbuild.frozen import frozen

MAX_READ = 1 << 20
"""The most bytes that are read at once: directories and headers are no larger."""


@frozen
class View:
    """`size` bytes, of which `fetch(offset, length)` gives a range that lies within them."""

    fetch: Callable[[int, int], bytes]
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes from `offset`; ValueError where they are not there, or are more than 1 MiB."""
        if offset < 0 or not 0 <= length <= MAX_READ or offset + length > self.size:
            raise ValueError(f"no {length} bytes at {offset} of {self.size}")
        data = self.fetch(offset, length)
        if len(data) != length:
            raise ValueError(f"{len(data)} bytes at {offset} instead of {length}")
        return data

    def unpack(self, form: str, offset: int) -> tuple[Any, ...]:
        """The numbers at `offset`, as `struct` writes their form."""
        return struct.unpack(form, self.read(offset, struct.calcsize(form)))

    def at(self, offset: int) -> View:
        """What begins at `offset`; ValueError beyond the end."""
        if not 0 <= offset <= self.size:
            raise ValueError(f"nothing at {offset} of {self.size}")
        return View(lambda skip, length: self.fetch(offset + skip, length), self.size - offset)

    def part(self, offset: int, size: int) -> View:
        """So many bytes from `offset`; ValueError where they are not there."""
        if size < 0 or offset + size > self.size:
            raise ValueError(f"no {size} bytes at {offset} of {self.size}")
        return View(self.at(offset).fetch, size)

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of at most 1 MiB."""
        for at in range(0, self.size, MAX_READ):
            yield self.read(at, min(MAX_READ, self.size - at))


def of_file(file: BinaryIO) -> View:
    """A view of an open file."""

    def fetch(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    return View(fetch, file.seek(0, 2))


def joined(parts: Sequence[View]) -> View:
    """A view of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]

    def fetch(offset: int, length: int) -> bytes:
        made = bytearray()
        for part in parts:
            count = min(max(part.size - offset, 0), length - len(made))
            made += part.read(offset, count) if count else b""
            offset = max(offset - part.size, 0)
        return bytes(made)

    return View(fetch, sum(part.size for part in parts))


def in_units(unit: int, size: int, piece: Callable[[int, int, int], bytes]) -> View:
    """A view put together of units of `unit` bytes: `piece(number, skip, count)` gives bytes of one of them."""

    def fetch(offset: int, length: int) -> bytes:
        made, end = bytearray(), offset + length
        while offset < end:
            number, skip = divmod(offset, unit)
            count = min(unit - skip, end - offset)
            made += piece(number, skip, count)
            offset += count
        return bytes(made)

    return View(fetch, size)
