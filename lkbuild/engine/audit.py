"""Results of a cache, made again from their recorded steps in a store of their own, and compared.

What a cache holds is believed for as long as its bytes are whole.  An audit asks whether they are what their steps
make: on this machine, with these libraries, today.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.events import Checked, Listener, nobody
from lkbuild.engine.execute import Place, execute
from lkbuild.errors import ImageError, LkbuildError, StoreError, UsageError
from lkbuild.frozen import frozen
from lkbuild.packages.params import DockerfileBuild
from lkbuild.plan.recorded import RecordedStep
from lkbuild.reference import Reference
from lkbuild.sources.signatures import Looked
from lkbuild.steps.work import Progress, Work
from lkbuild.store import Blob, Result, Store
from lkbuild.store.layered import LayeredStore
from lkbuild.store.steps import recorded_step
from lkbuild.trust.judge import Candidate

FETCHED = frozenset({"pull", "deb", "dockerfile", "verify"})
"""Kinds whose results come from somewhere else: they are checked whenever they come, and nothing makes them again."""

_SAMPLE = re.compile(r"(\d{1,9})(%?)")
DEFAULT_SAMPLE = "10%"


@frozen
class Sample:
    """How many results are made again: `count` of them, or so many percent; `seed` decides which."""

    count: int
    percent: bool = False
    seed: str = ""

    @classmethod
    def parse(cls, text: str, seed: str = "") -> Sample:
        """`20` or `10%`; UsageError for anything else."""
        match = _SAMPLE.fullmatch(text)
        if match is None or int(match[1]) == 0 or (match[2] and int(match[1]) > 100):
            raise UsageError(f"--sample {text} is no sample", "say a number of results, or 10% of them")
        return cls(int(match[1]), bool(match[2]), seed)

    def of(self, keys: Iterable[Digest]) -> list[Digest]:
        """The sample of these keys: the same for the same keys and seed, whatever order they come in."""
        ordered = sorted(set(keys), key=lambda key: hashlib.sha256(f"{self.seed}{key}".encode()).digest())
        count = math.ceil(len(ordered) * self.count / 100) if self.percent else self.count
        return ordered[:count]


class Indoors:
    """Doors that lead nowhere: no step of an audit may reach the network."""

    def fetch_layer(self, reference: Reference, blob: Blob, into: Path, progress: Progress) -> None:
        """See `steps.work.Doors`."""
        raise ImageError(f"{reference}: an audit fetches nothing")

    def fetch_file(self, uri: str, blob: Blob, into: Path, progress: Progress) -> None:
        """See `steps.work.Doors`."""
        raise ImageError(f"{uri}: an audit fetches nothing")

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Candidate | Looked]:
        """See `steps.work.Doors`."""
        raise ImageError(f"{reference}: an audit looks for no signatures")

    def build_dockerfile(self, params: DockerfileBuild, work: Work) -> None:
        """See `steps.work.Doors`."""
        raise ImageError("an audit has nothing built by a daemon")


def audit(store: Store, keys: Iterable[Digest], sample: Sample, listen: Listener) -> tuple[Checked, ...]:
    """Make a sample of the results under `keys` again; tells and returns how each came out.

    Results that nothing makes again (`FETCHED`), and those of steps that were not written down, are not in the sample.
    """
    steps: dict[Digest, RecordedStep] = {}
    found: list[Checked] = []

    def note(checked: Checked) -> None:
        found.append(checked)
        listen(checked)

    for key in keys:
        try:
            step = recorded_step(store, key)
        except StoreError as error:
            _forget(store, key)
            note(Checked(key.short, "", key.hex, "damaged", reason=error.message))
            continue
        if step is not None and step.kind not in FETCHED:
            steps[key] = step
    chosen = sample.of(steps)
    # All of them first: what is damaged of one may be what another reads, which would find it gone.
    spoilt = {key: checked for key in chosen if (checked := _spoilt(store, key, steps[key])) is not None}
    for key in chosen:
        note(spoilt.get(key) or _check(store, key, steps[key]))
    return tuple(found)


def every_key(store: Store) -> Iterator[Digest]:
    """The key of every result of a store, sorted."""
    for path in sorted((store.root / "results").glob("??/*")):
        if re.fullmatch("[0-9a-f]{64}", path.name):
            yield Digest("sha256", path.name)


def _forget(store: Store, key: Digest) -> None:
    """Drop a result and the record of its step: what needs it makes it again."""
    store.result_path(key).unlink(missing_ok=True)
    store.step_path(key).unlink(missing_ok=True)


def _spoilt(store: Store, key: Digest, recorded: RecordedStep) -> Checked | None:
    """A result that is damaged, which is dropped; None for one that is whole."""
    name, kind = recorded.name or recorded.kind, recorded.kind
    before = store.recorded(key)
    damaged = [] if before is None else [blob for blob in before.blobs if _is_damaged(store, blob)]
    if before is None or damaged:
        reason = (
            f"{', '.join(str(blob.digest) for blob in damaged)} was damaged" if damaged else "its result is no result"
        )
        _forget(store, key)
        return Checked(name, kind, key.hex, "damaged", reason=f"{reason}, and is dropped")
    return None


def _check(store: Store, key: Digest, recorded: RecordedStep) -> Checked:
    """Make a result again."""
    name, kind = recorded.name or recorded.kind, recorded.kind
    try:
        step = recorded.step()
    except ValueError as error:
        return Checked(name, kind, key.hex, "skipped", reason=str(error))
    inputs = {each.role: Blob(each.digest, each.size) for each in recorded.inputs}
    damaged = [role for role, blob in inputs.items() if _is_damaged(store, blob)]
    if damaged:
        reason = f"what it was made from ({', '.join(damaged)}) was damaged, and is dropped"
        return Checked(name, kind, key.hex, "damaged", reason=reason)
    before = store.recorded(key)
    gone = [role for role, blob in inputs.items() if not store.has(blob)]
    if before is None or gone or not all(map(store.has, before.blobs)):
        return Checked(
            name, kind, key.hex, "skipped", reason=f"{', '.join(gone) or 'its output'} is gone from the cache"
        )
    try:
        with store.scratch() as directory:
            below = LayeredStore.open(directory / "audit")
            below.below = store
            try:
                after = execute(step, inputs, Place(below, Indoors(), nobody))
            finally:
                below.close()
    except LkbuildError as error:
        return Checked(name, kind, key.hex, "differs", reason=f"it fails now: {error.message}")
    other = _other_outputs(before, after)
    return Checked(name, kind, key.hex, "differs" if other else "same", other)


def _is_damaged(store: Store, blob: Blob) -> bool:
    """Whether the blob is there with other bytes, which are dropped; one that is gone is not damaged."""
    return store.path(blob.digest).exists() and not store.has(blob)


def _other_outputs(before: Result, after: Result) -> tuple[str, ...]:
    then, now = dict(before.outputs), dict(after.outputs)
    return tuple(name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name))
