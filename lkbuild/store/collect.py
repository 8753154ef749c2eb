"""Garbage collection: results that were not used for long go first, then every blob that nothing left refers to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen
from lkbuild.store.contents import ANSWER, Kept, KindUse, blob_sizes, by_kind, kind_of, results
from lkbuild.store.files import doing, open_lock
from lkbuild.store.store import Store
from lkbuild.store.verified import boot_id

_SMALL_AGE = 30 * 86400
"""Seconds after which half a download, a stamp or the record of a written file is of no use to anybody."""


@frozen
class Bounds:
    """What stays: results used in the last `max_age` seconds, as many as fit into `max_bytes`; and `keep` anyway.

    With `keep`, answers of registries and of apt stay too: they are small, and tell what the specs' images are.
    """

    max_age: float | None = None
    max_bytes: int | None = None
    keep: frozenset[Digest] = frozenset()


@frozen
class Collected:
    """What a collection removed, or would remove: counts, and bytes before and after.

    `kept` are bytes that had to stay; `kinds` the results that were removed, by kind.
    """

    results: int
    blobs: int
    bytes_before: int
    bytes_after: int
    kept: int
    kinds: tuple[KindUse, ...]


def collect(root: Path, now: float, bounds: Bounds, dry_run: bool = False) -> Collected:
    """Remove results that were not used for long, then the longest unused until blobs fit.

    Waits for no build: StoreError where one is running on this cache.  `now` is seconds since the epoch.
    """
    if not (root / "results").is_dir():
        raise StoreError(f"{root} is no cache of lkbuild", "name it with cache=DIR or LKBUILD_CACHE")
    with _alone(root):
        store = Store(root)
        sizes = dict(blob_sizes(root))
        found = list(results(store))
        if bounds.keep:
            answers = (each.key for each in found if kind_of(store, each) == ANSWER)
            bounds = replace(bounds, keep=bounds.keep.union(answers))
        everything = sorted(found, key=lambda kept: (kept.key in bounds.keep, kept.used), reverse=True)
        young = [each for each in everything if _stays(each, now, bounds)]
        keep, wanted = _fitting(young, sizes, bounds)
        kept_keys = {each.key for each in keep}
        gone = [each for each in everything if each.key not in kept_keys]
        litter = {digest: size for digest, size in sizes.items() if digest not in wanted}
        kinds = by_kind(store, gone, litter)
        must = {blob.digest for each in keep if each.key in bounds.keep for blob in each.result.blobs}
        if not dry_run:
            _remove(store, [each.key for each in gone], litter, now)
        after, kept = (sum(sizes.get(digest, 0) for digest in some) for some in (wanted, must))
        return Collected(len(gone), len(litter), sum(sizes.values()), after, kept, kinds)


def _stays(each: Kept, now: float, bounds: Bounds) -> bool:
    return each.key in bounds.keep or bounds.max_age is None or now - each.used <= bounds.max_age


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


def _fitting(some: list[Kept], sizes: Mapping[Digest, int], bounds: Bounds) -> tuple[list[Kept], set[Digest]]:
    """As many of `some`, the first ones, as have room for their blobs, and those that must stay; and their blobs."""
    wanted: set[Digest] = set()
    fitting: list[Kept] = []
    total = 0
    for each in some:
        new = {blob.digest for blob in each.result.blobs} - wanted
        added = sum(sizes.get(digest, 0) for digest in new)
        if bounds.max_bytes is not None and total + added > bounds.max_bytes and each.key not in bounds.keep:
            break
        total += added
        wanted |= new
        fitting.append(each)
    return fitting, wanted


def _old_boots(store: Store) -> Iterator[Path]:
    """What was verified before the machine started last, which nobody believes any more."""
    return (path for path in (store.root / "verified").glob("*") if path.name != boot_id())


def _remove(store: Store, results: Iterable[Digest], blobs: Iterable[Digest], now: float) -> None:
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
