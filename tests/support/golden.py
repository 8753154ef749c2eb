"""The golden table of steps: `tests/golden/steps.jsonl`, one step a line, and the blobs they read in `blobs/`.

Each step stands alone: its inputs are kept as they were, so that what one kind makes now never depends on another.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lkbuild.archive.compress import decompressed, sniff, zstd
from lkbuild.digest import Digest
from lkbuild.errors import ArchiveError
from lkbuild.plan.recorded import RecordedInput, RecordedStep
from lkbuild.store import Blob, Result, Store
from tests.support.steps import carry_out

GOLDEN = Path(__file__).parents[1] / "golden"
TABLE, BLOBS = GOLDEN / "steps.jsonl", GOLDEN / "blobs"
LIBRARIES = {"zlib": zlib.ZLIB_RUNTIME_VERSION, "zstd": zstd.zstd_version}
"""What compresses here: another version of it may well make other bytes of the same contents."""

Made = Mapping[str, tuple[str, str]]
"""Of each output its digest, and that of what is in it where it is compressed."""


@dataclass(frozen=True)
class Case:
    """A step, the blobs besides its inputs that it reads, and what it makes."""

    step: RecordedStep
    needs: tuple[Digest, ...]
    outputs: Made

    @property
    def name(self) -> str:
        return f"{self.step.kind} {self.step.name}"

    def line(self) -> str:
        """The case as a line of the table."""
        return json.dumps(
            {
                "kind": self.step.kind,
                "version": self.step.version,
                "name": self.step.name,
                "params": self.step.params,
                "unkeyed": self.step.unkeyed,
                "inputs": [[each.role, str(each.digest), each.size] for each in self.step.inputs],
                "needs": [str(digest) for digest in self.needs],
                "outputs": {name: list(made) for name, made in self.outputs.items()},
            }
        )

    @classmethod
    def parse(cls, line: str) -> Case:
        row: dict[str, Any] = json.loads(line)
        inputs = tuple(RecordedInput(role, Digest.parse(digest), size) for role, digest, size in row["inputs"])
        step = RecordedStep(row["kind"], row["version"], row["params"], inputs, row["name"], row["unkeyed"])
        made = {name: (digest, inner) for name, (digest, inner) in row["outputs"].items()}
        return cls(step, tuple(map(Digest.parse, row["needs"])), made)

    def make(self, cache: Path, version: int | None = None) -> Made:
        """What the step makes now, by the kind as it is; ValueError where the kind no longer takes such params."""
        recorded = self.step if version is None else RecordedStep(
            self.step.kind, version, self.step.params, self.step.inputs, self.step.name, self.step.unkeyed
        )  # fmt: skip
        step = recorded.step()
        store = Store.open(cache)
        try:
            for digest in {*self.needs, *(each.digest for each in self.step.inputs)}:
                assert store.add((BLOBS / digest.hex).read_bytes()).digest == digest
            inputs = {each.role: Blob(each.digest, each.size) for each in self.step.inputs}
            return made(store, carry_out(store, step.kind, step.params, inputs))
        finally:
            store.close()


def made(store: Store, result: Result) -> Made:
    """A result as the table has it."""
    return {name: (str(blob.digest), _inner(store, blob)) for name, blob in result.outputs}


def _inner(store: Store, blob: Blob) -> str:
    data = store.read(blob.digest)
    try:
        if sniff(data[:8]) == "none":
            return ""
        return hashlib.sha256(b"".join(decompressed(io.BytesIO(data)))).hexdigest()
    except ArchiveError:
        return ""


def read_table() -> tuple[Mapping[str, str], tuple[Case, ...]]:
    """The versions of the libraries the table was made with, and its cases."""
    first, *rest = TABLE.read_text("utf-8").splitlines()
    return json.loads(first), tuple(map(Case.parse, rest))


def write_table(cases: Iterable[Case], blobs: Mapping[Digest, bytes]) -> None:
    """Write the table, and keep the blobs that its cases need and no others."""
    cases = sorted(cases, key=lambda case: (case.step.kind, case.step.name))
    TABLE.write_text("\n".join([json.dumps(LIBRARIES), *(case.line() for case in cases)]) + "\n", "utf-8")
    BLOBS.mkdir(exist_ok=True)
    wanted = {digest for case in cases for digest in (*case.needs, *(each.digest for each in case.step.inputs))}
    for digest in wanted:
        if not (BLOBS / digest.hex).exists():
            (BLOBS / digest.hex).write_bytes(blobs[digest])
    for path in BLOBS.iterdir():
        if path.name not in {digest.hex for digest in wanted}:
            path.unlink()
