"""Fetching: the layers of an image, and Debian packages.  What comes is what the params' digests say, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lkbuild.errors import ImageError, StoreError
from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import Pull
from lkbuild.steps.work import Work
from lkbuild.store.values import Blob

PARALLEL = 4
"""How many blobs of one image are fetched at a time."""
_AGAIN = "build again; if it stays so, the place it comes from is at fault"


def pull(params: Pull, work: Work) -> None:
    """Makes `layer0`, `layer1`, … ; each is fetched into the store's partial/ first, where a later run resumes it."""
    blobs = [Blob(layer.digest, layer.size) for layer in params.layers]
    total = sum(blob.size for blob in blobs)
    done: dict[Blob, int] = {}
    guard = threading.Lock()

    def report(blob: Blob, so_far: int) -> None:
        with guard:
            done[blob] = so_far
            work.progress(sum(done.values()), total)

    def fetch(blob: Blob) -> None:
        def bring(into: Path) -> None:
            work.doors.fetch_layer(params.reference, blob, into, lambda n, _: report(blob, n))

        _fetched(work, blob, bring)

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(fetch, dict.fromkeys(blobs)))
    work.made.update((f"layer{number}", blob) for number, blob in enumerate(blobs))


def deb(params: DebFile, work: Work) -> None:
    """Makes `deb`."""
    blob = Blob(params.digest, params.size)
    _fetched(work, blob, lambda into: work.doors.fetch_file(params.uri, blob, into, work.progress))
    work.made["deb"] = blob


def _fetched(work: Work, blob: Blob, fetch: Callable[[Path], None]) -> None:
    """Bring the blob into the store, unless it is there; of all who want it at once one fetches it.

    ImageError if what came is not the blob; it is thrown away, or every later run would go on from it.
    """
    if work.have(blob):
        return
    with work.store.lock(f"blob-{blob.digest.hex}"):
        if work.have(blob):
            return
        partial = work.store.partial(blob.digest)
        fetch(partial)
        try:
            made = work.store.add_file(partial, blob.digest)
        except StoreError as error:
            if isinstance(error.__cause__, OSError):
                raise
            partial.unlink(missing_ok=True)
            raise ImageError(f"what was fetched is not what it should be: {error.message}", _AGAIN) from error
        if made != blob:
            raise ImageError(f"{blob.digest} has {made.size} bytes, and its image says {blob.size}", _AGAIN)
