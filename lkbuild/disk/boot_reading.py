"""What a bootable medium boots, read from its bytes: the counterpart of `boot_disk`, `boot_iso` and `uki`.

ECMA-119 and El Torito 1.0 for ISOs; MBR and GPT (UEFI specification 2.10, chapter 5); Microsoft's PE format.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from lkbuild.disk import iso_records
from lkbuild.disk.containers import raw
from lkbuild.disk.fat_reading import FatReader
from lkbuild.disk.layout import SECTOR
from lkbuild.disk.view import MAX_READ, View
from lkbuild.frozen import frozen

_CD = iso_records.SECTOR
_MAX_SECTIONS, _MAX_PARTITIONS = 96, 16
_TEXT = 64 << 10
_PROTECTIVE = 0xEE


@frozen
class Booted:
    """The bytes of a medium's initrd, and the words that are told the kernel, perhaps among others; None: not known."""

    initrd: int
    words: tuple[str, ...] | None = None


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
    """A unified kernel image."""
    return _sections(file.read(0, min(file.size, MAX_READ)))


def _sections(head: bytes) -> Booted | None:
    """What a unified kernel image boots, by the beginning of it; None for another file."""
    try:
        (coff,) = struct.unpack_from("<I", head, 0x3C)
        if head[:2] != b"MZ" or head[coff : coff + 4] != b"PE\0\0":
            return None
        count, optional = struct.unpack_from("<H12xH", head, coff + 6)
        at = coff + 24 + optional
        sections = [
            struct.unpack_from("<8sIIII", head, at + 40 * number) for number in range(min(count, _MAX_SECTIONS))
        ]
    except struct.error:
        return None
    places = {name.rstrip(b"\0"): (size, offset) for name, size, _, _, offset in sections}
    if b".initrd" not in places:
        return None
    size, offset = places.get(b".cmdline", (0, 0))
    words = _words(head[offset : offset + size]) if offset + size <= len(head) else None
    return Booted(places[b".initrd"][0], words)


def _words(text: bytes) -> tuple[str, ...]:
    return tuple(text.decode("utf-8", "replace").split())


def _fat(disk: View) -> Booted | None:
    """A FAT with an initrd in its root and a loader's configuration, or with a unified kernel image."""
    fat = FatReader(disk)
    for file in fat.find("INITRD.IMG"):
        configurations = fat.find("SYSLINUX.CFG") or fat.find("LOADER", "ENTRIES", "*.CON")
        return Booted(file.size, _words(fat.read(configurations[0], _TEXT)) if configurations else None)
    for file in fat.find("EFI", "BOOT", "*.EFI"):
        found = _sections(fat.read(file, MAX_READ))
        if found is not None:
            return found
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
    if disk.read(16 * _CD, 7) != b"\1CD001\1":
        return None
    for sector in _catalogued(disk):
        with contextlib.suppress(ValueError):
            found = _fat(disk.at(sector * _CD))
            if found is not None:
                return found
    root = disk.unpack("<I4xI", 16 * _CD + 156 + 2)
    for path in (("BOOT", "INITRD.IMG"), ("INITRD.IMG",)):
        initrd = _found(disk, root, path)
        if initrd is not None:
            said = _found(disk, root, ("ISOLINUX", "ISOLINUX.CFG"))
            words = None if said is None else _words(disk.read(said[0] * _CD, min(said[1], _TEXT)))
            return Booted(initrd[1], words)
    return None


def _catalogued(disk: View) -> Iterator[int]:
    """The sectors of what El Torito's catalogue says is bootable."""
    name, catalogue = disk.unpack("<7x32s32xI", 17 * _CD)
    if name.rstrip(b"\0") != b"EL TORITO SPECIFICATION":
        return
    for at in range(32, _CD, 32):
        bootable, sector = disk.unpack("<B7xI", catalogue * _CD + at)
        if bootable == 0x88:
            yield sector


def _found(disk: View, directory: tuple[int, ...], path: tuple[str, ...]) -> tuple[int, int] | None:
    """Where a file is in a directory, and its bytes; both of them as sector and size."""
    place = (directory[0], directory[1])
    for name in path:
        below = [(sector, size) for each, sector, size in _records(disk, place) if each == name]
        if not below:
            return None
        # A file of 4 GiB and more has several records (interchange level 3), the others one.
        place = below[0][0], sum(size for _, size in below)
    return place


def _records(disk: View, directory: tuple[int, int]) -> Iterator[tuple[str, int, int]]:
    """The records of a directory (9.1): name without version, sector, bytes."""
    sector, size = directory
    data = disk.read(sector * _CD, min(size, MAX_READ))
    at = 0
    while at + 34 <= len(data):
        length = data[at]
        if not length:  # no record goes on in the next sector
            at += _CD - at % _CD
            continue
        first, count = struct.unpack_from("<I4xI", data, at + 2)
        name = data[at + 33 : at + 33 + data[at + 32]].partition(b";")[0]
        yield name.decode("latin-1").upper(), first, count
        at += length
