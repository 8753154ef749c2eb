"""`lkbuild cache`: see, shrink and check the cache; take a part of it to another machine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.engine.arguments import cache, megabytes
from lkbuild.engine.events import Finished, Progressed, Started, Wrote
from lkbuild.engine.project import Show
from lkbuild.engine.report import Failed
from lkbuild.engine.specs import closest, expand
from lkbuild.errors import StoreError, UsageError

_DAY = 86400
_UNITS = {"h": 3600, "d": _DAY, "w": 7 * _DAY}
_DEFAULT_AGE = "30d"

Words = dict[str, str]
Names = Sequence[str]


def work(given: Given, show: Show) -> int:
    """Do the part of the verb that is named."""
    part, *names = given.names or ("ls",)
    if part not in _PARTS or (names and not _PARTS[part][1]):
        close = closest(part, _PARTS) if part not in _PARTS else []
        hint = f"did you mean {close[0]}?" if close else "lkbuild cache --help says more"
        raise UsageError(f"lkbuild cache {' '.join(given.names)}: say {', '.join(_PARTS)}", hint)
    said = dict(given.words)
    root = cache(said.get("cache"), Path())
    if part != "import" and not (root / "results").is_dir():
        raise StoreError(f"{root} is no cache of lkbuild", "name it with --cache DIR or LKBUILD_CACHE")
    return _PARTS[part][0](root, names, said, show)


def _list(root: Path, _names: Names, _said: Words, show: Show) -> int:
    """What it holds, by spec and by kind of step."""
    from lkbuild.engine.cache_views import holding
    from lkbuild.store import Store

    show(holding(Store(root)))
    return 0


def _collect(root: Path, names: Names, said: Words, show: Show) -> int:
    """Remove what was not used for long, and what does not fit, but nothing that a current spec needs."""
    from lkbuild.engine.cache_views import Collection, keys_of
    from lkbuild.engine.current import current_machines
    from lkbuild.engine.history_files import HistoryFiles
    from lkbuild.store.collect import Bounds, collect

    history = HistoryFiles(root)
    everything = said.get("all") == "yes"
    if everything and names:
        raise UsageError("--all keeps nothing, and specs are named to be kept", "leave one of them out")
    keep = [] if everything else current_machines(history, _files(names) if names else None)
    dry = said.get("dry_run") == "yes"
    size = megabytes(said["max_size"]) << 20 if "max_size" in said else None
    age = _age(said.get("max_age", _DEFAULT_AGE)) if "max_age" in said or size is None else None
    done = collect(root, time.time(), Bounds(age, size, keys_of(keep)), dry)
    if not dry:
        history.prune()
    show(Collection.of(done, dry, size))
    return 0


def _files(names: Names) -> list[tuple[str, ...]]:
    """The spec files of each machine that is named, absolute."""
    return [tuple(os.path.abspath(file) for file in files) for files in expand(names, Path())]  # noqa: PTH100


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if match is None:
        raise UsageError(f"--max-age {text} is no time", "say 12h, 30d or 8w")
    return int(match[1]) * _UNITS[match[2]]


def _verify(root: Path, _names: Names, _said: Words, show: Show) -> int:
    """Hash every blob; a damaged one is removed, and made again when it is wanted."""
    from lkbuild.engine.cache_views import Verification
    from lkbuild.store import Store
    from lkbuild.store.check import check

    began = _begin("verify", show)
    checked = check(Store(root), _progress("verify", show), lambda error: show(Failed(error)))
    show(Finished("verify", "cached", time.monotonic() - began))
    show(Verification.of(checked))
    return 1 if checked.damaged else 0


def _export(root: Path, names: Names, _said: Words, show: Show) -> int:
    """Write what specs need, all current ones where none is named, as an OCI layout."""
    from lkbuild.engine.cache_export import export
    from lkbuild.engine.current import current_machines
    from lkbuild.engine.history_files import HistoryFiles
    from lkbuild.store import Store

    if not names:
        raise UsageError("lkbuild cache export names no file or directory", "say lkbuild cache export FILE.tar|DIR")
    machines = current_machines(HistoryFiles(root), _files(names[1:]) if names[1:] else None)
    if not machines:
        raise UsageError(f"no spec that is still there is on record in {root}", "build one first")
    target, began = Path(names[0]).expanduser(), _begin("export", show)
    store = Store.open(root)
    try:
        size = export(store, machines, target, _progress("export", show))
    finally:
        store.close()
    show(Finished("export", "cached", time.monotonic() - began))
    show(Wrote("export", os.fspath(target), size, time.monotonic() - began))
    return 0


def _import(root: Path, names: Names, _said: Words, show: Show) -> int:
    """Take over what was exported, checked."""
    from lkbuild.engine.cache_import import import_cache
    from lkbuild.store import Store

    if len(names) != 1:
        raise UsageError("lkbuild cache import takes one file or directory", "say lkbuild cache import FILE.tar|DIR")
    source, began = Path(names[0]).expanduser(), _begin("import", show)
    if not source.exists():
        raise UsageError(f"there is no {source}", "name what `lkbuild cache export` wrote")
    store = Store.open(root)
    try:
        done = import_cache(store, source, _progress("import", show))
    finally:
        store.close()
    show(Finished("import", "cached", time.monotonic() - began))
    show(done)
    return 0


def _begin(what: str, show: Show) -> float:
    show(Started(what, ""))
    return time.monotonic()


def _progress(what: str, show: Show) -> Callable[[int, int], None]:
    return lambda done, total: show(Progressed(what, done, total))


_PARTS: dict[str, tuple[Callable[[Path, Names, Words, Show], int], bool]] = {
    "ls": (_list, False),
    "gc": (_collect, True),
    "verify": (_verify, False),
    "export": (_export, True),
    "import": (_import, True),
}
"""The parts of the verb, and whether names may follow."""

command = Command(
    "lkbuild cache ls|gc [SPEC ...]|verify|export FILE.tar|DIR [SPEC ...]|import FILE.tar|DIR [FLAGS]",
    "See what the cache holds; remove what was not used for long and no current spec needs (of specs that are named,\n"
    "those alone count as current); check everything in it; take what specs need to another machine's cache.",
    (
        Flag(("cache",), "cache", "where it is (environment: LKBUILD_CACHE)", "DIR"),
        Flag(("max-age",), "max_age", f"gc: how long what is not used stays, {_DEFAULT_AGE} if nothing is said", "AGE"),
        Flag(("max-size",), "max_size", "gc: how large the cache may be, 20G for instance", "SIZE"),
        Flag(("all",), "all", "gc: keep nothing because a current spec needs it", bare="yes"),
        Flag(("dry-run",), "dry_run", "gc: say what would be removed, kind by kind", bare="yes"),
        Flag(("json",), "json", "lines of JSON", bare="yes"),
        Flag(("verbose", "v"), "verbose", "say more", bare="yes"),
    ),
    work,
    ("cache",),
)
