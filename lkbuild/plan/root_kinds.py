"""The kinds of steps that make a root filesystem on a disk, and the initrd that mounts it; see `plan.kinds`."""

from __future__ import annotations

from typing import Literal

from lkbuild.frozen import frozen

RootType = Literal["squashfs", "erofs", "iso9660"]
"""A file system that a root can have, as `rootfstype=` names it."""

ROOT_DIRECTORY = b"sysroot"
"""Where the small initrd mounts the root: the first thing in it, by which it is known."""


@frozen
class RootDisk:
    """The input `tar` as a file system, EROFS or ISO 9660, less what lies below boot/; `boot`: boot itself is there."""

    type: RootType
    boot: bool


@frozen
class SquashedRoot:
    """The same as SquashFS, by the mksquashfs of this `version` (see `tools`).

    The compressor is what the input `compressor` says, else gzip; `small`: as small as can be, however long it takes.
    """

    boot: bool
    version: str
    small: bool = False


@frozen
class RootInitrd:
    """An initrd that loads the drivers of disks and of `type` and changes to the root; empty where none is needed."""

    type: RootType
