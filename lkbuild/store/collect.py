"""Garbage collection: results that were not used for long go first, then every blob that nothing left refers to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.errors import StoreError
from lkbuild.store.files import doing, open_lock
from lkbuild.store.store import Store
from lkbuild.store.values import Result
from lkbuild.store.verified import boot_id

_SMALL_AGE = 30 * 86400
"""Seconds after which half a download, a stamp or the record of a written file is of no use to anybody."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed, or would remove: counts, and bytes before and after."""

    results: int
    blobs: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class _Kept:
    key: Digest
    used: float
    result: Result


def collect(
    root: Path, now: float, max_age: float | None = None, max_bytes: int | None = None, dry_run: bool = False
) -> Collected:
    """Remove results unused for more than `max_age` seconds, then the longest unused until blobs fit into `max_bytes`.

    Waits for no build: StoreError where one is running on this cache.  `now` is seconds since the epoch.
    """
    if not (root / "results").is_dir():
        raise StoreError(f"{root} is no cache of lkbuild", "name it with cache=DIR or LKBUILD_CACHE")
    with _alone(root):
        store = Store(root)
        sizes = dict(_blob_sizes(root))
        everything = sorted(_results(store), key=lambda kept: kept.used, reverse=True)
        keep = [kept for kept in everything if max_age is None or now - kept.used <= max_age]
        keep, wanted = _fitting(keep, sizes, max_bytes)
        kept_keys = {kept.key for kept in keep}
        gone = [kept.key for kept in everything if kept.key not in kept_keys]
        litter = [digest for digest in sizes if digest not in wanted]
        if not dry_run:
            _remove(store, gone, litter, now)
        return Collected(len(gone), len(litter), sum(sizes.values()), sum(sizes[d] for d in wanted if d in sizes))


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    with doing(f"locking the cache {root}"):
        handle = open_lock(root / "in-use")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"a build is using the cache {root}", "try again when it is done") from None
        yield
    finally:
        os.close(handle)


def _blob_sizes(root: Path) -> Iterator[tuple[Digest, int]]:
    for algorithm in ("sha256", "sha512"):
        for path in (root / "blobs" / algorithm).glob("??/*"):
            with contextlib.suppress(ValueError, OSError):
                yield Digest.parse(f"{algorithm}:{path.name}"), path.stat().st_size


def _results(store: Store) -> Iterator[_Kept]:
    for path in (store.root / "results").glob("??/*"):
        with contextlib.suppress(ValueError, OSError):
            key = Digest.parse(f"sha256:{path.name}")
            used = path.stat().st_mtime
            result = store.recorded(key)
            if result is not None:
                yield _Kept(key, used, result)


def _fitting(keep: list[_Kept], sizes: dict[Digest, int], limit: int | None) -> tuple[list[_Kept], set[Digest]]:
    """As many of `keep`, the most recently used first, as have room for their blobs; and those blobs."""
    wanted: set[Digest] = set()
    fitting: list[_Kept] = []
    total = 0
    for kept in keep:
        new = {blob.digest for blob in kept.result.blobs} - wanted
        added = sum(sizes.get(digest, 0) for digest in new)
        if limit is not None and total + added > limit:
            break
        total += added
        wanted |= new
        fitting.append(kept)
    return fitting, wanted


def _old_boots(store: Store) -> Iterator[Path]:
    """What was verified before the machine started last, which nobody believes any more."""
    return (path for path in (store.root / "verified").glob("*") if path.name != boot_id())


def _remove(store: Store, results: list[Digest], blobs: list[Digest], now: float) -> None:
    """Results before their blobs, so that a kill in between leaves nothing that points nowhere."""
    for key in results:
        store.result_path(key).unlink(missing_ok=True)
    for path in (store.root / "steps").glob("??/*"):
        if not (store.root / "results" / path.parent.name / path.name).exists():
            path.unlink(missing_ok=True)
    for digest in blobs:
        store.drop(digest)
    for path in (*(store.root / "tmp").glob("*"), *(store.root / "spool").glob("*"), *_old_boots(store)):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (store.root / "locks").glob("*"):
        path.unlink(missing_ok=True)  # nobody holds any: we are alone
    for name in ("partial", "stamps", "written"):
        for path in (store.root / name).glob("*"):
            if path.is_file() and now - path.stat().st_mtime > _SMALL_AGE:
                path.unlink(missing_ok=True)
