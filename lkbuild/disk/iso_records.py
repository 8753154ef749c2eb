"""Numbers, dates, names and directory records of ISO 9660 (ECMA-119, section 7 to 9)."""

from __future__ import annotations

import calendar
import struct
from datetime import UTC, datetime, timedelta

SECTOR = 2048

DIRECTORY, MULTI_EXTENT = 0x02, 0x80
"""Flags of a directory record."""

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_MAX_NAME, _MAX_EXTENSION = 30, 8
_FIRST, _LAST = -2208988800, 5869583999
"""1900 and the end of 2155: the years of a directory record."""


def both16(value: int) -> bytes:
    """Both byte orders (7.2.3)."""
    return struct.pack("<H", value) + struct.pack(">H", value)


def both32(value: int) -> bytes:
    """Both byte orders (7.3.3)."""
    return struct.pack("<I", value) + struct.pack(">I", value)


def _date(time: int) -> datetime:
    return datetime.fromtimestamp(min(max(time, _FIRST), _LAST), UTC)


def short_date(time: int) -> bytes:
    """Seven bytes (9.1.5), UTC."""
    at = _date(time)
    return bytes((at.year - 1900, at.month, at.day, at.hour, at.minute, at.second, 0))


def time_of(date: bytes) -> int:
    """The time that `short_date` writes, in seconds; ValueError for no date."""
    year, month, day, hour, minute, second, zone = struct.unpack("6Bb", date)
    quarters = timedelta(minutes=15 * zone)
    return calendar.timegm((datetime(year + 1900, month, day, hour, minute, second, tzinfo=UTC) - quarters).timetuple())


def long_date(time: int) -> bytes:
    """Seventeen bytes (8.4.26.1), UTC."""
    at = _date(time)
    text = f"{at.year:04}{at.month:02}{at.day:02}{at.hour:02}{at.minute:02}{at.second:02}00"
    return text.encode("ascii") + b"\0"


NO_DATE = b"0" * 16 + b"\0"


def text(value: str, size: int) -> bytes:
    """Letters as a volume descriptor has them: capitals, blanks behind."""
    return value.upper().encode("ascii", "replace")[:size].ljust(size)


def _clean(name: bytes) -> bytes:
    return bytes(byte if byte in _LETTERS else 0x5F for byte in name.upper())


class Names:
    """The ISO names of one directory: all different, 8.3 kept as it is, so that ISOLINUX finds its files."""

    def __init__(self) -> None:
        self._used: set[bytes] = set()
        self._next: dict[bytes, int] = {}

    def take(self, name: bytes, is_directory: bool) -> bytes:
        """The identifier for a name that is given in Rock Ridge too."""
        stem, dot, extension = name.rpartition(b".")
        if is_directory or not dot or not stem:
            stem, extension = name, b""
        stem, extension = _clean(stem), _clean(extension)[:_MAX_EXTENSION]
        room = _MAX_NAME - len(extension)
        suffix = b"" if is_directory else b"." + extension + b";1"
        found = stem[:room] + suffix
        while found in self._used:
            number = self._next.get(stem[:room] + suffix, 0)
            self._next[stem[:room] + suffix] = number + 1
            tail = b"%X" % number
            found = stem[: room - len(tail)] + tail + suffix
        self._used.add(found)
        return found


def sort_key(identifier: bytes) -> tuple[bytes, bytes]:
    """The order of records in a directory (9.3): by name, then by extension, as if filled up with blanks."""
    name, _, extension = identifier.partition(b".")
    return name.ljust(_MAX_NAME + 1), extension.partition(b";")[0].ljust(_MAX_NAME)


def record(identifier: bytes, place: tuple[int, int], time: int, flags: int, system_use: bytes) -> bytes:
    """A directory record (9.1) for what lies at `place`, sector and bytes."""
    sector, size = place
    name = bytes((len(identifier),)) + identifier + bytes(1 - len(identifier) % 2)
    fields = b"\0" + both32(sector) + both32(size) + short_date(time) + bytes((flags, 0, 0)) + both16(1) + name
    length = 1 + len(fields) + len(system_use)
    length += length % 2
    return (bytes((length,)) + fields + system_use).ljust(length, b"\0")


def record_room(identifier: bytes) -> int:
    """The bytes that a record with this identifier has for system use."""
    return 254 - 33 - len(identifier) - (1 - len(identifier) % 2)
