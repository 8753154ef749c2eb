"""A cold build beside `zstd -1` of the same bytes, and a build with nothing to do beside `python -c pass`.

    python bench/cold.py [MEGABYTES] [ROUNDS]

The images are in the cache, nothing else is.  Prints medians of wall time and the peak memory, and their ratios: on a
machine others use too, only ratios from one run say anything.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.layouts import large_machine  # noqa: E402

LKBUILD = [sys.executable, "-m", "lkbuild"]


@dataclass
class Run:
    """Seconds of wall time, and of processor time, and peak resident memory in MB of one process."""

    wall: float
    cpu: float
    memory: float


def timed(command: list[str | Path], into: Path | None = None) -> Run:
    """Run a command to its end; it must succeed."""
    began = time.monotonic()
    with (into or Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=subprocess.DEVNULL, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit status {process.returncode}")
    return Run(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(runs: list[Run]) -> Run:
    """The medians of wall and processor time, the maximum of memory."""
    return Run(
        statistics.median(r.wall for r in runs), statistics.median(r.cpu for r in runs), max(r.memory for r in runs)
    )


def main(megabytes: int, rounds: int) -> None:
    """Measure in turn, so that a change of the machine's mood meets all alike."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        here = Path(scratch)
        # In a process of its own: Linux counts a parent's memory at the fork as the child's peak.
        make = multiprocessing.get_context("spawn").Process(target=large_machine, args=(here, megabytes))
        make.start()
        make.join()
        spec = here / "large.yml"
        build = [*LKBUILD, "build", "--images", here / "layout", "--dir", here / "out", "--cache", here / "cache"]
        tar = [*build, "--format", "tar", spec]
        timed(tar)
        plain = here / "out" / "large.tar"
        runs: dict[str, list[Run]] = {}
        for _ in range(rounds):
            for name, options in (("gzip", ["--compression", "gzip"]), ("zstd", ["--compression", "zstd"])):
                keep_only_layers(here / "cache")
                shutil.rmtree(here / "out", ignore_errors=True)
                runs.setdefault(f"cold, {name}", []).append(timed([*build, *options, spec]))
            timed(tar)
            runs.setdefault("zstd -1 -T2", []).append(timed(["zstd", "-1", "-T2", "-c", plain], here / "z"))
            runs.setdefault("zstd -1", []).append(timed(["zstd", "-1", "-c", plain], here / "z"))
            runs.setdefault("cp", []).append(timed(["cp", plain, here / "z"]))
            layers = sorted(str(p) for p in (here / "layout" / "blobs" / "sha256").iterdir() if p.stat().st_size > 1e5)
            runs.setdefault("gzip -dc layers", []).append(timed(["gzip", "-dc", *layers]))
            runs.setdefault("nothing to do", []).append(timed([*build, "--compression", "zstd", spec]))
            runs.setdefault("python -c pass", []).append(timed([sys.executable, "-c", "pass"]))
        print(f"{plain.stat().st_size / 1e6:.0f} MB of root filesystem, {rounds} rounds")
        report({name: median(list_) for name, list_ in runs.items()})


def keep_only_layers(cache: Path) -> None:
    """Forget all that was made; what was fetched stays."""
    for name in ("results", "stamps", "written"):
        shutil.rmtree(cache / name, ignore_errors=True)
    for path in (cache / "blobs").rglob("*"):
        if path.is_file() and path.open("rb").read(2) != b"\x1f\x8b":
            path.unlink()


def report(runs: dict[str, Run]) -> None:
    """The table."""
    unit = runs["zstd -1"].wall
    print(f"{'':18} {'wall s':>8} {'cpu s':>8} {'MB':>6} {'wall / zstd -1':>15}")
    for name, run in runs.items():
        print(f"{name:18} {run.wall:8.3f} {run.cpu:8.3f} {run.memory:6.0f} {run.wall / unit:15.2f}")


if __name__ == "__main__":
    main(*(int(text) for text in (*sys.argv[1:], *("300", "3")[len(sys.argv) - 1 :])))
