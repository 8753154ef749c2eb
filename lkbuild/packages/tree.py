"""The files of a package's directory, as git would keep them: names, contents, symlinks and who may execute.

Owner, other mode bits, times and empty directories are left behind, so that every clone on every machine gives the
same image.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import xxhash

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.frozen import ordered

_TRANSIENT = re.compile(r".*~|\.#.*|#.*#|\..*\.sw[a-p]|4913|\.git|\.DS_Store", re.DOTALL)
_ATTEMPTS = 3


@ordered
class TreeEntry:
    """A file or symlink of a tree.  `mode` is 0755 or 0644, 0777 for a symlink; `digest` is None for a symlink."""

    path: str
    kind: Literal["file", "symlink"]
    mode: int
    size: int = 0
    target: str = ""
    digest: Digest | None = None


Take = Callable[[Path], Digest]
"""Keeps a file's bytes where a step can read them, and says their digest."""


def snapshot(root: Path, take: Take = Digest.of_file) -> tuple[TreeEntry, ...]:
    """What lies under `root`, sorted by path.  Editors' temporary files and .git are passed over.

    ImageError for what an image from a tree cannot hold (sockets, pipes, devices), for what cannot be read, and for a
    file that does not hold still.
    """
    return tuple(sorted(_entry(root, path, status, take) for path, status in _walk(root)))


def fingerprint(root: Path) -> str:
    """A text that changes when the tree may have changed: xxh3_128 of names, kinds, sizes, inodes, mtime and ctime.

    Reads no contents.  A tree that is not there has a fingerprint too, another one.
    """
    seen = xxhash.xxh3_128()
    if not root.is_dir():
        return "absent"
    for path, status in sorted(_walk(root)):
        target = os.fsencode(root.joinpath(path).readlink()) if stat.S_ISLNK(status.st_mode) else b""
        facts = (status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        seen.update(b"\0".join((os.fsencode(path), repr(facts).encode(), target, b"\n")))
    return seen.hexdigest()


def is_transient(name: str) -> bool:
    """Whether a file or directory of this name is an editor's temporary file, or git's, and so no part of a tree."""
    return _TRANSIENT.fullmatch(name) is not None


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Path and status of all but directories."""
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(root / directory) as found:
                for entry in found:
                    if is_transient(entry.name):
                        continue
                    path = f"{directory}/{entry.name}" if directory else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    else:
                        yield path, entry.stat(follow_symlinks=False)
        except FileNotFoundError as error:
            raise ImageError(
                f"{error.filename or root / directory} is not there, or went away while its directory was read"
            ) from error
        except OSError as error:
            raise ImageError(f"cannot read the directory {root / directory}: {error.strerror}") from error


def _entry(root: Path, path: str, status: os.stat_result, take: Take) -> TreeEntry:
    file = root / path
    try:
        if stat.S_ISLNK(status.st_mode):
            return TreeEntry(path, "symlink", 0o777, 0, os.fspath(file.readlink()))
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(
                f"{file} is neither a file nor a directory nor a symlink",
                "a package's tree holds only these; device nodes are made by the machine (/dev is a tmpfs)",
            )
        for _ in range(_ATTEMPTS):
            digest = take(file)
            after = os.lstat(file)
            if _signature(after) == _signature(status):
                return TreeEntry(path, "file", 0o755 if after.st_mode & 0o100 else 0o644, after.st_size, "", digest)
            status = after
    except OSError as error:
        raise ImageError(f"cannot read {file}: {error.strerror}") from error
    raise ImageError(f"{file} changes while it is read", "build again when nothing is writing to it any more")


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
