"""What is told of a cache: what it holds, what was collected, whether it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from lkbuild.digest import Digest
from lkbuild.engine.current import CurrentMachine, current_machines
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.report import Worded, size_words
from lkbuild.frozen import frozen
from lkbuild.store import Store
from lkbuild.store.check import Checked
from lkbuild.store.collect import Collected
from lkbuild.store.contents import KindUse, blob_sizes, by_kind, results

_OTHERS = (("partial downloads", "partial/*"), ("recorded steps", "steps/??/*"), ("the history", "history/**/*"))


@frozen
class MachineUse:
    """What a current machine holds: results, bytes of their blobs, and of those no other current machine holds."""

    name: str
    files: tuple[str, ...]
    results: int
    bytes: int
    own: int


@frozen
class OtherUse:
    """Files besides results and blobs."""

    what: str
    files: int
    bytes: int


@frozen
class Holding(Worded):
    """What a cache holds.  `loose`: bytes of blobs that no result holds."""

    machines: tuple[MachineUse, ...]
    kinds: tuple[KindUse, ...]
    results: int
    blobs: int
    bytes: int
    loose: int
    others: tuple[OtherUse, ...]

    def words(self, verbose: bool) -> Iterator[str]:
        """See Worded."""
        if self.machines:
            files = ["+".join(file.rpartition("/")[2] for file in each.files) for each in self.machines]
            several = Counter(files)
            rows = [
                (
                    each.name if verbose else name if several[name] == 1 else f"{name} ({each.name})",
                    str(each.results),
                    size_words(each.bytes),
                    size_words(each.own),
                )
                for name, each in zip(files, self.machines, strict=True)
            ]
            yield from table(("spec", "results", "bytes", "its own"), rows)
            yield ""
        yield from kind_table(self.kinds)
        yield ""
        yield f"{self.results} results, {self.blobs} blobs, {size_words(self.bytes)}"
        if self.loose:
            yield f"{size_words(self.loose)} of them belong to no result; `lkbuild cache gc` removes them"
        for each in self.others:
            if each.files:
                yield f"{each.what}: {each.files} files, {size_words(each.bytes)}"


@frozen
class Collection(Worded):
    """What garbage collection removed, or would; bytes that stayed, and of those that current specs need.

    `limit`: what they were to fit into, 0 for no such limit.
    """

    dry_run: bool
    results: int
    blobs: int
    freed: int
    stayed: int
    needed: int
    limit: int
    kinds: tuple[KindUse, ...]

    @classmethod
    def of(cls, done: Collected, dry_run: bool, limit: int | None) -> Collection:
        """What was collected, as it is told."""
        freed = done.bytes_before - done.bytes_after
        return cls(dry_run, done.results, done.blobs, freed, done.bytes_after, done.kept, limit or 0, done.kinds)

    def words(self, verbose: bool) -> Iterator[str]:
        """See Worded."""
        what = "would remove" if self.dry_run else "removed"
        freed = f"{self.results} results and {self.blobs} blobs: {size_words(self.freed)}"
        yield f"{what} {freed}; {size_words(self.stayed)} stay"
        if self.kinds and (self.dry_run or verbose):
            yield from kind_table(self.kinds)
        if self.limit and self.stayed > self.limit:
            yield (
                f"what current specs need ({size_words(self.needed)}) stays,"
                " though it is more than --max-size; --all removes that too"
            )


@frozen
class Verification(Worded):
    """What checking a cache came to."""

    blobs: int
    bytes: int
    results: int
    steps: int
    damaged: tuple[str, ...]

    @classmethod
    def of(cls, checked: Checked) -> Verification:
        """What was found, as it is told."""
        return cls(checked.blobs, checked.bytes, checked.results, checked.steps, checked.damaged)

    def words(self, verbose: bool) -> Iterator[str]:
        """See Worded."""
        yield (
            f"{self.blobs} blobs ({size_words(self.bytes)}), {self.results} results and {self.steps} recorded steps"
            f" are as they should be, {len(self.damaged)} were damaged"
        )


def holding(store: Store) -> Holding:
    """What the cache holds."""
    sizes = dict(blob_sizes(store.root))
    kept = list(results(store))
    held = {each.key: {blob.digest for blob in each.result.blobs} for each in kept}
    loose = sizes.keys() - set().union(*held.values())
    machines = current_machines(HistoryFiles(store.root))
    wanted = [set().union(*(held.get(key, set()) for _, key in machine.keys)) for machine in machines]
    shared = Counter(digest for some in wanted for digest in some)

    def bytes_of(digests: Iterable[Digest]) -> int:
        return sum(sizes.get(digest, 0) for digest in digests)

    uses = tuple(
        MachineUse(
            machine.name,
            machine.files,
            sum(key in held for _, key in machine.keys),
            bytes_of(some),
            bytes_of(digest for digest in some if shared[digest] == 1),
        )
        for machine, some in zip(machines, wanted, strict=True)
    )
    others = tuple(_others(store))
    return Holding(
        uses, by_kind(store, kept, sizes), len(kept), len(sizes), sum(sizes.values()), bytes_of(loose), others
    )


def _others(store: Store) -> Iterator[OtherUse]:
    for what, pattern in _OTHERS:
        files = [path.stat().st_size for path in store.root.glob(pattern) if path.is_file()]
        yield OtherUse(what, len(files), sum(files))


def keys_of(machines: Iterable[CurrentMachine]) -> frozenset[Digest]:
    """The keys of all results that machines hold."""
    return frozenset(key for machine in machines for _, key in machine.keys)


def kind_table(kinds: Sequence[KindUse]) -> Iterator[str]:
    """Kinds, results and bytes as a table."""
    rows = [(each.kind, str(each.results), size_words(each.bytes)) for each in kinds]
    return table(("kind", "results", "bytes"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows below their head, the first column to the left, numbers to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    for first, *rest in (head, *rows):
        cells = (f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        yield "  ".join((f"{first:{widths[0]}}", *cells)).rstrip()
