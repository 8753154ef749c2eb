"""Reading a FAT file system: the counterpart of `fat`, for files with 8.3 names.

Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (fatgen103).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator

from lkbuild.disk.view import MAX_READ, View
from lkbuild.frozen import frozen

_DIRECTORY, _VOLUME = 0x10, 0x08
_ENTRY = 32
_WINDOW = 4096
"""So much of the table of clusters is read at once."""


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
        self._disk = disk
        self._cluster: int = sector * per_cluster
        self._fat: int = reserved * sector
        self._fat_size: int = fat * sector
        self._window: Callable[[int], bytes] = functools.lru_cache(16)(self._read_window)
        self._root = self._fat + copies * fat * sector
        self._root_size = entries * _ENTRY
        self._data: int = self._root + -(-self._root_size // sector) * sector
        self._count: int = (sectors * sector - self._data) // self._cluster
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

    def view(self, file: Found) -> View:
        """The contents of a file, whose clusters lie anywhere; made to be read from the beginning to the end."""
        if file.size > self._count * self._cluster:
            raise ValueError(f"a file of {file.size} bytes in {self._count} clusters of {self._cluster}")
        number, cluster = 0, file.cluster

        def fetch(offset: int, length: int) -> bytes:
            nonlocal number, cluster
            wanted, skip = divmod(offset, self._cluster)
            if wanted < number:
                number, cluster = 0, file.cluster
            made = bytearray()
            while len(made) < length:
                while number < wanted:
                    number, cluster = number + 1, self._next(cluster)
                first, run = cluster, self._cluster - skip
                while run < length - len(made) and (following := self._next(cluster)) == cluster + 1:
                    number, cluster, run = number + 1, following, run + self._cluster
                run = min(run, length - len(made))
                made += self._disk.read(self._place(first) + skip, run)
                wanted, skip = number + 1, 0
            return bytes(made)

        return View(fetch, file.size)

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
        while len(made) < most and self._is_cluster(cluster):
            made += self._disk.read(self._place(cluster), self._cluster)
            cluster = self._next(cluster)
        return bytes(made)

    def _is_cluster(self, cluster: int) -> bool:
        return 2 <= cluster < self._count + 2

    def _place(self, cluster: int) -> int:
        """Where a cluster's bytes begin."""
        if not self._is_cluster(cluster):
            raise ValueError("a chain of clusters that ends before its file")
        return self._data + (cluster - 2) * self._cluster

    def _next(self, cluster: int) -> int:
        """The cluster after one, or the mark of the chain's end."""
        block, skip = divmod(cluster * self._width, _WINDOW)
        return int.from_bytes(self._window(block)[skip : skip + self._width], "little") & 0x0FFFFFFF

    def _read_window(self, block: int) -> bytes:
        at = block * _WINDOW
        return self._disk.read(self._fat + at, max(min(_WINDOW, self._fat_size - at), 0))
