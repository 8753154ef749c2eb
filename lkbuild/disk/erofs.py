"""EROFS without compression: a read-only root filesystem as extents, whose files' contents lie in blocks of 4096.

Linux, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.  Readable from Linux 5.4 on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from lkbuild.archive.entry import FIXED_TIME, Kind, shown
from lkbuild.disk.crc32c import crc32c
from lkbuild.disk.extents import Extent
from lkbuild.disk.identity import derived_guid
from lkbuild.disk.layout import PAGE, Ranges, in_order, round_up
from lkbuild.disk.limits import size_text
from lkbuild.disk.tree import Inode, Member, inodes, tree
from lkbuild.errors import StepError

MAX_BLOCKS = 0xFFFFFFFF

_SUPERBLOCK = 1024
_SLOT = 32
"""Inodes are numbered by the slots of 32 bytes from the file system's beginning."""

_INODE = 64
_PLAIN, _INLINE = 0, 2
_CHECKSUM, _MTIME = 1, 2
_NOWHERE = 0xFFFFFFFF

_FORMS: dict[Kind, tuple[int, int]] = {
    "file": (0o100000, 1),
    "directory": (0o040000, 2),
    "char": (0o020000, 3),
    "block": (0o060000, 4),
    "fifo": (0o010000, 5),
    "symlink": (0o120000, 7),
}
"""The mode's upper bits, and the type in a directory."""

_NAMESPACES = (
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
)
_MAX_XATTRS = 12 + 4 * 0xFFFE


@dataclass(slots=True, eq=False)
class _Placed:
    """Where an inode is: its slot, the attributes behind it, how much stands inline, the first block of the rest."""

    xattrs: bytes
    size: int
    slot: int = 0
    inline: int = 0
    block: int = 0


