"""FAT16 and FAT32 file systems with long names, every file in one piece that begins at a multiple of 4096.

Microsoft's "FAT: General Overview of On-Disk Format" 1.03 (fatgen103).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from sys import byteorder

from lkbuild.archive.entry import FIXED_TIME
from lkbuild.disk import fat_names as names
from lkbuild.disk.extents import Extent
from lkbuild.disk.fat_geometry import CLUSTERS, Bits, Geometry, for_clusters, of_size
from lkbuild.disk.fat_tree import FatFile, Node, checked_path, directories, in_order, nodes, spelled, tree
from lkbuild.disk.identity import derived_number
from lkbuild.disk.layout import PAGE, SECTOR, Layout, round_up
from lkbuild.disk.limits import size_text, too_large
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

_ROOT_ENTRIES = 512
_FSINFO, _BACKUP = 1, 6


@frozen
class FatOptions:
    """`size`: bytes of the partition, a multiple of 512; without it as small as holds the files, in whole MiB.

    `hidden`: sectors before the partition, which a BIOS boot sector must know.  `time`: of all files, in seconds.
    """

    bits: Bits = 32
    size: int | None = None
    label: str = "LKBUILD"
    hidden: int = 0
    time: int = FIXED_TIME


class Fat:
    """A FAT file system laid out: where everything lies is known, and a loader may be installed before it is written.

    StepError for names that FAT has not, a file of 4 GiB or more, and a size that is too small or too large.
    """

    def __init__(self, files: Sequence[FatFile], options: FatOptions, seed: bytes) -> None:
        self._files = [(file, checked_path(file)) for file in files]
        self._options = options
        self._seed = seed
        self._root = tree(self._files)
        self._directories = list(directories(self._root))
        self.geometry, self.size = self._fit()
        self._chains = self._allocate()
        self._nodes = {spelled(node).casefold(): node for node in nodes(self._root) if node.file}
        self.boot_sector = self._boot_sector()

    def place(self, path: str) -> int:
        """Where the contents of a file that is not empty begin, in bytes from the partition's beginning."""
        return self.geometry.offset(self._nodes[path.strip("/").casefold()].cluster)

    def write(self, boot_sector: bytes | None = None, contents: Mapping[str, bytes] | None = None) -> list[Extent]:
        """The whole partition; `contents`, by path, takes the place of files of the same size."""
        made, geometry = Layout(), self.geometry
        sector = boot_sector or self.boot_sector
        made.put(0, sector)
        if geometry.bits == 32:
            made.put(_FSINFO * SECTOR, self._fsinfo())
            made.put(_BACKUP * SECTOR, sector + self._fsinfo())
        for copy in range(2):
            made.put((geometry.reserved + copy * geometry.fat_sectors) * SECTOR, self._chains)
        for node in self._directories:
            made.put(geometry.offset(node.cluster) if node.cluster else geometry.root, self._entries(node))
        replacing = {path.strip("/").casefold(): content for path, content in (contents or {}).items()}
        for path, node in self._nodes.items():
            if node.size and node.file is not None:
                replaced = replacing.get(path)
                if replaced is not None and len(replaced) != node.size:
                    raise ValueError(f"{path}: {len(replaced)} bytes for a file of {node.size}")
                made.put(geometry.offset(node.cluster), replaced if replaced is not None else node.file.extents)
        return made.extents(self.size)

    # -- dividing the space --------------------------------------------------------------------------------------------

    def _needed(self, cluster: int) -> int:
        """Clusters of so many bytes that everything takes."""
        outside = self._root if self._options.bits == 16 else None
        taken = sum(-(-node.size // cluster) for node in self._directories if node is not outside)
        unit = max(cluster, PAGE)
        files = sum(round_up(file.size, unit) for file, _ in self._files)
        return round_up(taken * cluster, unit) // cluster + files // cluster

    def _fit(self) -> tuple[Geometry, int]:
        bits, size = self._options.bits, self._options.size
        root = max(round_up(self._root.size // names.ENTRY, SECTOR // names.ENTRY), _ROOT_ENTRIES) if bits == 16 else 0
        if size is None:
            found = for_clusters(self._needed, bits, root)
            if found is None or found[1] // SECTOR > 0xFFFFFFFF:
                raise self._refused(f"the files need {size_text(self._payload())}, more than a FAT{bits} can hold")
            return found
        if size % SECTOR or not 0 < size // SECTOR <= 0xFFFFFFFF:
            raise StepError(f"a FAT of {size} bytes (wanted whole sectors of 512, at most 2 TiB)", "give another size")
        geometry = of_size(size, bits, root)
        if geometry is None:
            fewest, most = CLUSTERS[bits]
            low, high = size_text((fewest + 600) * SECTOR), size_text(most * 64 * SECTOR)
            raise StepError(
                f"no FAT{bits} can have {size_text(size)} (about {low} to {high} are possible)", "give another size"
            )
        if self._needed(geometry.cluster) > geometry.clusters:
            room = size_text(geometry.clusters * geometry.cluster)
            raise self._refused(
                f"a FAT{bits} of {size_text(size)} has room for {room}, the files need"
                f" {size_text(self._needed(geometry.cluster) * geometry.cluster)}"
            )
        return geometry, size

    def _payload(self) -> int:
        return sum(file.size for file, _ in self._files)

    def _refused(self, what: str) -> StepError:
        hint = "give a larger size, or make the largest parts smaller"
        return too_large(what, [(path, file.size) for file, path in self._files], hint)

    def _allocate(self) -> bytes:
        """Give directories and files their clusters; returns the FAT as far as it is used."""
        geometry, wide = self.geometry, self.geometry.bits == 32
        end = 0x0FFFFFFF if wide else 0xFFFF
        fat = array("I" if wide else "H", [0x0FFFFFF8 if wide else 0xFFF8, end])

        def take(size: int) -> int:
            first, count = len(fat), -(-size // geometry.cluster)
            fat.extend(range(first + 1, first + count))
            fat.append(end)
            return first

        for node in self._directories:
            if wide or node is not self._root:
                node.cluster = take(node.size)
        step = max(PAGE // geometry.cluster, 1)
        for node in in_order(self._root, self._files):
            if node.size:
                fat.extend([0] * (-(len(fat) - 2) % step))
                node.cluster = take(node.size)
        self._free = geometry.clusters + 2 - len(fat) + fat[2:].count(0)
        self._next = len(fat) if len(fat) < geometry.clusters + 2 else 0xFFFFFFFF
        if byteorder == "big":
            fat.byteswap()
        return fat.tobytes()

    # -- what is written -----------------------------------------------------------------------------------------------

    def _entries(self, directory: Node) -> bytes:
        time = self._options.time
        if directory.parent is None:
            made = [names.entry(self._label(), names.VOLUME, 0, 0, time)]
        else:
            above = directory.parent.cluster if directory.parent.parent else 0
            made = [
                names.entry(b".".ljust(11), names.DIRECTORY, directory.cluster, 0, time),
                names.entry(b"..".ljust(11), names.DIRECTORY, above, 0, time),
            ]
        for node in directory.children.values():
            attributes, size = (names.ARCHIVE, node.size) if node.file else (names.DIRECTORY, 0)
            made.append(node.long + names.entry(node.short, attributes, node.cluster, size, time))
        return b"".join(made)

    def _label(self) -> bytes:
        return self._options.label.upper().encode("ascii", "replace")[:11].ljust(11)

    def _boot_sector(self) -> bytes:
        geometry, wide = self.geometry, self.geometry.bits == 32
        small = geometry.sectors if not wide and geometry.sectors < 1 << 16 else 0
        head = struct.pack(
            "<3s8sHBHBHHBHHHII",
            b"\xeb\x58\x90" if wide else b"\xeb\x3c\x90",
            b"MSWIN4.1",
            SECTOR,
            geometry.per_cluster,
            geometry.reserved,
            2,
            geometry.root_entries,
            small,
            0xF8,
            0 if wide else geometry.fat_sectors,
            63,
            255,
            self._options.hidden,
            0 if small else geometry.sectors,
        )
        if wide:
            head += struct.pack("<IHHIHH12x", geometry.fat_sectors, 0, 0, self._root.cluster, _FSINFO, _BACKUP)
        volume = derived_number(self._seed, "fat volume")
        head += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, volume, self._label(), b"FAT32   " if wide else b"FAT16   ")
        return head.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"

    def _fsinfo(self) -> bytes:
        return struct.pack("<4s480x4sII12x4s", b"RRaA", b"rrAa", self._free, self._next, b"\0\0\x55\xaa")
