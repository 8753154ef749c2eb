"""Running child processes and what they cost: wall time, processor time and peak memory, of whole processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """What a process cost: seconds of wall time, of processor time (its children's too), and peak memory in MB."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Child:
    """How children are run: in which directory, with which additions to the environment."""

    directory: Path
    environment: Mapping[str, str]

    def time(self, command: Sequence[str | Path], into: Path | None = None) -> Run:
        """Run a command to its end, its output into a file if one is named; SystemExit unless it succeeds.

        NB: Linux counts a parent's memory at the fork as the child's peak, so the caller must be small itself.
        """
        words = [str(word) for word in command]
        began = time.monotonic()
        with (into or Path(os.devnull)).open("wb") as output:
            process = subprocess.Popen(
                words,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=self.directory,
                env={**os.environ, **self.environment},
            )
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)[:400]}: exit status {process.returncode}")
        return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(runs: Iterable[Run]) -> Run:
    """The medians of wall and processor time, the maximum of memory."""
    runs = list(runs)
    return Run(_middle(runs, lambda r: r.wall), _middle(runs, lambda r: r.cpu), max(r.memory for r in runs))


def _middle(runs: Iterable[Run], of: Callable[[Run], float]) -> float:
    return statistics.median(map(of, runs))
