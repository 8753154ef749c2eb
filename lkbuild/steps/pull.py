"""Fetching: the layers of an image, and Debian packages.  What comes is what the params' digests say, or nothing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import Pull, PullLayer
from lkbuild.steps.work import Work
from lkbuild.store.values import Blob

PARALLEL = 4
"""How many blobs of one image are fetched at a time."""


def pull(params: Pull, work: Work) -> None:
    """Writes `layer0`, `layer1`, … ; each is fetched into the store's partial/ first, where a later run resumes it."""
    total = sum(layer.size for layer in params.layers)
    done: dict[int, int] = {}
    guard = threading.Lock()

    def report(number: int, so_far: int) -> None:
        with guard:
            done[number] = so_far
            work.progress(sum(done.values()), total)

    def fetch(item: tuple[int, PullLayer]) -> None:
        number, layer = item
        blob = Blob(layer.digest, layer.size)
        _resumed(
            work,
            blob,
            work.output(f"layer{number}"),
            lambda into: work.doors.fetch_layer(params.reference, blob, into, lambda n, _: report(number, n)),
        )

    first: dict[object, int] = {}
    for number, layer in enumerate(params.layers):
        first.setdefault(layer.digest, number)
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(fetch, ((number, params.layers[number]) for number in first.values())))
    for number, layer in enumerate(params.layers):
        if first[layer.digest] != number:
            os.link(work.output(f"layer{first[layer.digest]}"), work.output(f"layer{number}"))


def deb(params: DebFile, work: Work) -> None:
    """Writes `deb`."""
    blob = Blob(params.digest, params.size)
    _resumed(work, blob, work.output("deb"), lambda into: work.doors.fetch_file(params.uri, blob, into, work.progress))


def _resumed(work: Work, blob: Blob, target: Path, fetch: Callable[[Path], None]) -> None:
    """Take the blob from the store if it is there, else fetch it into partial/ and move it to `target`."""
    there = work.have(blob)
    if there is not None:
        os.link(there, target)
        return
    partial = work.store.partial(blob.digest)
    with work.store.lock(f"blob-{blob.digest.hex}"):
        fetch(partial)
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        partial.replace(target)
