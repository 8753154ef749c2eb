"""The raw disk in a QCOW2, VHD, VHDX or VMDK: the counterparts of `qcow2`, `vhd`, `vhdx` and `vmdk`.

Disks on top of others, encrypted ones, and changes that wait in a log are ValueErrors.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

from lkbuild.disk.identity import guid, mixed_endian
from lkbuild.disk.layout import MIB, SECTOR
from lkbuild.disk.view import View, in_units

_MAX_UNIT = 256 * MIB
"""VHDX has blocks of up to 256 MiB, the others far smaller ones."""


def raw(file: View) -> View:
    """The raw disk in a file: the file itself, where it is none of these formats (a fixed VHD has but a footer)."""
    head = file.read(0, min(8, file.size))
    for magic, opened in _FORMATS.items():
        if head.startswith(magic):
            return opened(file)
    return file


def _unit(size: int) -> int:
    """The bytes of a unit, a power of two; ValueError for what none of these formats has."""
    if not SECTOR <= size <= _MAX_UNIT or size & (size - 1):
        raise ValueError(f"units of {size} bytes")
    return size


def _qcow2(file: View) -> View:
    """QEMU's docs/interop/qcow2.txt: a table of tables of clusters."""
    version, backing, bits, size, encrypted, entries, table = file.unpack(">IQ4xIQIIQ", 4)
    extended = file.unpack(">Q", 72)[0] if version > 2 else 0
    if version not in (2, 3) or backing or encrypted or extended or bits > 21:
        raise ValueError("a QCOW2 with features that are not known here")
    cluster = _unit(1 << bits)
    per_table = cluster // 8

    def piece(number: int, skip: int, count: int) -> bytes:
        upper, lower = divmod(number, per_table)
        if upper >= entries:
            raise ValueError("a cluster behind the last table")
        second = file.unpack(">Q", table + 8 * upper)[0] & 0x00FFFFFFFFFFFE00
        entry = file.unpack(">Q", second + 8 * lower)[0] if second else 0
        if entry >> 62 & 1:
            raise ValueError("a compressed cluster")
        at = entry & 0x00FFFFFFFFFFFE00
        return file.read(at + skip, count) if at and not entry & 1 else bytes(count)

    return in_units(cluster, size, piece)


def _dynamic_vhd(file: View) -> View:
    """Microsoft's "Virtual Hard Disk Image Format Specification" 1.0: a bitmap of whole sectors before each block."""
    header, size, kind = file.unpack(">Q24xQ4xI", 16)
    magic, table, count, size_of_block = file.unpack(">8s8xQ4xII", header)
    if kind != 3 or magic != b"cxsparse":
        raise ValueError("no dynamic VHD")
    block = _unit(size_of_block)
    bitmap = -(-block // SECTOR // 8 // SECTOR) * SECTOR

    def piece(number: int, skip: int, length: int) -> bytes:
        if number >= count:
            raise ValueError("a block behind the last")
        (sector,) = file.unpack(">I", table + 4 * number)
        return bytes(length) if sector == 0xFFFFFFFF else file.read(sector * SECTOR + bitmap + skip, length)

    return in_units(block, size, piece)


def _vhdx(file: View) -> View:
    """[MS-VHDX]: region table, metadata, and a block allocation table with an entry of a bitmap after each chunk."""
    for copy in (1, 2):
        if any(file.read(copy * (64 << 10) + 48, 16)):
            raise ValueError("a VHDX with a log to be replayed")
    regions = _table(file, 192 << 10, (b"regi", 8), 16)
    table, metadata = (_named(regions, name) for name in _REGIONS)
    items = _table(file, metadata, (b"metadata", 10), 32)
    parameters, size_at, sector_at = (metadata + (_named(items, name) & 0xFFFFFFFF) for name in _ITEMS)
    size_of_block, flags = file.unpack("<II", parameters)
    (size,), (sector,) = file.unpack("<Q", size_at), file.unpack("<I", sector_at)
    if flags & 2:
        raise ValueError("a VHDX on top of another")
    block = _unit(size_of_block)
    chunk = (1 << 23) * _unit(sector) // block

    def piece(number: int, skip: int, count: int) -> bytes:
        (entry,) = file.unpack("<Q", table + 8 * (number + number // chunk))
        if entry & 7 == 7:
            raise ValueError("a block that is partly there")
        return file.read((entry >> 20 << 20) + skip, count) if entry & 7 == 6 else bytes(count)

    return in_units(block, size, piece)


_REGIONS = ("2dc27766-f623-4200-9d64-115e9bfd4a08", "8b7ca206-4790-4b9a-b8fe-575f050f886e")
_ITEMS = (
    "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
    "2fa54224-cd1b-4876-b211-5dbed83bf4b8",
    "8141bf1d-a96f-4709-ba47-f233a8faab5f",
)
"""Block allocation table and metadata; in that, file parameters, the disk's size, and that of a logical sector."""


def _table(file: View, at: int, magic: tuple[bytes, int], head: int) -> dict[bytes, int]:
    """A table of GUIDs, 32 bytes a line; `magic` is its signature and where the number of lines stands in 16 bits."""
    signature, count_at = magic
    if file.read(at, len(signature)) != signature:
        raise ValueError(f"no {signature!r}")
    (count,) = file.unpack("<H", at + count_at)
    lines = (file.unpack("<16sQ", at + head + 32 * number) for number in range(min(count, 2047)))
    return dict(lines)


def _named(table: dict[bytes, int], name: str) -> int:
    found = table.get(mixed_endian(guid(name)))
    if found is None:
        raise ValueError(f"a VHDX without {name}")
    return found


def _vmdk(file: View) -> View:
    """VMware's "Virtual Disk Format 5.0", hosted sparse extents; a stream's directory is named in its footer."""
    flags, capacity, grain_sectors, per_table, directory = file.unpack("<IQQ16xI8xQ", 8)
    if directory == 0xFFFFFFFFFFFFFFFF:
        magic, directory = file.unpack("<4s52xQ", file.size - 2 * SECTOR)
        if magic != b"KDMV":
            raise ValueError("a stream without a footer")
    grain = _unit(min(grain_sectors, _MAX_UNIT) * SECTOR)
    if not 0 < per_table <= 512 or grain > MIB:
        raise ValueError("a VMDK with features that are not known here")
    packed = bool(flags >> 16 & 1)

    @functools.lru_cache(2)
    def unpacked(at: int) -> bytes:
        (size,) = file.unpack("<I", at + 8)
        try:
            return zlib.decompressobj().decompress(file.read(at + 12, size), grain).ljust(grain, b"\0")
        except zlib.error as error:
            raise ValueError("a damaged grain") from error

    def piece(number: int, skip: int, count: int) -> bytes:
        upper, lower = divmod(number, per_table)
        (table,) = file.unpack("<I", directory * SECTOR + 4 * upper)
        sector = file.unpack("<I", table * SECTOR + 4 * lower)[0] if table else 0
        if sector < 2:  # 1 are zeros too
            return bytes(count)
        return unpacked(sector * SECTOR)[skip : skip + count] if packed else file.read(sector * SECTOR + skip, count)

    return in_units(grain, min(capacity, 1 << 55) * SECTOR, piece)


_FORMATS: dict[bytes, Callable[[View], View]] = {
    b"QFI\xfb": _qcow2,
    b"conectix": _dynamic_vhd,
    b"vhdxfile": _vhdx,
    b"KDMV": _vmdk,
}
