"""Reading ISO 9660 with Rock Ridge: the counterpart of `iso`, `iso_records`, `rock_ridge` and `el_torito`.

ECMA-119, IEEE P1281 (SUSP) and P1282 (RRIP) 1.12, El Torito 1.0.  What is not as they have it is a ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from lkbuild.archive.entry import MAX_PATH, Entry
from lkbuild.disk.iso_records import DIRECTORY, MULTI_EXTENT, SECTOR, time_of
from lkbuild.disk.rock_ridge import KINDS
from lkbuild.disk.view import MAX_READ, View, joined
from lkbuild.frozen import frozen

_VOLUME, _BOOT = 16 * SECTOR, 17 * SECTOR
_MAX_CONTINUED = 64
"""A record's fields go on in so many places at the most."""
_MAX_SECTORS = 1 << 17
"""Sectors of all directories together: 256 MiB."""
_OWN = (b"\0", b"\1")
"""The identifiers of a directory itself, and of the one above it."""


@frozen
class _Record:
    """What a directory says of a file, with all its extents: (sector, bytes) each."""

    identifier: bytes
    extents: tuple[tuple[int, int], ...]
    flags: int
    date: bytes
    system_use: bytes


class IsoReader:
    """An ISO; ValueError for what is none, here and below."""

    def __init__(self, disk: View) -> None:
        if disk.read(_VOLUME, 7) != b"\1CD001\1":
            raise ValueError("no ISO 9660")
        sector, size = disk.unpack("<I4xI", _VOLUME + 156 + 2)
        self._disk, self._root = disk, (sector, size)

    def boots(self) -> bool:
        """Whether the ISO says that it is bootable (El Torito)."""
        (name,) = self._disk.unpack("<7x32s", _BOOT)
        return bool(name.rstrip(b"\0") == b"EL TORITO SPECIFICATION")

    def bootable(self) -> Iterator[View]:
        """What El Torito's catalogue says is bootable, each from its beginning to the ISO's end."""
        if not self.boots():
            return
        (catalogue,) = self._disk.unpack("<I", _BOOT + 71)
        for at in range(32, SECTOR, 32):
            bootable, sector = self._disk.unpack("<B7xI", catalogue * SECTOR + at)
            if bootable == 0x88:
                yield self._disk.at(sector * SECTOR)

    def find(self, *path: str) -> View | None:
        """A file by its ISO names, in capitals and without version; None where it is not there."""
        extents: tuple[tuple[int, int], ...] = (self._root,)
        for name in path:
            (sector, size), *_ = extents
            found = [
                each
                for each in self._records(sector, min(size, MAX_READ))
                if each.identifier.partition(b";")[0].rstrip(b".").upper() == name.encode()
            ]
            if not found:
                return None
            extents = found[0].extents
        return self._contents(extents)

    def members(self) -> Iterator[tuple[Entry, View]]:
        """Every path but the root's, a directory before what is in it, as Rock Ridge has it; and files' contents.

        Directories that share a sector, as those of a loop do, are an error.
        """
        skip = self._skip()
        names: dict[int, bytes] = {}
        seen, pending = set[int](), [(b"", self._root)]
        while pending:
            above, (first, size) = pending.pop()
            sectors = range(first, first + -(-size // SECTOR))
            if len(sectors) > _MAX_SECTORS - len(seen) or not seen.isdisjoint(sectors):
                raise ValueError(f"a directory of {size} bytes in sector {first}, where others are or no end is")
            for record in self._records(first, size, seen):
                if record.identifier in _OWN:
                    continue
                entry, serial = _entry(above, record, self._fields(record.system_use[skip:]))
                if entry.kind == "directory":
                    pending.append((entry.path, record.extents[0]))
                elif serial and (path := names.setdefault(serial, entry.path)) != entry.path:
                    entry = entry._replace(kind="hardlink", target=path, size=0)
                yield entry, self._contents(record.extents if entry.kind == "file" else ())

    def _contents(self, extents: Iterable[tuple[int, int]]) -> View:
        return joined([self._disk.part(sector * SECTOR, size) for sector, size in extents])

    def _records(self, first: int, size: int, seen: set[int] | None = None) -> Iterator[_Record]:
        """The records of a directory (9.1), those of several extents as one; the sectors read go to `seen`."""
        before: tuple[tuple[int, int], ...] = ()
        for sector in range(first, first + -(-size // SECTOR)):
            data, at = self._disk.read(sector * SECTOR, SECTOR), 0
            if seen is not None:
                seen.add(sector)
            while at + 34 <= SECTOR and data[at] >= 34:  # no record goes on in the next sector
                place, count, date, flags, length = struct.unpack_from("<2xI4xI4x7sB6xB", data, at)
                end = at + 33 + length
                system_use = data[end + 1 - length % 2 : at + data[at]]
                before = (*before, (place, count))
                if not flags & MULTI_EXTENT:
                    yield _Record(data[at + 33 : end], before, flags, date, system_use)
                    before = ()
                elif len(before) > MAX_PATH:
                    raise ValueError("a file of too many extents")
                at += data[at]

    def _skip(self) -> int:
        """How many bytes stand before the fields of a record (SP)."""
        for record in self._records(self._root[0], min(self._root[1], SECTOR)):
            if record.system_use[:2] == b"SP" and record.system_use[4:6] == b"\xbe\xef":
                return int.from_bytes(record.system_use[6:7])
            break
        raise ValueError("an ISO without Rock Ridge, which has no owners and modes")

    def _fields(self, data: bytes) -> dict[bytes, bytes]:
        """The fields of a record and what continues them, those of one name as one."""
        found: dict[bytes, bytes] = {}
        for _ in range(_MAX_CONTINUED):
            continued, at = b"", 0
            while at + 4 <= len(data) and data[at + 2] >= 4:
                name, field = data[at : at + 2], data[at + 4 : at + data[at + 2]]
                if name == b"CE":
                    continued = field
                else:
                    found[name] = found.get(name, b"") + _part(name, field)
                at += data[at + 2]
            if len(continued) < 24:
                return found
            place, offset, size = (_number(continued, at) for at in (0, 8, 16))
            data = self._disk.read(place * SECTOR + offset, min(size, SECTOR))
        raise ValueError("fields that go on and on")


def _part(name: bytes, field: bytes) -> bytes:
    """What a field adds to others of its name: those of names and links have flags in front."""
    return field[1:] if name in (b"NM", b"SL") else field


def _number(data: bytes, at: int) -> int:
    """A number in both byte orders; 0 where there is none."""
    return int.from_bytes(data[at : at + 4], "little")


def _entry(above: bytes, record: _Record, fields: dict[bytes, bytes]) -> tuple[Entry, int]:
    """What a record stands for, and the number of its file where that has several names, else 0."""
    name, attributes = fields.get(b"NM", b""), fields.get(b"PX", b"")
    kind = KINDS.get(_number(attributes, 0) & 0o170000)
    if kind is None or (kind == "directory") != bool(record.flags & DIRECTORY):
        raise ValueError(f"{record.identifier!r:.80} is of no kind that is known")
    if not name or b"/" in name or name in (b".", b"..") or len(above) + len(name) > MAX_PATH:
        raise ValueError(f"{record.identifier!r:.80} has no name that a file can have")
    path = b"%s/%s" % (above, name) if above else name
    mode, owner, group = (_number(attributes, at) for at in (0, 16, 24))
    size = sum(count for _, count in record.extents) if kind == "file" else 0
    target = _target(fields.get(b"SL", b"")) if kind == "symlink" else b""
    device = _device(fields.get(b"PN", b"")) if kind in ("char", "block") else (0, 0)
    links, serial = _number(attributes, 8), _number(attributes, 32)
    entry = Entry(path, kind, mode & 0o7777, owner, group, _time(record, fields), size, target, device)
    return entry, serial if links > 1 and kind != "directory" else 0


def _time(record: _Record, fields: dict[bytes, bytes]) -> int:
    """When a file was modified, by its field TF, else by its record."""
    stamps = fields.get(b"TF") or b"\0"
    if stamps[0] & 0x82 != 0x02:  # none of modification, or in the long form
        return time_of(record.date)
    at = 1 + 7 * (stamps[0] & 1)
    return time_of(stamps[at : at + 7].ljust(7, b"\0"))


def _target(components: bytes) -> bytes:
    """A symbolic link's text (RRIP 4.1.3)."""
    parts, joins, at = list[bytes](), False, 0
    while at + 2 <= len(components):
        flags, end = components[at], at + 2 + components[at + 1]
        text = {0x02: b".", 0x04: b"..", 0x08: b""}.get(flags & 0x0E, components[at + 2 : end])
        parts.append((parts.pop() if joins else b"") + text)
        joins, at = bool(flags & 1), end
    return b"/".join(parts) or b"/"


def _device(numbers: bytes) -> tuple[int, int]:
    """Major and minor; some write both into the lower number, as Linux knows (fs/isofs/rock.c)."""
    high, low = _number(numbers, 0), _number(numbers, 8)
    return (low >> 8, low & 0xFF) if low & ~0xFF and not high else (high, low)
