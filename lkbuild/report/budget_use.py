"""What a machine takes of its budget, as far as a report can tell from its spec, its files and the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lkbuild.archive.index import MAX_INDEX, parse_index
from lkbuild.archive.initramfs import memory_needed
from lkbuild.archive.weight import in_memory
from lkbuild.engine.history import BuildRecord, MachineRecord
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.parts import parts
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen
from lkbuild.plan.beside import CYCLONEDX, PROVENANCE, SPDX
from lkbuild.plan.budget import Limit, budget_of
from lkbuild.spec.load import load
from lkbuild.store import Blob, Store
from lkbuild.store.recipe import written_size
from lkbuild.store.steps import recorded_step

_BESIDE = (SPDX, CYCLONEDX, PROVENANCE)
"""How the names end of files that tell of a machine and are no part of it."""


@frozen
class BudgetUse:
    """A limit by its name, bytes of it, and bytes used."""

    what: str
    used: int
    limit: int


def budget_use(
    machine: MachineRecord, record: BuildRecord, history: HistoryFiles, store: Store | None
) -> Iterator[BudgetUse]:
    """The limits that the machine's spec has now, and what is used of them; those that cannot be told are left out."""
    try:
        budget = budget_of(load([Path(file) for file in machine.files])) if machine.files else None
        for limit in budget.limits if budget else ():
            used = _used(limit, budget.cmdline if budget else "", (machine, record), history, store)
            if used is not None:
                yield BudgetUse(f"{machine.name}: {limit.which}", used, limit.bytes)
    except LkbuildError:
        return


def _used(
    limit: Limit, cmdline: str, built: tuple[MachineRecord, BuildRecord], history: HistoryFiles, store: Store | None
) -> int | None:
    machine, record = built
    if limit.which == "memory":
        return None if store is None else _memory(machine, history, store, cmdline)
    formats = dict(record.request).get("formats", ())
    sizes = [size_on_disk(Path(path)) for path in machine.outputs if not path.endswith(_BESIDE)]
    return None if len(formats) > 1 or None in sizes else sum(size or 0 for size in sizes)


def size_on_disk(path: Path) -> int | None:
    """Bytes of a file, or of all files in a directory; None where nothing is, or it cannot be looked at."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        found = [(directory, name) for directory, _, names in os.walk(path) for name in names]
        return sum(Path(directory, name).lstat().st_size for directory, name in found)
    except OSError:
        return None


def _memory(machine: MachineRecord, history: HistoryFiles, store: Store, cmdline: str) -> int | None:
    key = (history.state(machine.state) or {}).get(f"initrd:{machine.name}")
    step, result = (None, None) if key is None else (recorded_step(store, key), store.recorded(key))
    packed = None if result is None else written_size(store, result["recipe"], recipe=True)
    if step is None or packed is None:
        return None
    found = parts({each.role: Blob(each.digest, each.size) for each in step.inputs}, {})
    indexes = (parse_index(store.read(part.index.digest, MAX_INDEX)) for part in found)
    return memory_needed(packed, sum(map(in_memory, indexes)), cmdline)
