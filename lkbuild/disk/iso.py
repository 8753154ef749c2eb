"""ISO 9660 with Rock Ridge, bootable by BIOS and UEFI, as CD and as disk.

ECMA-119 (interchange level 3), without relocated directories: Linux and boot loaders read any depth.  Large files begin
at multiples of 4096.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from lkbuild.archive.entry import FIXED_TIME, Entry
from lkbuild.disk import el_torito
from lkbuild.disk import iso_records as records
from lkbuild.disk.extents import Data, Extent
from lkbuild.disk.iso_records import DIRECTORY, MULTI_EXTENT, SECTOR, both16, both32
from lkbuild.disk.layout import MIB, PAGE, Layout, round_up, total
from lkbuild.disk.limits import size_text, too_large
from lkbuild.disk.rock_ridge import Continuations, announcement, attributes, named
from lkbuild.disk.tree import Inode, Member, inodes, tree
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

MAX_DIRECTORIES = 65535
"""The path table numbers parents in 16 bits."""

_DESCRIPTORS = 16
_LARGE = 64 << 10
_MAX_EXTENT = (1 << 32) - SECTOR
"""The most bytes of one directory record; a larger file has several (interchange level 3)."""

MAX_SIZE = 2 << 40
"""2 TiB: as a disk, an ISO has sectors of 512 bytes, which have numbers of 32 bits in its MBR."""

_GPT_END = 33 * 512


@frozen
class BiosBoot:
    """ISOLINUX: `program` is isolinux.bin, which goes to `path`; with `mbr` (isohdpfx.bin) the ISO is a disk as well.

    `isolinux.cfg` and `ldlinux.c32` are members beside it.
    """

    path: bytes
    program: bytes
    mbr: bytes = b""


@frozen
class EfiBoot:
    """A FAT image that UEFI boots from; `shared` names members whose contents lie in it, and at which byte.

    Those bytes are multiples of 2048, and the contents are there only once.
    """

    image: tuple[Extent, ...]
    shared: tuple[tuple[bytes, int], ...] = ()


@frozen
class IsoOptions:
    """`time` is the volume's, in seconds; the members have their own."""

    volume: str = "LKBUILD"
    time: int = FIXED_TIME
    bios: BiosBoot | None = None
    efi: EfiBoot | None = None


def iso(members: Iterable[Member], options: IsoOptions, seed: bytes) -> list[Extent]:
    """The whole ISO.  Extended attributes are left out, for ISO 9660 has none.

    StepError for names of more than 253 bytes, more than 65535 directories, and more than 2 TiB.
    """
    if options.bios is not None:
        program = options.bios.program
        entry = Entry(options.bios.path, "file", 0o444, mtime=options.time, size=len(program))
        members = chain(members, [Member(entry, (Data(program),))])
    return _Iso(tree(members), options).write(seed)


