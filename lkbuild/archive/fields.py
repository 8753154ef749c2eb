"""The fields of tar headers: numbers, PAX records and maps of sparse files.  What is wrong raises ValueError.

POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format" (base-256
numbers, old sparse headers) and "Storing Sparse Files" (PAX versions 0.0, 0.1 and 1.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from lkbuild.archive.entry import Buffer

MAX_RECORDS = 1 << 20
"""The most bytes of extended headers one member may have, and all global ones together."""

MAX_SIZE = (1 << 63) - 1
MAX_SPARSE = 1 << 36
"""The largest sparse file that is expanded, 64 GiB: a header of 512 bytes may claim any size."""

MAX_EXTENTS = 1 << 17

_SECONDS = re.compile(rb"(-?[0-9]{1,19})(?:\.[0-9]*)?")
_ZEROS = memoryview(bytes(1 << 20))

Extents = list[tuple[int, int]]
"""A sparse file's stored pieces: offset in the file and length, in order."""


def number(field: bytes) -> int:
    """A number of a header: octal digits, or base-256 where the first bit is set."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    text = field.partition(b"\0")[0].strip()
    if not text:
        return 0
    if not text.isdigit():
        raise ValueError(f"not a number: {field!r}")
    return int(text, 8)


@lru_cache(maxsize=4096)
def common_number(field: bytes) -> int:
    """`number` for modes, owners and times, which repeat: faster, and one object each."""
    return number(field)


def decimal(text: bytes, limit: int = MAX_SIZE) -> int:
    """A decimal number of a PAX record, from 0 to `limit`."""
    if not text.isdigit() or len(text) > 20 or int(text) > limit:
        raise ValueError(f"not a number from 0 to {limit}: {text[:40]!r}")
    return int(text)


def seconds(text: bytes) -> int:
    """A PAX time: decimal, perhaps negative, the fraction dropped."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text[:40]!r}")
    return int(match[1])


def records(data: bytes) -> dict[bytes, bytes]:
    """The records `length keyword=value newline` of a PAX header.

    NB: sparse format 0.0 repeats two keywords for every extent; they are joined as format 0.1 writes them.
    """
    found: dict[bytes, bytes] = {}
    extents: list[bytes] = []
    at, end = 0, len(data)
    while at < end and data[at]:
        blank = data.find(b" ", at, at + 20)
        length = data[at:blank] if blank > 0 else b""
        stop = at + int(length) if length.isdigit() else 0
        if stop <= blank + 2 or stop > end or data[stop - 1] != 0x0A:
            raise ValueError(f"damaged PAX record at byte {at} of the header: {data[at : at + 40]!r}")
        key, equals, value = data[blank + 1 : stop - 1].partition(b"=")
        if not equals:
            raise ValueError(f"PAX record without a value: {key[:40]!r}")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            extents.append(value)
        else:
            found[key] = value
        at = stop
    if extents:
        found[b"GNU.sparse.map"] = b",".join(extents)
    return found


def record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def extents(numbers: Iterable[int], size: int, stored: int) -> Extents:
    """The map of a sparse file of `size` bytes, `stored` of them following; offsets and lengths alternate."""
    if not 0 <= size <= MAX_SPARSE:
        raise ValueError(f"a sparse file of {size} bytes (at most {MAX_SPARSE})")
    values = list(numbers)
    if len(values) % 2 or len(values) > 2 * MAX_EXTENTS:
        raise ValueError(f"a sparse map of {len(values)} numbers")
    found = list(zip(values[::2], values[1::2], strict=True))
    at = 0
    for offset, length in found:
        if offset < at or length < 0 or offset + length > size:
            raise ValueError(f"a sparse map with {length} bytes at {offset} of a file of {size}")
        at = offset + length
    if sum(length for _, length in found) > stored:
        raise ValueError(f"a sparse map of more bytes than the {stored} that follow")
    return found


def decimals(text: bytes) -> list[int]:
    """The numbers of a PAX sparse map, separated by commas."""
    if text.count(b",") > 2 * MAX_EXTENTS:
        raise ValueError("a sparse map that is too long")
    return [decimal(part) for part in text.split(b",")] if text else []


def expand(pieces: Iterable[Buffer], found: Extents, size: int) -> Iterator[Buffer]:
    """The contents of a sparse file: its stored pieces at their offsets and zeros between."""
    source = iter(pieces)
    current = memoryview(b"")
    at = 0
    for offset, length in found:
        yield from _zeros(offset - at)
        at = offset + length
        while length:
            current = current or memoryview(next(source, b""))
            if not current:
                raise ValueError("the data of a sparse file end too early")
            yield current[:length]
            taken = min(length, len(current))
            current, length = current[taken:], length - taken
    yield from _zeros(size - at)


def _zeros(count: int) -> Iterator[Buffer]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)
