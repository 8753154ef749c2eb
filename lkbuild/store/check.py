"""Checking a store: every blob is hashed, every result and recorded step read; what is damaged is removed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from lkbuild.digest import CHUNK, Digest
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen
from lkbuild.store.steps import recorded_step
from lkbuild.store.store import Store

Progress = Callable[[int, int], None]
"""Bytes that were looked at, and bytes there are."""


@frozen
class Checked:
    """What was found: blobs, results and steps that are as they should be, and the paths of what was damaged."""

    blobs: int
    bytes: int
    results: int
    steps: int
    damaged: tuple[str, ...]


def check(store: Store, progress: Progress, tell: Callable[[StoreError], None]) -> Checked:
    """Look at everything; `tell` is told of each thing that is damaged and was removed."""
    damaged: list[str] = []

    def remove(path: Path, hint: str) -> None:
        path.unlink(missing_ok=True)
        damaged.append(str(path))
        tell(StoreError(f"{path} is damaged and was removed", hint))

    paths = [path for name in ("sha256", "sha512") for path in _files(store.root / "blobs" / name)]
    total = sum(_size(path) for path in paths)
    good, done = 0, 0
    for path in paths:
        try:
            sound, size = _hashed(path, functools.partial(_told, progress, done, total))
        except FileNotFoundError:
            continue
        good, done = good + sound, done + size
        if not sound:
            remove(path, "what needs it makes it again")
    results = [(path, _whole_result(store, path)) for path in _files(store.root / "results")]
    steps = [(path, _whole_step(store, path)) for path in _files(store.root / "steps")]
    for path, sound in (*results, *steps):
        if not sound:
            remove(path, "it is made again when it is wanted")
    return Checked(good, done, sum(s for _, s in results), sum(s for _, s in steps), tuple(damaged))


def _hashed(path: Path, progress: Callable[[int], None]) -> tuple[bool, int]:
    """Whether the file is what its name says, and its bytes."""
    found, size = hashlib.new(path.parent.parent.name), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            size += len(chunk)
            progress(size)
    return found.hexdigest() == path.name, size


def _told(progress: Progress, before: int, total: int, read: int) -> None:
    progress(before + read, total)


def _whole_result(store: Store, path: Path) -> bool:
    try:
        return store.recorded(Digest.parse(f"sha256:{path.name}")) is not None
    except ValueError:
        return False


def _whole_step(store: Store, path: Path) -> bool:
    try:
        return recorded_step(store, Digest.parse(f"sha256:{path.name}")) is not None
    except (ValueError, StoreError):
        return False


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("??/*") if path.is_file())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
