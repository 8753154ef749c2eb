"""QCOW2, version 3, without compression: only what holds more than zeros is stored.  QEMU's docs/interop/qcow2.txt."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from sys import byteorder

from lkbuild.disk.extents import Extent
from lkbuild.disk.layout import Layout, Ranges, round_up
from lkbuild.frozen import frozen

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
_TABLE = CLUSTER // 8
"""Entries of an L2 table or of a cluster of the L1 and the refcount table."""

_COUNTS = CLUSTER // 2
"""Refcounts of 16 bits in a refcount block."""

_COPIED = 1 << 63
"""Set where a cluster's refcount is one, which makes it writable in place."""


@frozen
class _Plan:
    """Numbers of clusters: of the tables, in the order they stand in the file, and of all of it."""

    l1: int
    l2: int
    refcount_table: int
    refcount_blocks: int
    data: int
    all: int


def qcow2(extents: Sequence[Extent], size: int) -> list[Extent]:
    """The QCOW2 image of a raw one, whose disk has `size` bytes (not less than the extents have).

    Metadata first, then the clusters in the disk's order; a run of them is one extent, at a multiple of 64 KiB.
    """
    disk = Ranges(extents)
    runs = list(disk.used(CLUSTER))
    tables = sorted(
        {number for first, count in runs for number in range(first // _TABLE, (first + count - 1) // _TABLE + 1)}
    )
    plan = _planned(round_up(size, CLUSTER) // CLUSTER, len(tables), sum(count for _, count in runs))
    made = Layout()
    made.put(0, _header(size, plan))
    l2_at = 1 + plan.l1
    table_at = l2_at + plan.l2
    blocks_at = table_at + plan.refcount_table
    l1 = array("Q", bytes(8 * (max(tables, default=-1) + 1)))
    l2 = {number: array("Q", bytes(CLUSTER)) for number in tables}
    for place, number in enumerate(tables):
        l1[number] = _COPIED | (l2_at + place) * CLUSTER
    at = blocks_at + plan.refcount_blocks
    for first, count in runs:
        made.put(at * CLUSTER, disk.cut(first * CLUSTER, count * CLUSTER))
        for number in range(first, first + count):
            l2[number // _TABLE][number % _TABLE] = _COPIED | at * CLUSTER
            at += 1
    made.put(CLUSTER, _big_endian(l1))
    for place, number in enumerate(tables):
        made.put((l2_at + place) * CLUSTER, _big_endian(l2[number]))
    blocks = range(blocks_at, blocks_at + plan.refcount_blocks)
    made.put(table_at * CLUSTER, _big_endian(array("Q", [block * CLUSTER for block in blocks])))
    made.put(blocks_at * CLUSTER, struct.pack(">H", 1) * plan.all)
    return made.extents(plan.all * CLUSTER)


def _planned(clusters: int, l2: int, data: int) -> _Plan:
    """How many clusters everything takes; the refcounts count themselves too."""
    l1 = max(-(-clusters // _TABLE // _TABLE), 1)
    blocks = table = 0
    while True:
        everything = 1 + l1 + l2 + data + blocks + table
        if blocks == -(-everything // _COUNTS) and table == -(-blocks // _TABLE):
            return _Plan(l1, l2, table, blocks, data, everything)
        blocks = -(-everything // _COUNTS)
        table = -(-blocks // _TABLE)


def _header(size: int, plan: _Plan) -> bytes:
    l1_entries = -(-round_up(size, CLUSTER) // CLUSTER // _TABLE)
    refcounts = (1 + plan.l1 + plan.l2) * CLUSTER
    head = struct.pack(">4sIQIIQII", b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, size, 0, l1_entries)
    # Refcounts of 16 bits (order 4); a header of 104 bytes, after which the list of extensions ends at once.
    return head + struct.pack(">QQIIQQQQII", CLUSTER, refcounts, plan.refcount_table, 0, 0, 0, 0, 0, 4, 104) + bytes(8)


def _big_endian(numbers: array[int]) -> bytes:
    if byteorder == "little":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()
