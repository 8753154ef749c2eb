"""What a machine boots: the files that a build wrote, found by the machine's name.

`BOOTABLE` says which files each format has, as LINUXKIT.md's table of outputs names them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lkbuild.errors import MachineError, UsageError
from lkbuild.frozen import frozen
from lkbuild.plan.root_kinds import ROOT_DIRECTORY

_MAX_CMDLINE = 64 << 10
_MAX_LISTED = 3
_INITRD = "-initrd.img"
_MAGIC, _HEADER = b"070701", 110
"""A cpio archive that is not compressed begins with a header, and that with a number."""


@frozen
class Bootable:
    """A format that can be booted: the endings of its files.  Firmware boots a `cdrom`, a `disk` or a `program`; of a
    kernel, the disk is the root file system, and `root` goes to its command line; where there is a small initrd that
    mounts it (`mounts_root`), that is used.  `disk_format` is QEMU's name for the disk's format.
    """

    format: str
    kernel: str = ""
    initrd: str = ""
    cdrom: str = ""
    disk: str = ""
    disk_format: str = "raw"
    root: str = ""
    uefi: bool = False
    program: str = ""

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the files without which there is nothing to boot."""
        return tuple(filter(None, (self.kernel, self.initrd, self.cdrom, self.disk, self.program)))

    def is_there(self, name: Path) -> bool:
        """Whether the machine's files are there; an initrd that only mounts a root is no machine."""
        there = all(_file(name, ending).is_file() for ending in self.endings)
        return there and not (self.initrd and mounts_root(_file(name, self.initrd)))


BOOTABLE = (
    Bootable("kernel+initrd", kernel="-kernel", initrd=_INITRD),
    Bootable("kernel+squashfs", kernel="-kernel", disk="-squashfs.img", root="root=/dev/vda rootfstype=squashfs ro"),
    Bootable("kernel+erofs", kernel="-kernel", disk="-erofs.img", root="root=/dev/vda rootfstype=erofs ro"),
    Bootable("kernel+iso", kernel="-kernel", disk=".iso", root="root=/dev/vda rootfstype=iso9660 ro"),
    Bootable("iso-bios", cdrom=".iso"),
    Bootable("iso-efi", cdrom="-efi.iso", uefi=True),
    Bootable("iso-efi-initrd", cdrom="-efi-initrd.iso", uefi=True),
    Bootable("raw-bios", disk="-bios.img"),
    Bootable("raw-efi", disk="-efi.img", uefi=True),
    Bootable("qcow2-bios", disk=".qcow2", disk_format="qcow2"),
    Bootable("qcow2-efi", disk="-efi.qcow2", disk_format="qcow2", uefi=True),
    Bootable("aws", disk=".raw"),
    Bootable("vhd", disk=".vhd", disk_format="vpc"),
    Bootable("dynamic-vhd", disk=".vhd", disk_format="vpc"),
    Bootable("vmdk", disk=".vmdk", disk_format="vmdk"),
    Bootable("iso-hybrid", cdrom="-hybrid.iso"),
    Bootable("raw-hybrid", disk="-hybrid.img"),
    Bootable("qcow2-hybrid", disk="-hybrid.qcow2", disk_format="qcow2"),
    Bootable("vhdx", disk=".vhdx", disk_format="vhdx"),
    Bootable("uki", program=".efi", uefi=True),
)
"""In the order in which they are looked for where no format is named; a kernel with an initrd starts fastest."""

_PLAIN_DISK = Bootable("disk image", disk=".img")


