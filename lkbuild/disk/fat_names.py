"""Names in FAT directories: the short ones, the long ones beside them, and the entries of both.

Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (fatgen103), "FAT Directory Structure" and "Long Directory
Entries".
"""

from __future__ import annotations

import struct
from collections.abc import Container
from datetime import UTC, datetime

from lkbuild.errors import StepError

ENTRY = 32
"""Bytes of a directory entry."""

VOLUME, DIRECTORY, ARCHIVE = 0x08, 0x10, 0x20
"""Attributes of an entry."""

_SHORT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'()-@^_`{}~")
_FORBIDDEN = frozenset('"*/:<>?\\|') | {chr(code) for code in range(32)} | {"\x7f"}
_FIRST, _LAST = 315532800, 4354819199
"""1980 and the end of 2107: the years a FAT can say."""

_PART = 26
"""Bytes of UTF-16 in one entry of a long name."""


def check_name(name: str) -> None:
    """StepError for what is no file's name on a FAT."""
    bad = sorted(_FORBIDDEN & set(name))
    try:
        units = len(name.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        bad, units = ["bytes that are no UTF-8"], 0
    if bad or units > 255 or name.strip(". ") == "" or name != name.rstrip(". "):
        reason = f"it holds {bad[0]!r}" if bad else f"it has {units} characters" if units > 255 else "it ends badly"
        raise StepError(
            f"{name!r:.100} cannot be a file's name on a FAT file system: {reason}",
            'names have 1 to 255 characters, none of "*/:<>?\\| among them, and no dot or blank at the end',
        )


def plain_name(name: str) -> bytes | None:
    """The 11 bytes of a name that is an 8.3 name but for its capitals; None for others."""
    base, suffix = _parts(name)
    spelled = (base + b"." + suffix if suffix else base).decode("ascii")
    fits = spelled == name.upper() and 0 < len(base) <= 8 and len(suffix) <= 3
    return base.ljust(8) + suffix.ljust(3) if fits else None


def short_name(name: str, used: Container[bytes]) -> tuple[bytes, bool]:
    """The 11 bytes of an 8.3 name that is not in `used`, and whether the long name must stand beside it."""
    plain = plain_name(name)
    if plain is not None and plain not in used:
        return plain, name != name.upper()
    base, suffix = _parts(name)
    for number in range(1, 10**6):
        tail = b"~%d" % number
        candidate = (base[: 8 - len(tail)] + tail).ljust(8) + suffix[:3].ljust(3)
        if candidate not in used:
            return candidate, True
    raise StepError(f"{name!r:.100}: a directory has a million names that begin alike", "use subdirectories")


def _parts(name: str) -> tuple[bytes, bytes]:
    """Name and extension, without what a short name cannot have."""
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem.strip("."):
        stem, extension = name.strip("."), ""
    return _shortened(stem), _shortened(extension)


def _shortened(text: str) -> bytes:
    kept = text.upper().encode("ascii", "replace").replace(b" ", b"").replace(b".", b"")
    return bytes(byte if byte in _SHORT else 0x5F for byte in kept)


def long_entries(name: str, short: bytes) -> bytes:
    """The entries that hold a long name and go before the short one's, the last part first."""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
    text = name.encode("utf-16-le")
    count = -(-len(text) // _PART)
    if len(text) % _PART:
        text += b"\0\0"
    text = text.ljust(count * _PART, b"\xff")
    made = b""
    for number in range(count, 0, -1):
        piece = text[(number - 1) * _PART : number * _PART]
        order = number | (0x40 if number == count else 0)
        made += bytes((order,)) + piece[:10] + bytes((0x0F, 0, checksum)) + piece[10:22] + b"\0\0" + piece[22:]
    return made


def entry(short: bytes, attributes: int, cluster: int, size: int, time: int) -> bytes:
    """One directory entry; `time` is in seconds since 1970, UTC."""
    clock, date = _dos_time(time)
    low, high = cluster & 0xFFFF, cluster >> 16
    return short + struct.pack("<BBBHHHHHHHI", attributes, 0, 0, clock, date, date, high, clock, date, low, size)


def _dos_time(time: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(min(max(time, _FIRST), _LAST), UTC)
    return at.hour << 11 | at.minute << 5 | at.second // 2, (at.year - 1980) << 9 | at.month << 5 | at.day
