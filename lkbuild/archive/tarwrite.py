"""Writing tar: members whose bytes follow from the entry alone, ustar with PAX records where ustar cannot say it.

A tar segment is members without the blocks that end an archive; segments behind one another, and then
`END_OF_ARCHIVE`, are a tar.
"""

from __future__ import annotations

from lkbuild.archive.entry import Entry, Kind
from lkbuild.archive.fields import record

END_OF_ARCHIVE = bytes(1024)

_TYPES: dict[Kind, bytes] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "directory": b"5",
    "fifo": b"6",
}
_MAX_ID = 0o7777777
_MAX_LONG = 0o77777777777
_NAME = 100


def padding(size: int) -> bytes:
    """What follows a body of `size` bytes, up to the next block of 512."""
    return bytes(-size % 512)


def header(entry: Entry) -> bytes:
    """Everything before the body of a member; a whole number of blocks."""
    path = (entry.path or b".") + (b"/" if entry.kind == "directory" else b"")
    extended = _extended(entry, path)
    before = b""
    if extended:
        label = entry._replace(path=b"PaxHeaders/" + entry.path.rpartition(b"/")[2][:80], kind="file", mode=0o644)
        before = _block(label, label.path, b"x", len(extended)) + extended + padding(len(extended))
    return before + _block(entry, path, _TYPES[entry.kind], entry.size)


def long_target(target: bytes) -> bytes:
    """What goes before a member whose link target has over 100 bytes, as GNU tar writes it; b"" for a shorter one.

    The member itself has the target cut to 100 bytes: with a longer one, `header` writes a PAX record.
    """
    if len(target) <= _NAME:
        return b""
    label, text = Entry(b"././@LongLink", "file", 0), target + b"\0"
    return _block(label, label.path, b"K", len(text)) + text + padding(len(text))


def _extended(entry: Entry, path: bytes) -> bytes:
    """The PAX records for what the header has no room for, in a fixed order."""
    said: list[tuple[bytes, bytes]] = []
    if len(path) > _NAME:
        said.append((b"path", path))
    if len(entry.target) > _NAME:
        said.append((b"linkpath", entry.target))
    if entry.size > _MAX_LONG:
        said.append((b"size", b"%d" % entry.size))
    if entry.uid > _MAX_ID:
        said.append((b"uid", b"%d" % entry.uid))
    if entry.gid > _MAX_ID:
        said.append((b"gid", b"%d" % entry.gid))
    if not 0 <= entry.mtime <= _MAX_LONG:
        said.append((b"mtime", b"%d" % entry.mtime))
    if not all(_is_utf8(value) for _, value in said):
        # POSIX: without it, records are UTF-8.
        said.insert(0, (b"hdrcharset", b"BINARY"))
    said += ((b"SCHILY.xattr." + key, value) for key, value in sorted(entry.xattrs))
    return b"".join(record(key, value) for key, value in said)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _block(entry: Entry, path: bytes, flag: bytes, size: int) -> bytes:
    major, minor = entry.device
    owner, group, time = entry.uid, entry.gid, entry.mtime
    block = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\x0000%s%07o\0%07o\0" % (
        path[:_NAME].ljust(_NAME, b"\0"),
        entry.mode,
        owner if owner <= _MAX_ID else 0,
        group if group <= _MAX_ID else 0,
        size if size <= _MAX_LONG else 0,
        time if 0 <= time <= _MAX_LONG else 0,
        flag,
        entry.target[:_NAME].ljust(_NAME, b"\0"),
        bytes(64),
        major,
        minor,
    )
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:]) + bytes(512 - len(block))
