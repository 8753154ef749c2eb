"""Writing gzip with several threads, as `pigz` does: blocks compressed apart, each with the end of the one before it.

One member (RFC 1952).  A block is deflated with the 32 KiB before it as its dictionary and ends on a whole byte (an
empty stored block, RFC 1951 3.2.4), so what is made follows from the blocks alone: one thread or many, the bytes are
the same.  NB: zlib does the work and not ISA-L, which is three times as fast: see docs/adr/0004.
"""

from __future__ import annotations

import functools
import os
import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from isal import isal_zlib

from lkbuild.archive.entry import Buffer

_WINDOW = 32 << 10
_PENDING = 8
"""Blocks of one stream that may wait to be compressed: more would only take memory."""

_HEADER = struct.Struct("<4BI2B")
_SPEED = {1: 4, 9: 2}
"""XFL of the header, as zlib writes it: 4 for the fastest level, 2 for the slowest."""
_UNIX = 3


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """The threads that compress, for all streams together: as many as there are processors for us."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(mine, "gzip")


class GzipEncoder:
    """One gzip stream at a level of 0 to 9; its bytes depend on the blocks `compress` is given and the level alone.

    The blocks are kept until they are compressed, so they must not change.
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._crc = self._size = 0
        self._window: Buffer = b""
        self._held: Buffer | None = None
        self._pending: deque[Future[bytes]] = deque()
        self._ready = [_HEADER.pack(0x1F, 0x8B, 8, 0, 0, _SPEED.get(level, 0), _UNIX)]

    def compress(self, data: Buffer, /) -> bytes:
        """The next block; returns what is ready of the stream."""
        if len(data):
            if self._held is not None:
                self._submit(self._held, zlib.Z_SYNC_FLUSH)
            self._held = data
            self._crc = isal_zlib.crc32(data, self._crc)
            self._size += len(data)
        return self._take(_PENDING)

    def flush(self) -> bytes:
        """The end; returns the rest of the stream."""
        self._submit(self._held if self._held is not None else b"", zlib.Z_FINISH)
        self._held = None
        return self._take(0) + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)

    def _submit(self, data: Buffer, flush: int) -> None:
        if not self._pending and flush == zlib.Z_FINISH:
            self._ready.append(_deflated(data, self._window, self._level, flush))
            return
        self._pending.append(_threads().submit(_deflated, data, self._window, self._level, flush))
        self._window = data[-_WINDOW:] if len(data) >= _WINDOW else b"".join((self._window, data))[-_WINDOW:]

    def _take(self, most: int) -> bytes:
        """What is compressed, waiting until no more than `most` blocks are not."""
        while self._pending and (len(self._pending) > most or self._pending[0].done()):
            self._ready.append(self._pending.popleft().result())
        made, self._ready = b"".join(self._ready), []
        return made


def _deflated(data: Buffer, window: Buffer, level: int, flush: int) -> bytes:
    """A block as raw deflate, which `window` goes before."""
    encoder = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=window)
    return encoder.compress(data) + encoder.flush(flush)
