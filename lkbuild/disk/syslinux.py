"""SYSLINUX on a FAT file system, installed without its installer: boot sector, `ldlinux.sys`, and where that lies.

Syslinux 6, libinstaller/syslxmod.c (`syslinux_patch`), libinstaller/setadv.c, core/diskstart.inc.
"""

from __future__ import annotations

import struct

from lkbuild.disk.extents import Extent
from lkbuild.disk.fat import Fat
from lkbuild.disk.fat_tree import FatFile, blank
from lkbuild.disk.layout import SECTOR, round_up
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

LDLINUX = "ldlinux.sys"

_MAGIC = 0x3EB202FE
_ADV_SECTORS = 2
_RUN = 0xFFFF // SECTOR
_MAX_SYS = 1 << 20
_MODULE = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\0\x03\0"
"""How an ELF module for i386, a .c32, begins.  NB: ldlinux.sys holds a shorter mark of an ELF itself."""


@frozen
class Syslinux:
    """What the installer holds: a boot sector's code and the loader's core."""

    boot_sector: bytes
    core: bytes


def from_installer(program: bytes) -> Syslinux:
    """The loader inside the `syslinux` program, which most distributions ship nowhere else; StepError without one."""
    start = program.find(b"\r\nSYSLINUX ")
    end = program.find(_MODULE, start)
    if start < SECTOR or end < 0 or end - start > _MAX_SYS or program[start - 2 : start] != b"\x55\xaa":
        raise _unknown("the syslinux program holds no loader that is known")
    return Syslinux(program[start - SECTOR : start], program[start:end])


def core_file(loader: Syslinux) -> FatFile:
    """The file `ldlinux.sys` as it must be among the file system's files; its contents come with `install`."""
    return blank(LDLINUX, round_up(len(loader.core), SECTOR) + _ADV_SECTORS * SECTOR)


def install(fat: Fat, loader: Syslinux) -> list[Extent]:
    """The partition with the loader in it, `core_file` being one of its files.  StepError for an unknown loader."""
    try:
        code, core = patched(loader, fat.place(LDLINUX) // SECTOR)
    except (struct.error, StopIteration, IndexError) as error:
        raise _unknown("the loader's files are not those of Syslinux 6") from error
    # Jump, OEM name and code are the loader's, the description of the file system between them is ours, for FAT16 too.
    return fat.write(code[:11] + fat.boot_sector[11:90] + code[90:], {LDLINUX: core})


def _unknown(what: str) -> StepError:
    return StepError(what, "give the files of Syslinux 6.03 or 6.04")


def patched(loader: Syslinux, first: int) -> tuple[bytes, bytes]:
    """Boot sector and core, told that the core lies in one piece from sector `first` of the partition."""
    code, core = bytearray(loader.boot_sector), bytearray(loader.core)
    sectors = -(-len(core) // SECTOR)
    words = len(core) >> 2
    patch = next(at for at in range(0, len(core) - 4, 4) if struct.unpack_from("<I", core, at)[0] == _MAGIC)
    (area,) = struct.unpack_from("<H", core, patch + 22)
    adv, directory, _, _, _, extents, count, low, high, _ = struct.unpack_from("<10H", core, area)
    struct.pack_into("<I", code, low, first & 0xFFFFFFFF)
    struct.pack_into("<I", code, high, first >> 32)
    struct.pack_into("<HHI", core, patch + 8, sectors, _ADV_SECTORS, words)
    table = b"".join(struct.pack("<QH", start, length) for start, length in _extents(first + 1, sectors - 1))
    if len(table) > 10 * count:
        raise _unknown(f"a core of {len(core)} bytes has no room for the list of its sectors")
    core[extents : extents + 10 * count] = table.ljust(10 * count, b"\0")
    struct.pack_into("<QQ", core, adv, first + sectors, first + sectors + 1)
    core[directory : directory + 2] = b"/\0"
    struct.pack_into("<I", core, patch + 16, 0)
    total = sum(struct.unpack_from(f"<{words}I", core))
    struct.pack_into("<I", core, patch + 16, (_MAGIC - total) & 0xFFFFFFFF)
    return bytes(code), bytes(core).ljust(sectors * SECTOR, b"\0") + _adv() * _ADV_SECTORS


def _extents(first: int, sectors: int) -> list[tuple[int, int]]:
    """The runs the core is read in, each shorter than 64 KiB, for the BIOS is given each as a segment of its own."""
    return [(first + at, min(_RUN, sectors - at)) for at in range(0, sectors, _RUN)]


def _adv() -> bytes:
    """An empty auxiliary data vector: head, the sum that makes all words 0xa3041767, tail."""
    return struct.pack("<II", 0x5A2D2FA5, 0xA3041767) + bytes(SECTOR - 12) + struct.pack("<I", 0xDD28BF64)
