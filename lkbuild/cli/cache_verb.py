"""`lkbuild cache`: see, shrink and check the cache."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.engine.arguments import cache, megabytes
from lkbuild.engine.events import Told
from lkbuild.engine.project import Show
from lkbuild.engine.report import Failed, size_words
from lkbuild.engine.specs import closest
from lkbuild.errors import StoreError, UsageError

_DAY = 86400
_UNITS = {"h": 3600, "d": _DAY, "w": 7 * _DAY}
_DEFAULT_AGE = "30d"


def work(given: Given, show: Show) -> int:
    """Do the part of the verb that is named."""
    parts = {"ls": _list, "gc": _collect, "verify": _verify}
    part = given.names[0] if given.names else "ls"
    if part not in parts or len(given.names) > 1:
        close = closest(part, parts)
        raise UsageError(f"lkbuild cache {' '.join(given.names)}: say ls, gc or verify", close[0] if close else None)
    root = cache(dict(given.words).get("cache"), Path())
    if not (root / "results").is_dir():
        raise StoreError(f"{root} is no cache of lkbuild", "name it with --cache DIR or LKBUILD_CACHE")
    return parts[part](root, dict(given.words), show)


def _list(root: Path, _said: dict[str, str], show: Show) -> int:
    """How much of what there is."""
    for what, pattern in (("blobs", "blobs/*/??/*"), ("results", "results/??/*"), ("partial downloads", "partial/*")):
        sizes = [path.stat().st_size for path in _files(root, pattern)]
        show(Told(f"{len(sizes)} {what}, {size_words(sum(sizes))}"))
    return 0


def _files(root: Path, pattern: str) -> Iterator[Path]:
    return (path for path in root.glob(pattern) if path.is_file())


def _collect(root: Path, said: dict[str, str], show: Show) -> int:
    """Remove what was not used for long, and what does not fit."""
    from lkbuild.engine.history_files import HistoryFiles
    from lkbuild.store.collect import collect

    dry = said.get("dry_run") == "yes"
    size = megabytes(said["max_size"]) << 20 if "max_size" in said else None
    age = _age(said.get("max_age", _DEFAULT_AGE)) if "max_age" in said or size is None else None
    done = collect(root, time.time(), age, size, dry)
    if not dry:
        HistoryFiles(root).prune()
    freed = size_words(done.bytes_before - done.bytes_after)
    would = "would remove" if dry else "removed"
    show(Told(f"{would} {done.results} results and {done.blobs} blobs: {freed}; {size_words(done.bytes_after)} stay"))
    return 0


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if match is None:
        raise UsageError(f"--max-age {text} is no time", "say 12h, 30d or 8w")
    return int(match[1]) * _UNITS[match[2]]


def _verify(root: Path, _said: dict[str, str], show: Show) -> int:
    """Hash every blob; a damaged one is removed, and made again when it is wanted."""
    from lkbuild.digest import Digest
    from lkbuild.store import Store

    store = Store(root)
    good = bad = 0
    for algorithm in ("sha256", "sha512"):
        for path in _files(root, f"blobs/{algorithm}/??/*"):
            try:
                digest = Digest.parse(f"{algorithm}:{path.name}")
                with path.open("rb") as file:
                    sound = hashlib.file_digest(file, algorithm).hexdigest() == digest.hex
            except ValueError:
                sound, digest = False, None
            except FileNotFoundError:
                continue
            good += sound
            if not sound:
                bad += 1
                show(Failed(StoreError(f"{path} is damaged and was removed", "what needs it makes it again")))
                store.drop(digest) if digest is not None else path.unlink(missing_ok=True)
    show(Told(f"{good} blobs are as they should be, {bad} were damaged"))
    return 1 if bad else 0


command = Command(
    "lkbuild cache ls|gc|verify [FLAGS]",
    "See what the cache holds; remove what was not used for long; hash everything in it.",
    (
        Flag(("cache",), "cache", "where it is (environment: LKBUILD_CACHE)", "DIR"),
        Flag(("max-age",), "max_age", f"gc: how long what is not used stays, {_DEFAULT_AGE} if nothing is said", "AGE"),
        Flag(("max-size",), "max_size", "gc: how large the cache may be, 20G for instance", "SIZE"),
        Flag(("dry-run",), "dry_run", "gc: say what would be removed", bare="yes"),
        Flag(("json",), "json", "lines of JSON", bare="yes"),
    ),
    work,
    ("cache",),
)
