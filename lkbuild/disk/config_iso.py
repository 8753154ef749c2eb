"""A CD with one file, `config`: how a machine under QEMU is given metadata.

ECMA-119 (ISO 9660), interchange level 1, no extensions: Linux shows `CONFIG.;1` as `config` (isofs, `map=normal`),
which is the name that LinuxKit's metadata package reads from every `/dev/sr*`.
"""

from __future__ import annotations

import struct

SECTOR = 2048
_TABLE_LITTLE, _TABLE_BIG, _ROOT, _FILE = 18, 19, 20, 21
_NAME = b"CONFIG.;1"
_RECORD_DATE = bytes((117, 4, 18, 16, 30, 0, 0))
"""The fixed time, 2017-04-18 16:30:00 UTC, as section 9.1.5 has it; `_DATE` as 8.4.26.1 does."""
_DATE, _NO_DATE = b"2017041816300000\0", b"0" * 16 + b"\0"


def config_iso(data: bytes) -> bytes:
    """The image of a CD that holds `data` in its file `config`; the same bytes for the same data."""
    sectors = _FILE + -(-len(data) // SECTOR)
    directory = (
        _record(b"\0", _ROOT, SECTOR, 2) + _record(b"\1", _ROOT, SECTOR, 2) + _record(_NAME, _FILE, len(data), 0)
    )
    image = (
        bytes(16 * SECTOR)
        + _volume(sectors)
        + _sector(b"\xffCD001\1")
        + _sector(struct.pack("<BBIH2s", 1, 0, _ROOT, 1, b"\0\0"))
        + _sector(struct.pack(">BBIH2s", 1, 0, _ROOT, 1, b"\0\0"))
        + _sector(directory)
        + data
    )
    return image.ljust(sectors * SECTOR, b"\0")


def _volume(sectors: int) -> bytes:
    """The primary volume descriptor (8.4)."""
    texts = b" " * 128 * 4 + b" " * 37 * 3
    dates = _DATE + _DATE + _NO_DATE + _NO_DATE
    table = struct.pack("<II", _TABLE_LITTLE, 0) + struct.pack(">II", _TABLE_BIG, 0)
    return _sector(
        b"\1CD001\1\0"
        + b" " * 32
        + b"CONFIG".ljust(32)
        + bytes(8)
        + _both(sectors, "I")
        + bytes(32)
        + _both(1, "H") * 2
        + _both(SECTOR, "H")
        + _both(10, "I")
        + table
        + _record(b"\0", _ROOT, SECTOR, 2)
        + texts
        + dates
        + b"\1"
    )


def _record(name: bytes, sector: int, size: int, flags: int) -> bytes:
    """A directory record (9.1); its length is even."""
    length = 33 + len(name) + (len(name) + 1) % 2
    fields = _both(sector, "I") + _both(size, "I") + _RECORD_DATE + bytes((flags, 0, 0)) + _both(1, "H")
    return (bytes((length, 0)) + fields + bytes((len(name),)) + name).ljust(length, b"\0")


def _both(number: int, size: str) -> bytes:
    return struct.pack("<" + size, number) + struct.pack(">" + size, number)


def _sector(data: bytes) -> bytes:
    return data.ljust(SECTOR, b"\0")