def erofs(members: Iterable[Member], seed: bytes, time: int = FIXED_TIME) -> list[Extent]:
    """The whole file system, with the owners, modes, times, devices, hard links and extended attributes of the members.

    `time` is the file system's.  StepError for attributes that EROFS has no place for, and beyond 16 TiB.
    """
    root = tree(members)
    placed = {inode: _Placed(_xattrs(inode), _size(inode)) for inode in inodes(root)}
    end = _number(placed)
    blocks = _give_blocks(placed, round_up(end, PAGE) // PAGE)
    if blocks > MAX_BLOCKS:
        raise StepError(
            f"a root filesystem of {size_text(blocks * PAGE)} (EROFS has at most 16 TiB)", "make it smaller"
        )
    superblock = _superblock(placed[root].slot, len(placed), blocks, (seed, time))
    return in_order(chain([(_SUPERBLOCK, superblock)], _inodes(placed), _blocks(placed)), blocks * PAGE)


def _size(inode: Inode) -> int:
    """Bytes of an inode's contents; a directory's are made of blocks that are full but for the last."""
    if not inode.is_directory:
        return inode.size
    full, used = 0, 0
    for name in _names(inode):
        if used + 12 + len(name) > PAGE:
            full, used = full + PAGE, 0
        used += 12 + len(name)
    return full + used


def _names(directory: Inode) -> list[bytes]:
    return sorted([b".", b"..", *directory.children])


def _number(placed: dict[Inode, _Placed]) -> int:
    """Give the inodes their slots, from the second block on; returns where they end.

    The end of a file stands behind its inode where both go into one block (`FLAT_INLINE`).
    """
    at = PAGE
    for inode, place in placed.items():
        head = _INODE + len(place.xattrs)
        tail = place.size % PAGE if inode.entry.kind in ("file", "directory") else place.size
        place.inline = tail if head + tail <= PAGE else 0
        need = head + place.inline
        if at % PAGE + need > PAGE:
            at = round_up(at, PAGE)
        place.slot = at // _SLOT
        at = round_up(at + need, _SLOT)
    return at


def _give_blocks(placed: dict[Inode, _Placed], block: int) -> int:
    """Give contents that do not stand inline their blocks, from `block` on; returns the number of all blocks."""
    for place in placed.values():
        count = -(-(place.size - place.inline) // PAGE)
        if count:
            place.block = block
            block += count
    return block


def _superblock(root: int, count: int, blocks: int, origin: tuple[bytes, int]) -> bytes:
    seed, time = origin
    head = struct.pack("<IBBHQQII", _CHECKSUM | _MTIME, 12, 0, root, count, time, 0, blocks)
    identity = derived_guid(seed, "erofs") + b"lkbuild".ljust(16, b"\0")
    fields = head + struct.pack("<II", 0, 0) + identity
    magic = struct.pack("<I", 0xE0F5E1E2)
    checked = (magic + bytes(4) + fields).ljust(PAGE - _SUPERBLOCK, b"\0")
    return magic + struct.pack("<I", crc32c(checked)) + checked[8:]


def _inode(inode: Inode, place: _Placed) -> bytes:
    """The extended inode with its attributes."""
    entry = inode.entry
    form, _ = _FORMS[entry.kind]
    layout = _INLINE if place.inline else _PLAIN
    count = (len(place.xattrs) - 12) // 4 + 1 if place.xattrs else 0
    union = _device(*entry.device) if entry.kind in ("char", "block") else place.block or _NOWHERE
    head = struct.pack("<HHHHQI", 1 | layout << 1, count, form | entry.mode, 0, place.size, union)
    owner = struct.pack("<IIIqII16x", inode.number, entry.uid, entry.gid, entry.mtime, 0, inode.links)
    return head + owner + place.xattrs


def _device(major: int, minor: int) -> int:
    """As Linux encodes it (`new_encode_dev`)."""
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & 0xFFF00) << 12


def _inodes(placed: dict[Inode, _Placed]) -> Iterator[tuple[int, bytes | list[Extent]]]:
    """What goes where before all blocks: the inodes, each with the end of its contents that stands behind it."""
    for inode, place in placed.items():
        at = place.slot * _SLOT
        yield at, _inode(inode, place)
        yield at + _INODE + len(place.xattrs), _content(inode, placed, (place.size - place.inline, place.inline))


def _blocks(placed: dict[Inode, _Placed]) -> Iterator[tuple[int, bytes | list[Extent]]]:
    """What goes where in whole blocks."""
    for inode, place in placed.items():
        if place.block:
            yield place.block * PAGE, _content(inode, placed, (0, place.size - place.inline))


def _content(inode: Inode, placed: dict[Inode, _Placed], part: tuple[int, int]) -> bytes | list[Extent]:
    """Part of an inode's contents: from which byte on, and how many."""
    start, count = part
    if inode.entry.kind == "file":
        return Ranges(inode.extents).cut(start, count) if count else []
    data = b"".join(_entries(inode, placed)) if inode.is_directory and count else inode.entry.target
    return data[start : start + count]


def _entries(directory: Inode, placed: dict[Inode, _Placed]) -> Iterator[bytes]:
    """A directory block by block: entries, then names; all but the last are filled up."""
    names: list[bytes] = []
    used = 0
    for name in _names(directory):
        if used + 12 + len(name) > PAGE:
            yield _block(directory, names, placed).ljust(PAGE, b"\0")
            names, used = [], 0
        names.append(name)
        used += 12 + len(name)
    yield _block(directory, names, placed)


def _block(directory: Inode, names: list[bytes], placed: dict[Inode, _Placed]) -> bytes:
    own = {b".": directory, b"..": directory.parent or directory}
    head, offset = b"", 12 * len(names)
    for name in names:
        inode = own.get(name) or directory.children[name]
        head += struct.pack("<QHBB", placed[inode].slot, offset, _FORMS[inode.entry.kind][1], 0)
        offset += len(name)
    return head + b"".join(names)


def _xattrs(inode: Inode) -> bytes:
    """The attributes behind an inode; StepError for those EROFS cannot have."""
    made = b""
    for name, value in sorted(inode.entry.xattrs):
        found = next(((p, i) for p, i in _NAMESPACES if name.startswith(p) and (p.endswith(b".") or name == p)), None)
        rest = name[len(found[0]) :] if found else name
        if found is None or len(rest) > 255 or len(value) > 0xFFFF:
            raise StepError(
                f"{shown(inode.entry.path)}: EROFS cannot store the extended attribute {shown(name)}"
                f" of {len(value)} bytes",
                "remove it from the image, or choose another format",
            )
        made += struct.pack("<BBH", len(rest), found[1], len(value)) + rest + value
        made += bytes(-len(made) % 4)
    if len(made) + 12 > _MAX_XATTRS:
        raise StepError(
            f"{shown(inode.entry.path)} has extended attributes of {len(made)} bytes (at most {_MAX_XATTRS - 12})",
            "remove some from the image, or choose another format",
        )
    return bytes(12) + made if made else b""
