"""What SBOM and provenance cost: cold, with nothing to do, and after a changed capability, beside a build without them.

    python bench/sbom.py [MEGABYTES] [ROUNDS]

Prints medians of wall and processor time and their ratios: on a machine others use too, only ratios from one run say
anything.  The images have no package database, so that all of their layers is read in vain: the worst case.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.cold import LKBUILD, Run, median, timed  # noqa: E402
from tests.support.layouts import large_machine  # noqa: E402

WAYS = {
    "without": ["--no-sbom", "--no-provenance"],
    "SBOM": ["--no-provenance"],
    "SBOM and provenance": [],
}


def main(megabytes: int, rounds: int) -> None:
    """Measure all ways in turn, so that a change of the machine's mood meets all alike."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        root = Path(scratch)
        spec = large_machine(root, megabytes)
        text = spec.read_text()
        runs: dict[tuple[str, str], list[Run]] = {}
        for number in range(rounds):
            for way, flags in WAYS.items():
                cache, out = root / "cache", root / "out"
                shutil.rmtree(cache, ignore_errors=True)
                shutil.rmtree(out, ignore_errors=True)
                command = [*LKBUILD, "build", *flags, "--cache", cache, "--dir", out, "--images", root / "layout", spec]
                spec.write_text(text)
                runs.setdefault(("cold", way), []).append(timed(command))
                timed(command)
                runs.setdefault(("nothing to do", way), []).append(timed(command))
                spec.write_text(
                    text.replace("{name: s0,", f"{{name: s0, env: [N={number}], capabilities: [CAP_CHOWN],")
                )
                runs.setdefault(("a capability", way), []).append(timed(command))
        for (what, way), found in runs.items():
            mine, plain = median(found), median(runs[what, "without"])
            ratio = f"{mine.wall / plain.wall:5.2f} x wall, {mine.cpu / plain.cpu:5.2f} x processor"
            print(f"{what:14} {way:20} {mine.wall:7.3f} s, {mine.cpu:7.3f} s of processor: {ratio}")


if __name__ == "__main__":
    main(*(int(argument) for argument in [*sys.argv[1:], *("400", "3")[len(sys.argv) - 1 :]]))
