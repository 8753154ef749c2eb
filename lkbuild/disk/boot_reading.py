"""What a bootable medium boots, read from its bytes: the counterpart of `boot_disk`, `boot_iso` and `uki`.

El Torito 1.0 for ISOs; MBR and GPT (UEFI specification 2.10, chapter 5); Microsoft's PE format.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lkbuild.disk.containers import raw
from lkbuild.disk.fat_reading import FatReader
from lkbuild.disk.iso_reading import IsoReader
from lkbuild.disk.layout import SECTOR
from lkbuild.disk.loader_config import told
from lkbuild.disk.view import View
from lkbuild.frozen import frozen

_MAX_SECTIONS, _MAX_PARTITIONS = 96, 16
_TEXT = 64 << 10
_PROTECTIVE = 0xEE


@frozen
class Booted:
    """Where a medium's initrd and kernel lie, and the command line; None for what is not known."""

    initrd: View
    kernel: View | None = None
    cmdline: str | None = None


def booted(file: View) -> Booted | None:
    """What a disk, an ISO or a UEFI program boots, whatever format it is stored in; None where that is not understood.

    Little is read, wherever it is said to be: of the tables that a file may have, the beginning.
    """
    try:
        disk = raw(file)
    except ValueError:
        return None
    for understood in (_iso, _program, _partitions, _fat):
        with contextlib.suppress(ValueError):
            found = understood(disk)
            if found is not None:
                return found
    return None


def _program(file: View) -> Booted | None:
    """A unified kernel image; None for another program."""
    magic, coff = file.unpack("<2s58xI", 0)
    if magic != b"MZ" or file.read(coff, 4) != b"PE\0\0":
        return None
    count, optional = file.unpack("<H12xH", coff + 6)
    table = coff + 24 + optional
    lines = (file.unpack("<8sIIII", table + 40 * number) for number in range(min(count, _MAX_SECTIONS)))
    places = {name.rstrip(b"\0"): (offset, size) for name, size, _, _, offset in lines}
    if b".initrd" not in places:
        return None
    kernel = file.part(*places[b".linux"]) if b".linux" in places else None
    return Booted(file.part(*places[b".initrd"]), kernel, _text(file.part(*places.get(b".cmdline", (0, 0)))))


def _text(file: View) -> str:
    """The beginning of a text."""
    return file.read(0, min(file.size, _TEXT)).rstrip(b"\0").decode("utf-8", "surrogateescape")


def _told(configuration: View | None) -> str | None:
    return None if configuration is None else told(_text(configuration))


def _fat(disk: View) -> Booted | None:
    """A FAT with an initrd in its root and a loader's configuration, or with a unified kernel image."""
    fat = FatReader(disk)

    def first(*path: str) -> View | None:
        found = fat.find(*path)
        return fat.view(found[0]) if found else None

    initrd = first("INITRD.IMG")
    if initrd is not None:
        return Booted(initrd, first("KERNEL"), _told(first("SYSLINUX.CFG") or first("LOADER", "ENTRIES", "*.CON")))
    for file in fat.find("EFI", "BOOT", "*.EFI"):
        with contextlib.suppress(ValueError):
            program = _program(fat.view(file))
            if program is not None:
                return program
    return None


def _partitions(disk: View) -> Booted | None:
    """A disk with a partition table: what the first of its partitions boots that boots anything."""
    if disk.read(SECTOR - 2, 2) != b"\x55\xaa":
        return None
    for first in _first_sectors(disk):
        with contextlib.suppress(ValueError):
            found = _fat(disk.at(first * SECTOR))
            if found is not None:
                return found
    return None


def _first_sectors(disk: View) -> Iterator[int]:
    """Where partitions begin."""
    for number in range(4):
        kind, first = disk.unpack("<4xB3xI", 446 + 16 * number)
        if kind != _PROTECTIVE:
            if kind:
                yield first
            continue
        magic, table, count, size = disk.unpack("<8s64xQII", SECTOR)
        if magic != b"EFI PART":
            raise ValueError("a protective partition without a GPT")
        for each in range(min(count, _MAX_PARTITIONS)):
            used, start = disk.unpack("<16s16xQ", table * SECTOR + each * size)
            if any(used):
                yield start


def _iso(disk: View) -> Booted | None:
    """An ISO: what UEFI boots of it, else the initrd beside ISOLINUX."""
    iso = IsoReader(disk)
    for image in iso.bootable():
        with contextlib.suppress(ValueError):
            found = _fat(image)
            if found is not None:
                return found
    for directory in (("BOOT",), ()):
        initrd = iso.find(*directory, "INITRD.IMG")
        if initrd is not None:
            cmdline = _told(iso.find("ISOLINUX", "ISOLINUX.CFG"))
            return Booted(initrd, iso.find(*directory, "KERNEL"), cmdline)
    return None
