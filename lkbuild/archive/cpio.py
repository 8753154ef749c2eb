"""Writing cpio in the format "newc", as Linux reads it (Documentation/driver-api/early-userspace/buffer-format.rst).

Hard links are entries of one inode number.  Their data stand with the first of them: Linux (init/initramfs.c) links
every later one to it, and truncates only where the later one brings data; GNU cpio puts links without data off until
the end and then links them too.  The other way, data last, would do as well, but leaves the first names empty files
for a reader that knows no links.
"""

from __future__ import annotations

from lkbuild.archive.entry import MAX_PATH, Entry, Kind, shown
from lkbuild.errors import ArchiveError

MAX_FILE = 0xFFFFFFFF
"""A field has eight hex digits: no file of 4 GiB or more."""

_MAX_NUMBER = 0xFFFFFFFF
_HEAD = b"070701%08X%08X%08X%08X%08X%08X%08X00000000%08X%08X%08X%08X00000000"
_TYPES: dict[Kind, int] = {
    "file": 0o100000,
    "directory": 0o040000,
    "symlink": 0o120000,
    "char": 0o020000,
    "block": 0o060000,
    "fifo": 0o010000,
}


def padding(size: int) -> bytes:
    """What follows `size` bytes of name or data, up to a multiple of 4."""
    return b"\0\0\0"[: -size % 4]


def header(entry: Entry, inode: int, links: int, size: int) -> bytes:
    """The header and name of an entry with `size` bytes of data after it; `links` is the inode's number of names.

    Times before 1970 become 1970, those after 2106 the last that fits.  What the format or Linux cannot hold is an
    ArchiveError that names the entry.
    """
    if size > MAX_FILE:
        raise ArchiveError(
            f"{shown(entry.path)} has {size} bytes, an initrd's files at most {MAX_FILE}",
            "leave the file out, or boot from a squashfs, erofs or disk image that holds it",
        )
    name = entry.path or b"."
    if len(name) > MAX_PATH or (entry.kind == "symlink" and size > MAX_PATH):
        raise ArchiveError(f"{shown(entry.path)}: its name or target has over {MAX_PATH} bytes, Linux would skip it")
    head = _HEAD % (
        inode,
        _TYPES[entry.kind] | entry.mode,
        entry.uid,
        entry.gid,
        links,
        min(max(entry.mtime, 0), _MAX_NUMBER),
        size,
        0,
        *entry.device,
        len(name) + 1,
    )
    return b"%s%s\0%s" % (head, name, b"\0\0\0"[: -(len(head) + len(name) + 1) % 4])


TRAILER = b"%s%s\0%s" % (_HEAD % (0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 11), b"TRAILER!!!", b"\0\0\0")
