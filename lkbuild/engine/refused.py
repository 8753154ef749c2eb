"""Telling what the world refused from what is a mistake of ours."""

from __future__ import annotations

import errno

from lkbuild.errors import LkbuildError

_NOT_OURS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.EFBIG, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ESTALE, errno.ETXTBSY,
    errno.ELOOP,
)  # fmt: skip
"""What a full disk or a forbidden directory answers: nobody's bug."""

_HOMELESS = "Could not determine home directory."
"""What pathlib's `expanduser` raises for `~nobody/file`."""


def environmental(error: BaseException) -> LkbuildError | None:
    """The error for what a disk, a permission or a limit refused, and for nobody's home; None for any other one."""
    if isinstance(error, OSError) and (error.errno in _NOT_OURS or _went_away(error)):
        where = f"{error.filename}: " if error.filename else ""
        hint = "make room, or say cache=DIR or dir=DIR" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        return LkbuildError(f"{where}{error.strerror}", hint)
    if isinstance(error, RuntimeError) and str(error) == _HOMELESS:
        return LkbuildError("a path begins with ~, and whose home that is is not known here", "write it in full")
    return None


def _went_away(error: OSError) -> bool:
    """Whether a file that is named was not there: somebody removed it meanwhile."""
    return error.errno == errno.ENOENT and error.filename is not None
