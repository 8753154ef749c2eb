"""Everything a report says about a build, gathered from its record and the cache as one value."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lkbuild.digest import Digest
from lkbuild.engine.history import BuildRecord, MachineRecord, StepRun
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.errors import LkbuildError, StoreError, UsageError
from lkbuild.frozen import frozen
from lkbuild.report.budget_use import BudgetUse, budget_use, size_on_disk
from lkbuild.report.critical import CriticalPath, critical_path
from lkbuild.report.image_map import MapNode, map_or_reason
from lkbuild.report.layers import LayerReader
from lkbuild.store import Store
from lkbuild.store.steps import recorded_step

_FETCH = {"pull", "deb"}
_PACKAGE = {"debian-layer", "kernel-layer", "package-layer", "image-documents", "dockerfile"}
_SEGMENT = {
    "kernel", "modules", "boot", "tree", "bundle", "volume-directories", "volume-layout", "files", "apk-database",
}  # fmt: skip


@frozen
class ReportedMachine:
    """A machine of a build: its record, its map or why there is none, and its outputs' files with their bytes now."""

    record: MachineRecord
    map: MapNode | None
    note: str
    outputs: tuple[tuple[str, int | None], ...]


@frozen
class CachedStep:
    """A step whose result was there before the build; kind and bytes where they are not known: "" and None."""

    name: str
    kind: str
    bytes_out: int | None


@frozen
class BuildReport:
    """A build, its machines, and what follows from its record."""

    name: str
    record: BuildRecord
    machines: tuple[ReportedMachine, ...]
    cached: tuple[CachedStep, ...]
    critical: CriticalPath
    budgets: tuple[BudgetUse, ...]

    def plain(self) -> dict[str, Any]:
        """The report as the page's script has it."""
        record = self.record
        return {
            "id": self.name,
            "date": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.began // 1_000_000)),
            "lkbuild": record.lkbuild,
            "ended": record.ended,
            "prepared": record.prepared,
            "end": record.end,
            "jobs": record.jobs,
            "request": [[name, list(values)] for name, values in record.request],
            "machines": [_machine(machine) for machine in self.machines],
            "steps": [_step(run) for run in record.steps],
            "cached": [
                {"name": each.name, "kind": each.kind, "group": group_of_kind(each.kind), "out": each.bytes_out}
                for each in self.cached
            ],
            "written": [
                {"output": each.output, "path": each.path, "bytes": each.bytes, "start": each.start, "end": each.end,
                 "worker": each.worker}
                for each in record.written
            ],
            "critical": {"steps": list(self.critical.steps), "time": self.critical.time},
            "budgets": [{"what": each.what, "used": each.used, "limit": each.limit} for each in self.budgets],
        }  # fmt: skip


def find_build(
    history: HistoryFiles, machines: Sequence[tuple[str, ...]], name: str | None, tell: Callable[[str], None]
) -> tuple[str, BuildRecord]:
    """The newest build of all these machines (each its spec files, absolute), or the one called `name`.

    UsageError where there is none.  `tell` is told of records that are passed over, and of machines that the build was
    to make too and that could not be prepared.
    """
    names = [each for each in history.builds() if name is None or each == name]
    for each in names:
        try:
            record = history.build(each)
        except ValueError as error:
            tell(f"the history's record {each} is passed over: {error}")
            continue
        refused = {machine.files: machine.why for machine in record.refused}
        known = {machine.files for machine in record.machines}
        if all(files in known or files in refused for files in machines) and (
            not machines or not known.isdisjoint(machines)
        ):
            for files in machines or refused:
                if files in refused:
                    tell(f"{'+'.join(files)} was not built: {refused[files]}")
            return each, record
    if name is not None:
        raise UsageError(f"{history.root} has no build {name} of this", f"there are {_some(history) or 'none'}")
    what = ", ".join("+".join(files) for files in machines) or "anything"
    raise UsageError(f"no build of {what} is on record in {history.root}", "build it first")


def _some(history: HistoryFiles) -> str:
    names = history.builds()
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")


def build_report(
    found: tuple[str, BuildRecord], machines: Sequence[tuple[str, ...]], cache: Path, tell: Callable[[str], None]
) -> BuildReport:
    """The report of a build that was found, about some of its machines or all of them."""
    name, record = found
    chosen = [each for each in record.machines if not machines or each.files in machines]
    history, store = HistoryFiles(cache), _store(cache, tell)
    reader = None if store is None else LayerReader(store)
    try:
        return BuildReport(
            name=name,
            record=record,
            machines=tuple(_reported(each, history, reader) for each in chosen),
            cached=tuple(_cached_steps(record, chosen, history, store)),
            critical=critical_path(record.steps),
            budgets=tuple(use for each in chosen for use in budget_use(each, record, history, store)),
        )
    finally:
        if store is not None:
            store.close()


def _store(cache: Path, tell: Callable[[str], None]) -> Store | None:
    """The cache's store; None, which is told, where there is none to be opened."""
    try:
        return Store.open(cache)
    except LkbuildError as error:
        tell(f"nothing is told of what is in the image: {error.message}")
        return None


def _reported(machine: MachineRecord, history: HistoryFiles, reader: LayerReader | None) -> ReportedMachine:
    found, note = map_or_reason(machine.name, history.state(machine.state), reader)
    outputs = tuple((path, size_on_disk(Path(path))) for path in machine.outputs)
    return ReportedMachine(machine, found, note, outputs)


def _cached_steps(
    record: BuildRecord, machines: Sequence[MachineRecord], history: HistoryFiles, store: Store | None
) -> Iterator[CachedStep]:
    """The steps of the machines whose turn did not come, each once."""
    seen = {run.key for run in record.steps}
    for machine in machines:
        for name, key in (history.state(machine.state) or {}).items():
            if key not in seen:
                seen.add(key)
                result = None if store is None else store.recorded(key)
                size = sum(blob.size for _, blob in result.outputs) if result else None
                yield CachedStep(name, "" if store is None else _kind(key, store), size)


def _kind(key: Digest, store: Store) -> str:
    try:
        step = recorded_step(store, key)
    except StoreError:
        return ""
    return step.kind if step else ""


def group_of_kind(kind: str) -> str:
    """What sort of work a kind of step is; steps of kinds this lkbuild does not know put things together."""
    for group, kinds in (("fetch", _FETCH), ("package", _PACKAGE), ("segment", _SEGMENT)):
        if kind in kinds:
            return group
    return "assemble"


def _machine(machine: ReportedMachine) -> dict[str, Any]:
    return {
        "name": machine.record.name,
        "files": list(machine.record.files),
        "built": machine.record.built,
        "outputs": [{"path": path, "bytes": size} for path, size in machine.outputs],
        "map": None if machine.map is None else machine.map.plain(),
        "note": machine.note,
    }


def _step(run: StepRun) -> dict[str, Any]:
    row = {"name": run.name, "kind": run.kind, "group": group_of_kind(run.kind), "how": run.how, "reason": run.reason}
    return {
        **row,
        "start": run.start,
        "end": run.end,
        "worker": run.worker,
        "in": run.bytes_in,
        "out": run.bytes_out,
    }
