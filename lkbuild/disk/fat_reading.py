"""Reading a FAT file system: the counterpart of `fat`, for files with 8.3 names.

Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (fatgen103).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lkbuild.disk.view import MAX_READ, View
from lkbuild.frozen import frozen

_DIRECTORY, _VOLUME = 0x10, 0x08
_ENTRY = 32


@frozen
class Found:
    """A file or directory: its name is in capitals, and short (`LINUX~1.CON`); where it begins, its size in bytes."""

    name: str
    is_directory: bool
    cluster: int
    size: int


class FatReader:
    """A FAT16 or FAT32; ValueError for what is none, here and below."""

    def __init__(self, disk: View) -> None:
        sector, per_cluster, reserved, copies, entries, small, _, short = disk.unpack("<HBHBHHBH", 11)
        large, long, self._root_cluster = disk.unpack("<II4xI", 32)
        sectors, fat = small or large, short or long
        powers = (sector, per_cluster)
        if disk.read(510, 2) != b"\x55\xaa" or not 512 <= sector <= 4096 or any(n & (n - 1) or not n for n in powers):
            raise ValueError("no FAT")
        self._disk, self._cluster = disk, sector * per_cluster
        self._fat = reserved * sector
        self._root = self._fat + copies * fat * sector
        self._root_size = entries * _ENTRY
        self._data = self._root + -(-self._root_size // sector) * sector
        self._count = (sectors * sector - self._data) // self._cluster
        if self._count < 4085:
            raise ValueError("no FAT16 or FAT32")
        self._width = 2 if self._count < 65525 else 4

    def find(self, *path: str) -> list[Found]:
        """What matches a path of names in capitals; the last may be `*.` and an extension.  [] where nothing does."""
        here = self._listed(None)
        for depth, name in enumerate(path, 1):
            extension = name[1:] if name.startswith("*") else None
            found = [f for f in here if (f.name.endswith(extension) if extension else f.name == name)]
            if depth == len(path):
                return [f for f in found if not f.is_directory]
            directories = [f for f in found if f.is_directory]
            if not directories:
                return []
            here = self._listed(directories[0])
        return here

    def read(self, file: Found, most: int) -> bytes:
        """The beginning of a file, at most `most` bytes."""
        return self._chain(file.cluster, min(file.size, most))[: min(file.size, most)]

    def _listed(self, directory: Found | None) -> list[Found]:
        """What is in a directory; None is the root."""
        if directory is None and self._width == 2:
            data = self._disk.read(self._root, self._root_size)
        else:
            data = self._chain(self._root_cluster if directory is None else directory.cluster, MAX_READ)
        return list(self._entries(data))

    def _entries(self, data: bytes) -> Iterator[Found]:
        for at in range(0, len(data) - _ENTRY + 1, _ENTRY):
            base, suffix, attributes, high, low, size = struct.unpack_from("<8s3sB8xH4xHI", data, at)
            if not base[0]:
                return
            if base[0] == 0xE5 or attributes & _VOLUME:  # deleted; a label, or part of a long name
                continue
            name, extension = base.decode("latin-1").rstrip(), suffix.decode("latin-1").rstrip()
            name = f"{name}.{extension}" if extension else name
            yield Found(name, bool(attributes & _DIRECTORY), low | (high << 16 if self._width == 4 else 0), size)

    def _chain(self, cluster: int, most: int) -> bytes:
        """The contents of a chain of clusters, to its end or until they are `most` bytes."""
        made = bytearray()
        while len(made) < most and 2 <= cluster < self._count + 2:
            made += self._disk.read(self._data + (cluster - 2) * self._cluster, self._cluster)
            form = "<H" if self._width == 2 else "<I"
            cluster = self._disk.unpack(form, self._fat + cluster * self._width)[0] & 0x0FFFFFFF
        return bytes(made)
