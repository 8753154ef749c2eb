"""SquashFS, which the program `mksquashfs` makes from a tar on its standard input; here is how it is called.

squashfs-tools 4.5 or newer (`-tar`).  Of the tar it wants: every path once, directories before what is in them (those
that are missing it makes itself, with the time of now), and link targets longer than 100 bytes in GNU's `K` records,
for it cuts the `../` off those in PAX records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from lkbuild.archive.entry import FIXED_TIME
from lkbuild.archive.tarwrite import END_OF_ARCHIVE, header, long_target, padding
from lkbuild.disk.extents import Data, Extent
from lkbuild.disk.tree import Inode, inodes, paths
from lkbuild.frozen import frozen

PROGRAM = "mksquashfs"

Compressor = Literal["zstd", "gzip", "xz", "lz4"]

_LEVELS = {"zstd": range(1, 23), "gzip": range(1, 10)}


@frozen
class SquashfsOptions:
    """`level` is for zstd (1 to 22) and gzip (1 to 9); `memory` is in MiB, and about what the program takes in all.

    `time` is that of the file system and its root; no file may be newer, or it gets this time too.
    """

    compressor: Compressor = "zstd"
    level: int | None = 3
    memory: int = 64
    time: int = FIXED_TIME


def arguments(output: str, options: SquashfsOptions) -> tuple[str, ...]:
    """The command that reads a tar and writes the file system to `output`.

    What it writes depends on neither processors nor memory.  The root's mode is given here, for with `-tar` the entry
    `./` is ignored and it would be 0777; its owner is the program's caller, who must be root (`-root-uid` does nothing
    with `-tar`, 4.5.1).  Files that are equal are stored each: to find them, the program reads back every file with the
    size and 16-bit sum of another, which can take it hours, or end in `uncompress failed` (4.5.1).

    ValueError for a level that the compressor has not.
    """
    # fmt: off
    command = [
        PROGRAM, "-", output, "-tar", "-noappend", "-quiet", "-no-progress", "-exit-on-error",
        "-no-duplicates",
        "-comp", options.compressor,
        "-mem", f"{options.memory}M",
        "-root-mode", "0755",
    ]
    # fmt: on
    if options.level is not None:
        if options.level not in _LEVELS.get(options.compressor, ()):
            raise ValueError(f"{options.compressor} has no level {options.level}")
        command += ["-Xcompression-level", str(options.level)]
    return tuple(command)


def environment(options: SquashfsOptions) -> dict[str, str]:
    """What the program needs in its environment: the root's time can be set by nothing else that keeps the files'.

    NB: `-root-time` does nothing with `-tar` (4.5.1), and `-all-time` is for all files.
    """
    return {"SOURCE_DATE_EPOCH": str(options.time)}


def newest(root: Inode) -> int:
    """The `time` for a tree: the fixed one, unless something in it is newer."""
    return max(FIXED_TIME, *(_time(inode) for inode in inodes(root)))


def stream(root: Inode) -> Iterator[Extent]:
    """A tree as the tar that the program wants."""
    first: dict[Inode, bytes] = {}
    for path, inode in paths(root):
        entry = inode.entry._replace(path=path, mtime=_time(inode), size=0)
        if inode in first:
            entry = entry._replace(kind="hardlink", target=first[inode], device=(0, 0), xattrs=())
        elif not inode.is_directory:
            first[inode] = path
        if entry.kind == "file":
            yield Data(header(entry._replace(size=inode.size)))
            yield from inode.extents
            yield Data(padding(inode.size))
        else:
            yield Data(long_target(entry.target) + header(entry._replace(target=entry.target[:100])))
    yield Data(END_OF_ARCHIVE)


def _time(inode: Inode) -> int:
    """A file's time, of which SquashFS has 32 bits without a sign."""
    return min(max(inode.entry.mtime, 0), 0xFFFFFFFF)
