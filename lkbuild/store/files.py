"""Files under the store: copying inside the kernel, and what an operating system error means to the user."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from lkbuild.digest import CHUNK
from lkbuild.errors import StoreError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""<fcntl.h>, <linux/fs.h>"""


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


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file beside its place and rename it there: what stood there stays until then, and if that fails.

    OSError where it cannot be written; nothing is left of it then.
    """
    _replace(path, data, Path.replace)


def replace_note(path: Path, data: bytes) -> None:
    """The same, faster, for notes that are no loss: a power failure may take the old one with the new one."""
    _replace(path, data, put_in_place)


def _replace(path: Path, data: bytes, rename: Callable[[Path, Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        rename(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file to where another may stand, at once; OSError where that cannot be.

    Where a file is replaced by renaming, ext4 first sends all of the new one to the disk (`auto_da_alloc`, ext4's
    Documentation/admin-guide), with the directory locked meanwhile, and behind whatever else is on its way there; where
    the two change names it does not.  See docs/adr/0003 for why nothing is lost by that.
    """
    if not (_is_file(path) and _exchanged(temporary, path)):
        temporary.replace(path)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _exchanged(temporary: Path, path: Path) -> bool:
    """Let a file change names with the one at `path`, and take that away; False where this cannot be done here.

    The old one is locked as long as it has the temporary name: who opens it there in order to write waits, and then
    sees that it is gone.
    """
    with contextlib.ExitStack() as stack:
        try:
            old = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, old)
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if not _exchange(temporary, path):
            return False
        temporary.unlink()
        return True


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change their names at once; False where this cannot be done here."""
    rename = _renameat2()
    return rename is not None and rename(os.fsencode(one), os.fsencode(other)) == 0


@functools.cache
def _renameat2() -> Callable[[bytes, bytes], int] | None:
    """renameat2(2) of the C library, which exchanges two paths; None where it has none."""
    try:
        import ctypes

        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (ImportError, AttributeError, OSError):
        return None
    exchange = ctypes.c_uint(_RENAME_EXCHANGE)
    return lambda one, other: int(function(_AT_FDCWD, one, _AT_FDCWD, other, exchange))


def same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def open_lock(path: Path) -> int:
    """A descriptor to lock a file by, made if it is not there; one that others made need only be readable."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise error from None


@contextlib.contextmanager
def doing(what: str, elsewhere: str = "") -> Iterator[None]:
    """Tell an operating system error as the store's; `elsewhere` says how to avoid the place."""
    try:
        yield
    except OSError as error:
        raise failure(error, what, elsewhere) from error


def failure(error: OSError, what: str, elsewhere: str = "", anyhow: bool = False) -> StoreError:
    """The store's error for an operating system error, with the advice that fits it.

    `anyhow`: another place is advised for any error.
    """
    advice = _ADVICE.get(error.errno or 0, "{}" if anyhow else "")
    return StoreError(f"{what}: {error.strerror or error}", advice.format(elsewhere or _ELSEWHERE) or None)


def full(error: BaseException | None) -> str | None:
    """What to do about an error that only writing to the cache can have caused; None for any other."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return _ADVICE[error.errno].format(_ELSEWHERE)
    return None


_ELSEWHERE = "put the cache elsewhere with cache=DIR or LKBUILD_CACHE"
_ADVICE = {
    errno.ENOSPC: "the disk is full: `lkbuild cache gc` frees space; or {}",
    errno.EDQUOT: "your disk quota is used up: `lkbuild cache gc` frees space; or {}",
    errno.EROFS: "this file system is read-only: {}",
    errno.EACCES: "you may not write there: {}",
    errno.EPERM: "you may not write there: {}",
    errno.ENOTDIR: "a file stands where a directory should be: {}",
}
