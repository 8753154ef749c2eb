"""The store: blobs by digest and step results by key, shared by any number of processes.

Layout of its root, the only place on disk lkbuild keeps state in:

    blobs/sha256/ab/abcd…    the bytes, read-only; their name is their digest
    results/ab/abcd…         what a step made: JSON, the last line its own SHA-256
    steps/ab/abcd…           how it was made: the step as JSON (plan.recorded), the last line its own SHA-256
    partial/                 downloads that can be resumed
    spool/                   archives unpacked, or fetched from the Docker daemon, to be read from
    tmp/                     work in progress; swept when its process is gone
    locks/                   one file per running step, locked with flock(2), which the kernel drops with the process
    history/                 what builds did (engine.history_files)
    verified/BOOT/ab         which blobs were hashed since the machine started: inode, size, mtime_ns, ctime_ns

Every file comes into being under another name and is renamed, blobs before the results that name them, so a process
killed at any moment leaves only litter in tmp/.  Nothing is fsync'ed: what a power failure may have torn is found,
because `verified` counts for one boot of the machine only, and results carry a checksum (docs/adr/0003).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from lkbuild.digest import Digest
from lkbuild.errors import StoreError
from lkbuild.store.files import doing, failure, open_lock, same_file
from lkbuild.store.scratch import Scratch
from lkbuild.store.values import Blob, Result, decode_result, encode_result, with_checksum
from lkbuild.store.verified import Verified

_MAX_RESULT = 16 << 20
_TOUCHED = 86400


class Store:
    """A store in a directory.  Threads may share one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified = Verified(root / "verified")
        self._in_use: int | None = None
        self._scratch = Scratch(root / "tmp")

    @classmethod
    def open(cls, root: Path) -> Self:
        """The store at `root`, made if it is not there; StoreError where that cannot be.

        A store that can only be read will do as long as everything asked of it is in it.
        """
        store = cls(root)
        try:
            for name in ("blobs/sha256", "results", "partial", "spool", "tmp", "locks"):
                (root / name).mkdir(parents=True, exist_ok=True)
            store._verified.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not (root / "results").is_dir():
                raise failure(error, f"making the cache {root}", anyhow=True) from error
        store._hold()
        store._scratch.sweep()
        return store

    def close(self) -> None:
        """Let garbage collection run again, and remove the directories kept for scratch."""
        self._scratch.close()
        if self._in_use is not None:
            os.close(self._in_use)
            self._in_use = None

    def _hold(self) -> None:
        """Hold `in-use` shared, so that nobody collects garbage while a build counts on what it saw."""
        with contextlib.suppress(OSError):
            self._in_use = open_lock(self.root / "in-use")
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    # -- blobs ---------------------------------------------------------------------------------------------------------

    def path(self, digest: Digest) -> Path:
        """Where a blob lies, or would lie.  What is there must not be written to."""
        return self.own_path(digest)

    def own_path(self, digest: Digest) -> Path:
        """Where a blob is put that comes into this store."""
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def has(self, blob: Blob) -> bool:
        """Whether the blob is here and whole.  A damaged one is removed, so that it will be made again."""
        path = self.path(blob.digest)
        with doing(f"reading {blob.digest} from the cache"):
            try:
                status = path.stat()
                if self._verified.holds(blob.digest, status):
                    return status.st_size == blob.size
                whole = stat.S_ISREG(status.st_mode) and _hash(path, blob.digest.algorithm) == blob.digest.hex
            except FileNotFoundError:
                return False
        if not whole:
            self.drop(blob.digest)
            return False
        self._verified.note(blob.digest, status)
        return status.st_size == blob.size

    def drop(self, digest: Digest) -> None:
        """Remove a blob, if it is there and can be removed."""
        with contextlib.suppress(OSError):
            self.path(digest).unlink()

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A blob, open for reading.  StoreError where it is missing."""
        try:
            return self.path(digest).open("rb")
        except OSError as error:
            raise failure(error, f"reading {digest} from the cache") from error

    def read(self, digest: Digest, limit: int = 64 << 20) -> bytes:
        """A blob's bytes; StoreError where it is missing or larger than `limit` bytes."""
        with self.open_blob(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{digest} is larger than {limit} bytes, which is not believable for what it should be")
        return data

    def add(self, data: bytes) -> Blob:
        """Put bytes into the store."""
        blob = Blob(Digest.of(data), len(data))
        if not self.has(blob):
            with self.scratch() as directory:
                path = directory / "blob"
                with doing(f"writing to the cache {self.root}"):
                    path.write_bytes(data)
                self._take(path, blob)
        return blob

    def add_file(self, path: Path, expected: Digest | None = None) -> Blob:
        """Move a file of this file system into the store.  StoreError if it is not `expected`."""
        with doing(f"reading {path}"):
            algorithm = expected.algorithm if expected else "sha256"
            with path.open("rb") as file:
                digest = Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())
            blob = Blob(digest, path.stat().st_size)
        if expected and digest != expected:
            raise StoreError(f"{path.name}: got {digest}, want {expected} after {blob.size} bytes")
        if self.has(blob):
            # NB: not renamed over the one that is there: ext4 would write the new one to disk first, milliseconds each.
            path.unlink()
        else:
            self._take(path, blob)
        return blob

    def _take(self, path: Path, blob: Blob) -> None:
        """Rename `path`, whose digest is known, to its place."""
        target = self.own_path(blob.digest)
        with doing(f"writing {blob.digest} to the cache {self.root}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o444)
            path.replace(target)
            self._verified.note(blob.digest, target.stat())

    def partial(self, digest: Digest) -> Path:
        """Where a download of `digest` may be kept until it is whole, over several runs."""
        return self.root / "partial" / digest.hex

    # -- results -------------------------------------------------------------------------------------------------------

    def result_path(self, key: Digest) -> Path:
        """Where a result lies, or would lie."""
        return self.root / "results" / key.hex[:2] / key.hex

    def recorded(self, key: Digest) -> Result | None:
        """The result recorded under `key`, whether or not its blobs are still here; None where there is none."""
        path = self.result_path(key)
        with doing(f"reading a result from the cache {self.root}"):
            try:
                with path.open("rb") as file:
                    return decode_result(file.read(_MAX_RESULT))
            except FileNotFoundError:
                return None
            except (ValueError, KeyError, TypeError):
                with contextlib.suppress(OSError):
                    path.unlink()
                return None

    def result(self, key: Digest) -> Result | None:
        """The result recorded under `key`, if every blob it needs is here and whole."""
        result = self.recorded(key)
        if result is None or not all(self.has(blob) for blob in result.blobs):
            return None
        return result

    def record(self, key: Digest, result: Result, step: bytes | None = None) -> None:
        """Record a result whose blobs are in the store already, and before it the step that made it (`store.steps`)."""
        files = [(self.result_path(key), encode_result(result))]
        if step is not None:
            files.insert(0, (self.step_path(key), with_checksum(step)))
        with doing(f"writing to the cache {self.root}"), self.scratch() as directory:
            for path, text in files:
                temporary = directory / "record"
                temporary.write_bytes(text)
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(path)

    def step_path(self, key: Digest) -> Path:
        """Where the step that made a result is written down, or would be."""
        return self.root / "steps" / key.hex[:2] / key.hex

    def touch(self, key: Digest) -> None:
        """Mark a result as used, for garbage collection by age; a day's precision is enough for that."""
        path = self.result_path(key)
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _TOUCHED:
                os.utime(path)

    # -- work ----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Hold the lock `name` among all processes and threads; yields whether somebody else had it first.

        The file is removed while it is held, so whoever waited looks whether it is still the one in the directory.
        """
        path = self.root / "locks" / name
        waited = False
        while True:
            try:
                handle = open_lock(path)
            except OSError as error:
                # Who may not write there has nothing to protect: whatever is there already is whole.
                if error.errno in (errno.EROFS, errno.EACCES):
                    yield False
                    return
                raise failure(error, f"locking in the cache {self.root}") from error
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waited = True
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if same_file(handle, path):
                    break
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
        try:
            yield waited
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory in the store's file system, ours alone; all that is still in it afterwards is removed."""
        with contextlib.ExitStack() as stack:
            with doing(f"writing to the cache {self.root}"):
                path = stack.enter_context(self._scratch.directory())
            yield path


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