@frozen
class Media:
    """What is booted.  Without a kernel, firmware boots the CD, the disk or the program; no boot writes to any.

    `name` is the machine's, with its directory; `unpacked` is how many bytes the initrd unpacks to, 0 where not known.
    """

    name: Path
    format: str
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    cdrom: Path | None = None
    disk: Path | None = None
    disk_format: str = "raw"
    uefi: bool = False
    unpacked: int = 0
    program: Path | None = None

    @property
    def state(self) -> Path:
        """Where the machine's state is kept unless told otherwise."""
        return self.name.with_name(self.name.name + "-state")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is needed."""
        there = (self.kernel, self.initrd, self.cdrom, self.disk, self.program)
        return tuple(file for file in there if file is not None)

    def absolute(self) -> Media:
        """The same with absolute paths, which QEMU cannot take for `PROTOCOL:REST`."""
        kernel, initrd, cdrom, disk, program = (
            None if file is None else file.absolute()
            for file in (self.kernel, self.initrd, self.cdrom, self.disk, self.program)
        )
        name = self.name.absolute()
        return replace(self, name=name, kernel=kernel, initrd=initrd, cdrom=cdrom, disk=disk, program=program)


def find(name: Path, format: str = "") -> Media:
    """What to boot by `name`: what the outputs' names begin with, with their directory, or one file itself.

    Without `format`, what is found first in the order of `BOOTABLE`.  MachineError says what was looked for.
    """
    check_format(format)
    if not format and name.is_file() and (media := _of_file(name)) is not None:
        return media
    rows = [row for row in BOOTABLE if not format or row.format == format]
    for row in rows:
        if row.is_there(name):
            return _of_row(name, row)
    raise _nothing(name, rows)


def check_format(format: str) -> None:
    """UsageError for a format that cannot be booted; an empty one is whichever is found."""
    known = [row.format for row in BOOTABLE]
    if format and format not in known:
        raise UsageError(f"format {format!r} cannot be booted", f"one of {', '.join(known)}")


def _of_row(name: Path, row: Bootable) -> Media:
    said = _cmdline(_file(name, "-cmdline")) if row.kernel else ""
    initrd = _file(name, row.initrd or _INITRD) if row.kernel else None
    if initrd is not None and row.disk and not mounts_root(initrd):
        initrd = None
    return Media(
        name,
        row.format,
        kernel=_file(name, row.kernel) if row.kernel else None,
        initrd=initrd,
        cmdline=" ".join(filter(None, (said, "" if "root=" in said else row.root))),
        cdrom=_file(name, row.cdrom) if row.cdrom else None,
        disk=_file(name, row.disk) if row.disk else None,
        disk_format=row.disk_format,
        uefi=row.uefi,
        program=_file(name, row.program) if row.program else None,
    )


def _of_file(file: Path) -> Media | None:
    """What the name of a file that is there says it is: the longest ending that fits, a whole medium before a part."""
    fitting = [
        (len(ending), not row.kernel, ending, row)
        for row in (*BOOTABLE, _PLAIN_DISK)
        for ending in row.endings
        if file.name.endswith(ending) and file.name != ending
    ]
    if not fitting:
        return None
    _, whole, ending, row = max(fitting, key=lambda fit: fit[:2])
    name = file.with_name(file.name.removesuffix(ending))
    if whole:
        return _of_row(name, row)
    return find(name, "" if ending == row.kernel or (ending == row.initrd and mounts_root(file)) else row.format)


def mounts_root(initrd: Path) -> bool:
    """Whether a file is the small initrd that kernel+squashfs and the like come with: by the first thing in it."""
    try:
        with initrd.open("rb") as file:
            head = file.read(_HEADER + len(ROOT_DIRECTORY) + 1)
    except OSError:
        return False
    return head.startswith(_MAGIC) and head[_HEADER:] == ROOT_DIRECTORY + b"\0"


def _nothing(name: Path, rows: Iterable[Bootable]) -> MachineError:
    rows = tuple(rows)
    formats = ", ".join(dict.fromkeys(row.format for row in rows))
    where = os.fspath(name.parent)
    there = "" if where == "." else f" dir={where}"
    build = f"build it: doit build spec={name.name}.yml format={rows[0].format}{there}"
    for row in rows:
        missing = [ending for ending in row.endings if not _file(name, ending).is_file()]
        if row.initrd and 0 < len(missing) < len(row.endings) and (len(rows) == 1 or missing == [row.initrd]):
            found = next(ending for ending in row.endings if ending not in missing)
            return MachineError(
                f"{_file(name, found)} is there, but {_file(name, missing[0])} is not", f"{build}, then boot it"
            )
    files = list(dict.fromkeys(" with ".join(f"{name.name}{ending}" for ending in row.endings) for row in rows))
    more = f" and {len(files) - _MAX_LISTED} others" if files[_MAX_LISTED:] else ""
    looked = ", ".join(files[:_MAX_LISTED]) + more
    return MachineError(
        f"nothing to boot for {name.name!r} in {where if where != '.' else 'this directory'}: looked for {looked}",
        f"{build}  (formats: {formats})" if len(rows) > 1 else build,
    )


def _cmdline(file: Path) -> str:
    """The kernel's command line; empty where the build wrote none."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_CMDLINE + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise MachineError(f"the command line cannot be read: {error}", "build it again") from error
    if len(data) > _MAX_CMDLINE or b"\0" in data:
        raise MachineError(f"{file} is no kernel command line", "build it again")
    return " ".join(data.decode("utf-8", "surrogateescape").split())


def _file(name: Path, ending: str) -> Path:
    return name.with_name(name.name + ending)
