"""What every scenario works with: the checkouts that are measured, the rounds, and the book of results."""

from __future__ import annotations

import compileall
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.stopwatch import Child, Run, median

SCRIPTS = Path(sys.executable).parent
_LKBUILD = "import sys, lkbuild.cli as cli; sys.exit(getattr(cli, 'run', cli.main)())"
"""What the installed script does, for checkouts in which it is called otherwise too."""
YARDSTICK = ""
"""In place of a checkout's name: what other programs need for the same bytes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An lkbuild to measure: its name in the table and its checkout.  `home` is where its cache and outputs lie."""

    name: str
    checkout: Path
    home: Path

    @property
    def cache(self) -> Path:
        """Its cache."""
        return self.home / "cache"

    @property
    def out(self) -> Path:
        """Where its outputs go."""
        return self.home / "out"

    def compile(self) -> None:
        """Have its modules in bytecode, as they are wherever it ran once."""
        compileall.compile_dir(self.checkout / "lkbuild", quiet=1)

    def _child(self) -> Child:
        return Child(self.home, {"PYTHONPATH": str(self.checkout), "LKBUILD_CACHE": str(self.cache)})

    def lkbuild(self, *words: str | Path, into: Path | None = None) -> Run:
        """`lkbuild build` with these words, its outputs in `out`."""
        return self._child().time([sys.executable, "-c", _LKBUILD, "build", "--dir", self.out, *words], into)

    def doit(self, *words: str | Path) -> Run:
        """`doit build` with these words, its outputs in `out`."""
        (self.home / "dodo.py").write_text("from lkbuild.dodo import *\n")
        return self._child().time([SCRIPTS / "doit", "build", f"dir={self.out}", *words])

    def forget_made(self, layout: Path) -> None:
        """Leave in the cache what was fetched from `layout`, and nothing that was made."""
        fetched = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
        shutil.rmtree(self.out, ignore_errors=True)
        for name in ("results", "steps", "history", "stamps", "written"):
            shutil.rmtree(self.cache / name, ignore_errors=True)
        for path in (self.cache / "blobs").rglob("*"):
            if path.is_file() and path.name not in fetched:
                path.unlink()


@dataclass(slots=True)
class Laboratory:
    """Where measurements are made: the subjects, the number of rounds, directories for workloads and results, the book.

    The book has the runs of each row by subject, in the order the rows first came.
    """

    subjects: Sequence[Subject]
    rounds: int
    work: Path
    out: Path
    book: dict[str, dict[str, list[Run]]] = field(default_factory=dict)

    def note(self, row: str, run: Run, subject: str = YARDSTICK) -> None:
        """Write a run into the book."""
        self.book.setdefault(row, {}).setdefault(subject, []).append(run)

    def yardstick(self, row: str, command: Sequence[str | Path], into: Path | None = None) -> None:
        """Time another program and note it."""
        self.note(row, Child(self.work, {}).time(command, into))

    def turns(self) -> Iterator[int]:
        """The rounds: in each, everything is measured once, so that a change of the machine's mood meets all alike."""
        for turn in range(self.rounds):
            yield turn
            self._keep()

    def _keep(self) -> None:
        """Write the book's medians, so that a long run that is stopped has not been for nothing."""
        rows = {row: {name: asdict(median(runs)) for name, runs in by.items()} for row, by in self.book.items()}
        about = {"rounds": self.rounds, "subjects": [subject.name for subject in self.subjects], "rows": rows}
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "results.json").write_text(json.dumps(about, indent=1) + "\n")
