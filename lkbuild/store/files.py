"""Files under the store: copying inside the kernel, and what an operating system error means to the user."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lkbuild.digest import CHUNK
from lkbuild.errors import StoreError


def copy_range(source: BinaryIO, offset: int, count: int, target: BinaryIO) -> None:
    """Copy `count` bytes of `source` from `offset` to where `target` stands, inside the kernel where it can."""
    target.flush()
    while count > 0:
        try:
            done = os.copy_file_range(source.fileno(), target.fileno(), count, offset_src=offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
            _copy_plainly(source, offset, count, target)
            return
        if done == 0:
            raise StoreError(f"{source.name}: ends {count} bytes too early")
        offset, count = offset + done, count - done


def _copy_plainly(source: BinaryIO, offset: int, count: int, target: BinaryIO) -> None:
    while count > 0:
        data = os.pread(source.fileno(), min(CHUNK, count), offset)
        if not data:
            raise StoreError(f"{source.name}: ends {count} bytes too early")
        target.write(data)
        offset, count = offset + len(data), count - len(data)
    target.flush()


def same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failure(error, what) from error


def failure(error: OSError, what: str) -> StoreError:
    """The store's error for an operating system error, with the advice that fits it."""
    hints = {
        errno.ENOSPC: "the disk is full: `lkbuild cache gc` frees space; or use another cache=DIR",
        errno.EDQUOT: "your disk quota is used up: `lkbuild cache gc` frees space; or use another cache=DIR",
        errno.EROFS: "the cache is on a read-only file system: put it elsewhere with cache=DIR or LKBUILD_CACHE",
        errno.EACCES: "you may not write there: put the cache elsewhere with cache=DIR or LKBUILD_CACHE",
        errno.EPERM: "you may not write there: put the cache elsewhere with cache=DIR or LKBUILD_CACHE",
        errno.ENOTDIR: "a file stands where the cache should be: use another cache=DIR",
    }
    return StoreError(f"{what}: {error.strerror or error}", hints.get(error.errno or 0))
