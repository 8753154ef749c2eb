"""Machines whose specs are still there, and what they came to when they were last built."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from lkbuild.digest import Digest
from lkbuild.engine.history import BuildRecord, MachineRecord
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.errors import UsageError
from lkbuild.frozen import frozen

Files = tuple[str, ...]
"""A machine's spec files, absolute."""


@frozen
class CurrentMachine:
    """A machine: its name, its spec files, and the key of each step's result by the step's name.

    `keys` are those of its last build that ended well, and those of its last one, if that did not.
    """

    name: str
    files: Files
    keys: tuple[tuple[str, Digest], ...]


def current_machines(history: HistoryFiles, wanted: Collection[Files] | None = None) -> list[CurrentMachine]:
    """The machines on record whose spec files all exist; only those made of `wanted` where that is given.

    UsageError where one that is wanted is not on record.
    """
    records: dict[str, BuildRecord | None] = {}
    found = [machine for machine in _machines(history, records) if wanted is None or machine.files in wanted]
    if wanted is not None:
        known = {machine.files for machine in found}
        for files in wanted:
            if files not in known:
                raise UsageError(f"no build of {'+'.join(files)} is on record in {history.root}", "build it first")
    return sorted(found, key=lambda machine: (machine.name, machine.files))


def _machines(history: HistoryFiles, records: dict[str, BuildRecord | None]) -> Iterator[CurrentMachine]:
    try:
        identities = sorted(path.name for path in (history.root / "machines").iterdir())
    except OSError:
        return
    for identity in identities:
        machine, keys = None, dict[Digest, str]()
        for past in history.machine(identity):
            record = _record(history, past.build, records)
            found = _member(record, identity)
            if found is None:
                break
            machine = machine or found
            keys.update((key, name) for name, key in (history.state(past.state) or {}).items() if key not in keys)
            if found.built:
                break
        if machine is not None and machine.files and all(map(os.path.exists, machine.files)):
            yield CurrentMachine(machine.name, machine.files, tuple((name, key) for key, name in keys.items()))


def _record(history: HistoryFiles, name: str, records: dict[str, BuildRecord | None]) -> BuildRecord | None:
    if name not in records:
        try:
            records[name] = history.build(name)
        except ValueError:
            records[name] = None
    return records[name]


def _member(record: BuildRecord | None, identity: str) -> MachineRecord | None:
    return next((each for each in record.machines if each.id == identity), None) if record else None
