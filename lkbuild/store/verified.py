"""Which blobs were hashed since the machine started, so that a build need not hash them again.

`verified/BOOT/ab` has a line for each blob of the shard `ab`: its hex digest, inode, size, mtime_ns and ctime_ns.
A blob whose file differs from its line is hashed anew.  BOOT changes when the machine starts: after a power failure a
file may have the right size and times, and not the right bytes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from pathlib import Path

from lkbuild.digest import Digest

Signature = tuple[int, int, int, int]


@functools.cache
def boot_id() -> str:
    """What tells one boot of the machine from the next; where Linux does not say, one process from the next."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"unknown-{os.getpid()}"


class Verified:
    """The record of hashed blobs in a directory.  Threads and processes may share one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / boot_id()
        self._shards: dict[str, dict[str, Signature]] = {}
        self._guard = threading.Lock()

    def holds(self, digest: Digest, status: os.stat_result) -> bool:
        """Whether the blob was hashed when its file was as `status` says."""
        return self._shard(digest.hex[:2]).get(digest.hex) == _signature(status)

    def note(self, digest: Digest, status: os.stat_result) -> None:
        """Remember that the blob was hashed.  One short append, atomic among processes; losing it costs a hashing."""
        signature = _signature(status)
        self._shard(digest.hex[:2])[digest.hex] = signature
        line = " ".join([digest.hex, *map(str, signature)]) + "\n"
        with contextlib.suppress(OSError), (self.directory / digest.hex[:2]).open("ab", 0) as file:
            file.write(line.encode())

    def _shard(self, name: str) -> dict[str, Signature]:
        shard = self._shards.get(name)
        if shard is None:
            loaded: dict[str, Signature] = {}
            with contextlib.suppress(OSError, ValueError):
                for line in (self.directory / name).read_text("ascii").splitlines():
                    hexdigest, inode, size, mtime, ctime = line.split()
                    loaded[hexdigest] = (int(inode), int(size), int(mtime), int(ctime))
            with self._guard:
                shard = self._shards.setdefault(name, loaded)
        return shard


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
