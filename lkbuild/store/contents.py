"""What is in a store: results by the kind of step that made them, and the blobs they hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen
from lkbuild.store.steps import recorded_step
from lkbuild.store.store import Store
from lkbuild.store.values import Result

UNKNOWN, ANSWER = "unknown", "answer"
"""The kinds of results of no step, or of one that is not written down: an answer is what a registry or apt said."""

_ANSWERS = frozenset({"facts", "debs"})
"""Outputs of answers (engine.memory)."""


@frozen
class Kept:
    """A result and its key; when it was used last, in seconds since the epoch."""

    key: Digest
    used: float
    result: Result


def results(store: Store) -> Iterator[Kept]:
    """Every result that can be read; one that is damaged is removed."""
    for path in (store.root / "results").glob("??/*"):
        with contextlib.suppress(ValueError, OSError):
            key = Digest.parse(f"sha256:{path.name}")
            used = path.stat().st_mtime
            result = store.recorded(key)
            if result is not None:
                yield Kept(key, used, result)


def blob_sizes(root: Path) -> Iterator[tuple[Digest, int]]:
    """Every blob and its bytes."""
    for algorithm in ("sha256", "sha512"):
        for path in (root / "blobs" / algorithm).glob("??/*"):
            with contextlib.suppress(ValueError, OSError):
                yield Digest.parse(f"{algorithm}:{path.name}"), path.stat().st_size


def kind_of(store: Store, each: Kept) -> str:
    """The kind of the step that made a result."""
    try:
        step = recorded_step(store, each.key)
    except StoreError:
        return UNKNOWN
    if step is not None:
        return step.kind
    return UNKNOWN if _ANSWERS.isdisjoint(name for name, _ in each.result.outputs) else ANSWER


@frozen
class KindUse:
    """Results of one kind, and bytes of their blobs, each once."""

    kind: str
    results: int
    bytes: int


def by_kind(store: Store, kept: Iterator[Kept] | list[Kept], sizes: Mapping[Digest, int]) -> tuple[KindUse, ...]:
    """The kinds of these results, the largest first; a blob counts for the first result that made it."""
    counts: dict[str, int] = {}
    bytes_: dict[str, int] = {}
    seen: set[Digest] = set()
    for each in kept:
        kind = kind_of(store, each)
        made = {blob.digest for _, blob in each.result.outputs} - seen
        seen |= made
        counts[kind] = counts.get(kind, 0) + 1
        bytes_[kind] = bytes_.get(kind, 0) + sum(sizes.get(digest, 0) for digest in made)
    uses = (KindUse(kind, counts[kind], bytes_[kind]) for kind in counts)
    return tuple(sorted(uses, key=lambda use: (-use.bytes, use.kind)))
