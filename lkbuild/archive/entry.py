"""One entry of an archive, whatever the archive's format.

Paths and link targets are bytes everywhere in this room: a file's name is bytes to the kernel, and layers hold names
that are no UTF-8.  They become text (with surrogate escapes, so nothing is lost) only in an index and in messages.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from lkbuild.errors import ArchiveError

Kind = Literal["file", "directory", "symlink", "hardlink", "char", "block", "fifo"]

Buffer = bytes | memoryview
"""A piece of a file's contents."""

FIXED_TIME = 1492533000
"""The modification time of everything that no image gave a time."""

MAX_PATH = 4095
"""PATH_MAX without its NUL: the kernel silently skips a longer name (init/initramfs.c)."""


class Entry(NamedTuple):
    """An entry: `path` relative to the root without leading or trailing `/`, b"" being the root itself.

    `mode` holds the permission bits (07777) alone, `mtime` is in seconds and may be negative, `size` is that of a
    file's contents in bytes, `target` a symbolic link's text or the path a hard link names, `device` major and minor.
    NB: a tuple and no dataclass, for an image has 100,000 of them and a tuple is made five times as fast.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = FIXED_TIME
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def directory(path: bytes, mode: int = 0o755) -> Entry:
    """A directory of root's with the fixed time, as it is made where nobody says otherwise."""
    return Entry(path, "directory", mode)


def path_bytes(text: str) -> bytes:
    """A path as it stands in archives; the inverse of `path_text`."""
    return text.encode("utf-8", "surrogateescape")


def path_text(path: bytes) -> str:
    """A path as text; bytes that are no UTF-8 become lone surrogates."""
    return path.decode("utf-8", "surrogateescape")


def shown(path: bytes) -> str:
    """A path for a message: quoted, in ASCII escapes where it is no printable text, cut where it is very long."""
    text = repr(path.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 200 else f"{text[:160]}…{text[-30:]}"


def components(name: bytes) -> list[bytes]:
    """The parts of an archive's name, relative to the root: no `.`, no `..`, no empty part; [] is the root itself.

    A leading `/` and `./` mean nothing.  Names that leave the root, hold a NUL or are longer than PATH_MAX are
    ArchiveErrors.  NB: `..` is taken lexically, as containerd and Docker take it.
    """
    if len(name) > MAX_PATH:
        raise ArchiveError(f"a name of {len(name)} bytes: {shown(name)} (at most {MAX_PATH})")
    if b"\0" in name:
        raise ArchiveError(f"a name with a NUL in it: {shown(name)}")
    parts = name.split(b"/")
    if b"" not in parts and b"." not in parts and b".." not in parts:
        return parts
    kept: list[bytes] = []
    for part in parts:
        if part == b"..":
            if not kept:
                raise ArchiveError(
                    f"the name {shown(name)} leaves the root",
                    "such an archive is hostile or was made wrongly; make it anew",
                )
            kept.pop()
        elif part not in (b"", b"."):
            kept.append(part)
    return kept
