"""How a FAT file system divides its sectors: reserved ones, two FATs, a root directory (FAT16), clusters.

Microsoft's fatgen103, "FAT Type Determination": the number of clusters alone says which FAT it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lkbuild.disk.layout import MIB, PAGE, SECTOR, round_up
from lkbuild.frozen import frozen

Bits = Literal[16, 32]

CLUSTERS: dict[Bits, tuple[int, int]] = {16: (4101, 65508), 32: (65541, 0x0FFFFFE5)}
"""The fewest and the most clusters, 16 away from the limits: fatgen103 knows of drivers that err by some."""

_CHOICES = (1, 2, 4, 8, 16, 32, 64)
"""Sectors of a cluster: 32 KiB is the most that all systems read."""

_RESERVED: dict[Bits, int] = {16: 8, 32: 32}


@frozen
class Geometry:
    """Numbers of sectors, and of clusters in the data area; `sectors` is what of its partition it takes."""

    bits: Bits
    sectors: int
    reserved: int
    fat_sectors: int
    root_entries: int
    per_cluster: int
    clusters: int

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return self.per_cluster * SECTOR

    @property
    def root(self) -> int:
        """Where FAT16's root directory begins, in bytes; FAT32's is in clusters."""
        return (self.reserved + 2 * self.fat_sectors) * SECTOR

    @property
    def data(self) -> int:
        """Where the clusters begin, in bytes: a multiple of 4096."""
        return self.root + self.root_entries * 32

    def offset(self, cluster: int) -> int:
        """Where a cluster begins, in bytes; the first is number 2."""
        return self.data + (cluster - 2) * self.cluster


def divide(sectors: int, per_cluster: int, bits: Bits, root_entries: int) -> Geometry:
    """The division of so many sectors: as many clusters as go in, and FATs just large enough for them."""
    root = root_entries * 32 // SECTOR
    clusters = sectors // per_cluster
    reserved = fat = 0
    for _ in range(2):
        fat = -(-(clusters + 2) * bits // 8 // SECTOR)
        reserved = _RESERVED[bits]
        reserved += -(reserved + 2 * fat + root) % (PAGE // SECTOR)
        clusters = max(sectors - reserved - 2 * fat - root, 0) // per_cluster
    clusters = min(clusters, fat * SECTOR * 8 // bits - 2, CLUSTERS[bits][1])
    used = reserved + 2 * fat + root + clusters * per_cluster
    return Geometry(bits, used, reserved, fat, root_entries, per_cluster, clusters)


def of_size(size: int, bits: Bits, root_entries: int) -> Geometry | None:
    """The division of `size` bytes; None where no cluster size gives a number of clusters that this FAT may have.

    FAT32 takes the largest clusters there can be, for its tables are the largest part of what is written; FAT16's are
    small, and it takes the smallest clusters.
    """
    for per_cluster in reversed(_CHOICES) if bits == 32 else _CHOICES:
        found = divide(size // SECTOR, per_cluster, bits, root_entries)
        if found.clusters >= CLUSTERS[bits][0] and size - found.sectors * SECTOR < MIB:
            return found
    return None


def for_clusters(needed: Callable[[int], int], bits: Bits, root_entries: int) -> tuple[Geometry, int] | None:
    """The smallest division in whole MiB, and its size, with the clusters `needed` asks for given a cluster's bytes.

    None where there would be more clusters than this FAT may have.
    """
    fewest, most = CLUSTERS[bits]
    if bits == 32:
        per_cluster = max((n for n in _CHOICES if needed(n * SECTOR) >= fewest), default=1)
    else:
        per_cluster = next((n for n in _CHOICES if needed(n * SECTOR) <= most), _CHOICES[-1])
    wanted = max(needed(per_cluster * SECTOR), fewest)
    if wanted > most:
        return None
    size = round_up(wanted * per_cluster * SECTOR, MIB)
    while (found := divide(size // SECTOR, per_cluster, bits, root_entries)).clusters < wanted:
        size += MIB
    return found, size