@dataclass(slots=True, eq=False)
class _Record:
    """A directory record to be: its inode, and all that does not depend on where that lies."""

    inode: Inode
    identifier: bytes
    system_use: bytes

    def count(self) -> int:
        """How many records the inode needs: one for each extent."""
        return max(-(-self.inode.size // _MAX_EXTENT), 1)


class _Iso:
    """An ISO laid out: descriptors, path tables, directories, continued fields, catalogue, files, FAT image.

    Continued fields stand behind all directories and before all files, or libarchive, which reads on, refuses them.
    """

    def __init__(self, root: Inode, options: IsoOptions) -> None:
        self._root, self._options = root, options
        self._bootable = options.bios is not None or options.efi is not None
        self._directories = _breadth_first(root)
        if len(self._directories) > MAX_DIRECTORIES:
            count = len(self._directories)
            raise StepError(
                f"{count} directories (an ISO has at most {MAX_DIRECTORIES})", "choose kernel+squashfs or kernel+erofs"
            )
        self._at = _DESCRIPTORS + (3 if self._bootable else 2)
        self._names: dict[Inode, bytes] = {root: b"\0"}
        self._records: dict[Inode, list[_Record]] = {}
        self._continuing = self._list(self._directories, 0)
        self._places: dict[Inode, int] = {}
        self._lay_out()

    def _take(self, size: int, align: int = SECTOR) -> int:
        """The sector where so many bytes go next."""
        self._at = round_up(self._at * SECTOR, align) // SECTOR
        at, self._at = self._at, self._at + -(-size // SECTOR)
        return at

    def _list(self, directories: Iterable[Inode], first: int) -> list[Inode]:
        """Make the records of directories, fields going on from sector `first`; returns those with such fields."""
        self._continued, found = Continuations(first), list[Inode]()
        for directory in directories:
            before = len(self._continued.data)
            self._records[directory] = self._listed(directory)
            if len(self._continued.data) > before:
                found.append(directory)
        return found

    def _listed(self, directory: Inode) -> list[_Record]:
        """The records of a directory in their order."""
        parent = directory.parent or directory
        fields = attributes(directory)
        if directory is self._root:
            first, last = announcement()
            fields = [first, *fields, last]
        fit = self._continued.fit
        made = [_Record(directory, b"\0", fit(fields, records.record_room(b"\0")))]
        made.append(_Record(parent, b"\1", fit(attributes(parent), records.record_room(b"\1"))))
        names, listed = records.Names(), []
        for name, inode in directory.children.items():
            identifier = names.take(name, inode.is_directory)
            listed.append((identifier, name, inode))
        for identifier, name, inode in sorted(listed, key=lambda item: records.sort_key(item[0])):
            made.append(_Record(inode, identifier, fit(named(name, inode), records.record_room(identifier))))
            if inode.is_directory:
                self._names[inode] = identifier
        return made

    def _lay_out(self) -> None:
        self._table_size = sum(8 + round_up(len(self._names[each]), 2) for each in self._directories)
        self._tables = (self._take(self._table_size), self._take(self._table_size))
        self._sizes = {each: _directory_size(self._records[each]) for each in self._directories}
        for directory in self._directories:
            self._places[directory] = self._take(self._sizes[directory])
        # Now that it is known where fields continue, the records that say so, whose lengths stay the same.
        self._list(self._continuing, self._take(len(self._continued.data)))
        self._catalogue = self._take(SECTOR) if self._bootable else 0
        shared = dict(self._options.efi.shared) if self._options.efi else {}
        self._files = [each for each in inodes(self._root) if each.size and each.entry.kind == "file"]
        for inode in self._files:
            if inode.entry.path not in shared:
                self._places[inode] = self._take(inode.size, PAGE if inode.size >= _LARGE else SECTOR)
        self._efi: tuple[int, int] | None = None
        if self._options.efi is not None:
            size = total(self._options.efi.image)
            self._efi = self._take(size, PAGE), size
            for inode in self._files:
                if inode.entry.path in shared:
                    self._places[inode] = self._efi[0] + shared[inode.entry.path] // SECTOR
        self._sectors = self._at
        if self._sectors * SECTOR > MAX_SIZE:
            parts = [(each.entry.path.decode("utf-8", "replace"), each.size) for each in self._files]
            what = f"an ISO of {size_text(self._sectors * SECTOR)} (at most {size_text(MAX_SIZE)})"
            raise too_large(what, parts, "make the largest parts smaller")

    def write(self, seed: bytes) -> list[Extent]:
        made, options, efi = Layout(), self._options, self._options.efi
        made.put(_DESCRIPTORS * SECTOR, self._volume())
        end = (b"\xffCD001\1").ljust(SECTOR, b"\0")
        made.put((_DESCRIPTORS + 1) * SECTOR, el_torito.boot_record(self._catalogue) + end if self._bootable else end)
        made.put(self._continued.first * SECTOR, bytes(self._continued.data))
        for order, sector in zip("<>", self._tables, strict=True):
            made.put(sector * SECTOR, self._path_table(order))
        for directory in self._directories:
            made.put(self._places[directory] * SECTOR, b"".join(self._written(directory)))
        shared = dict(efi.shared) if efi else {}
        bios = None
        for inode in self._files:
            if options.bios is not None and inode.entry.path == options.bios.path:
                bios = self._places[inode]
                made.put(bios * SECTOR, el_torito.with_boot_info(options.bios.program, bios))
            elif inode.entry.path not in shared:
                made.put(self._places[inode] * SECTOR, inode.extents)
        size = self._sectors * SECTOR
        if self._bootable:
            made.put(self._catalogue * SECTOR, el_torito.catalogue(bios, self._efi))
            size = self._hybrid(made, bios, seed)
        if efi is not None and self._efi is not None:
            made.put(self._efi[0] * SECTOR, efi.image)
        return made.extents(size)

    def _hybrid(self, made: Layout, bios: int | None, seed: bytes) -> int:
        """Make it a disk where it can be one; returns the bytes it has then."""
        code = self._options.bios.mbr if self._options.bios else b""
        if not code and self._efi is None:
            return self._sectors * SECTOR
        size = round_up(self._sectors * SECTOR + _GPT_END, MIB)
        table = el_torito.hybrid(size // 512, code, bios if code else None, self._efi, seed)
        made.put(0, table.head)
        made.put(size - len(table.tail), table.tail)
        return size

    def _written(self, directory: Inode) -> Iterator[bytes]:
        """The records of a directory, kept no longer, as they stand in it: none goes on in the next sector."""
        used = 0
        for each in self._records.pop(directory):
            for data in self._record(each):
                if used % SECTOR + len(data) > SECTOR:
                    yield bytes(-used % SECTOR)
                    used = round_up(used, SECTOR)
                yield data
                used += len(data)
        yield bytes(-used % SECTOR)

    def _record(self, each: _Record) -> Iterator[bytes]:
        inode, time = each.inode, each.inode.entry.mtime
        at = self._places.get(inode, 0)
        if inode.is_directory:
            yield records.record(each.identifier, (at, self._sizes[inode]), time, DIRECTORY, each.system_use)
            return
        left = inode.size if inode.entry.kind == "file" else 0
        for number in range(each.count(), 0, -1):
            size = min(left, _MAX_EXTENT)
            flags = MULTI_EXTENT if number > 1 else 0
            yield records.record(each.identifier, (at, size), time, flags, each.system_use)
            at, left = at + size // SECTOR, left - size

    def _path_table(self, order: str) -> bytes:
        numbers = {directory: number for number, directory in enumerate(self._directories, 1)}
        made = b""
        for directory in self._directories:
            name = self._names[directory]
            parent = numbers[directory.parent or directory]
            made += struct.pack(f"{order}BBIH", len(name), 0, self._places[directory], parent)
            made += name + bytes(len(name) % 2)
        return made

    def _volume(self) -> bytes:
        """The primary volume descriptor (8.4)."""
        options, root = self._options, (self._places[self._root], self._sizes[self._root])
        time = records.long_date(options.time)
        fields = b"\1CD001\1\0" + records.text("LINUX", 32) + records.text(options.volume, 32) + bytes(8)
        fields += both32(self._sectors) + bytes(32) + both16(1) + both16(1) + both16(SECTOR) + both32(self._table_size)
        fields += struct.pack("<II", self._tables[0], 0) + struct.pack(">II", self._tables[1], 0)
        fields += records.record(b"\0", root, options.time, DIRECTORY, b"")
        fields += b" " * 128 * 4 + b" " * 37 * 3 + time * 2 + records.NO_DATE + time + b"\1\0"
        return fields.ljust(SECTOR, b"\0")


def _directory_size(listed: Iterable[_Record]) -> int:
    used = 0
    for each in listed:
        length = 33 + len(each.identifier) + (1 - len(each.identifier) % 2) + len(each.system_use)
        length += length % 2
        for _ in range(each.count()):
            if used % SECTOR + length > SECTOR:
                used = round_up(used, SECTOR)
            used += length
    return round_up(used, SECTOR)


def _breadth_first(root: Inode) -> list[Inode]:
    """The directories level by level; within a directory in the order of their ISO names."""
    found = [root]
    for directory in found:
        names = records.Names()
        below = [(names.take(name, each.is_directory), each) for name, each in directory.children.items()]
        found += [each for name, each in sorted(below, key=lambda item: item[0]) if each.is_directory]
    return found
