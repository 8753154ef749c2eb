"""Rock Ridge: Unix names, owners, modes, links and devices in an ISO 9660 file system.

IEEE P1282 (RRIP 1.12) over IEEE P1281 (SUSP 1.12).  What does not fit into a directory record continues elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from lkbuild.archive.entry import Kind, shown
from lkbuild.disk.iso_records import SECTOR, both32, short_date
from lkbuild.disk.tree import Inode
from lkbuild.errors import StepError

MAX_NAME = 253
"""Linux cuts off what is longer (fs/isofs/rock.c, get_rock_ridge_filename)."""

_TYPES: dict[Kind, int] = {
    "file": 0o100000,
    "directory": 0o040000,
    "symlink": 0o120000,
    "char": 0o020000,
    "block": 0o060000,
    "fifo": 0o010000,
}
KINDS = {type: kind for kind, type in _TYPES.items()}
"""What the upper bits of a mode mean."""

_CONTINUED = 28
_MAX_FIELD = 250
_IDENTIFIER = b"IEEE_P1282"
_DESCRIPTION = b"THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
_SOURCE = b"PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION."


class Continuations:
    """The sectors, from `first` on, in which fields go on that have no room in their record."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.data = bytearray()

    def fit(self, fields: Sequence[bytes], room: int) -> bytes:
        """The fields as they stand in `room` bytes, the last perhaps saying where the rest is."""
        if sum(map(len, fields)) <= room:
            return b"".join(fields)
        count, used = 0, 0
        while used + len(fields[count]) <= room - _CONTINUED:
            used += len(fields[count])
            count += 1
        return b"".join(fields[:count]) + self._pointer(self.fit(fields[count:], SECTOR))

    def _pointer(self, data: bytes) -> bytes:
        """Store what continues, in one sector; returns the field CE that says where."""
        if len(self.data) % SECTOR + len(data) > SECTOR:
            self.data += bytes(-len(self.data) % SECTOR)
        sector, offset = divmod(len(self.data), SECTOR)
        self.data += data
        return _field(b"CE", both32(self.first + sector) + both32(offset) + both32(len(data)))


def attributes(inode: Inode) -> list[bytes]:
    """Mode, links, owner, number, times and device."""
    entry = inode.entry
    mode = _TYPES[entry.kind] | entry.mode
    numbers = (mode, inode.links, entry.uid, entry.gid, inode.number)
    fields = [_field(b"PX", b"".join(map(both32, numbers))), _field(b"TF", b"\x0e" + short_date(entry.mtime) * 3)]
    if entry.kind in ("char", "block"):
        fields.append(_field(b"PN", both32(entry.device[0]) + both32(entry.device[1])))
    return fields


def named(name: bytes, inode: Inode) -> list[bytes]:
    """The fields of an entry in a directory; StepError for a name that Linux would cut."""
    if len(name) > MAX_NAME:
        raise StepError(
            f"{shown(inode.entry.path)}: a name of {len(name)} bytes (Linux reads {MAX_NAME} from an ISO)",
            "give it a shorter name, or choose kernel+squashfs or kernel+erofs",
        )
    pieces = [name[at : at + _MAX_FIELD] for at in range(0, len(name), _MAX_FIELD)]
    fields = [_field(b"NM", _more(number, pieces) + piece) for number, piece in enumerate(pieces)]
    if inode.entry.kind == "symlink":
        fields += _symlink(inode.entry.target)
    return attributes(inode) + fields


def announcement() -> tuple[bytes, bytes]:
    """The fields SP and ER, which go first and last in the root directory's own record."""
    lengths = bytes((len(_IDENTIFIER), len(_DESCRIPTION), len(_SOURCE), 1))
    return _field(b"SP", b"\xbe\xef\0"), _field(b"ER", lengths + _IDENTIFIER + _DESCRIPTION + _SOURCE)


def _field(signature: bytes, data: bytes) -> bytes:
    return signature + bytes((4 + len(data), 1)) + data


def _more(number: int, pieces: Sequence[bytes]) -> bytes:
    return b"\1" if number < len(pieces) - 1 else b"\0"


def _symlink(target: bytes) -> list[bytes]:
    """The fields SL: components, a long one in parts, as many as a field holds (RRIP 4.1.3)."""
    components = [b"\x08\0"] if target.startswith(b"/") else []
    for part in target.split(b"/"):
        if part in (b".", b".."):
            components.append(b"\x02\0" if part == b"." else b"\x04\0")
        elif part:
            pieces = [part[at : at + _MAX_FIELD - 10] for at in range(0, len(part), _MAX_FIELD - 10)]
            components += [_more(n, pieces) + bytes((len(piece),)) + piece for n, piece in enumerate(pieces)]
    fields, current = [], b""
    for component in components:
        if len(current) + len(component) > _MAX_FIELD - 1:
            fields.append(current)
            current = b""
        current += component
    fields.append(current)
    return [_field(b"SL", _more(number, fields) + field) for number, field in enumerate(fields)]
