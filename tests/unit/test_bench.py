"""The measurements still run: on workloads so small that they say nothing but that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.aims import AIMS, verdicts
from bench.report import table
from bench.stopwatch import Run, median

ROOT = Path(__file__).parents[2]


def test_every_scenario_runs_and_every_aim_finds_its_rows(tmp_path: Path) -> None:
    words = ["machine", "fleet", "thousand", "--rounds=1", "--megabytes=1", "--specs=3", f"--out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "bench", *words], cwd=ROOT, check=True, timeout=600)
    rows = {
        row: {name: Run(**run) for name, run in by.items()}
        for row, by in json.loads((tmp_path / "results.json").read_text())["rows"].items()
    }
    assert all(run.wall > 0 for by in rows.values() for run in by.values())
    missing = [aim.row for aim in AIMS if aim.row not in rows]
    assert all(row.startswith("1000 specs") for row in missing), missing
    assert all(row.replace("1000", "3", 1) in rows for row in missing), "the fleet's rows have other names"
    assert len(verdicts(rows, "lkbuild")) == len(AIMS) - len(missing)
    assert "| nothing to do, lkbuild build |" in (tmp_path / "table.md").read_text()


def test_medians_and_ratios() -> None:
    runs = [Run(1, 2, 30), Run(9, 8, 10), Run(2, 3, 20)]
    assert median(runs) == Run(2, 3, 30), "memory counts by its maximum"
    rows = {"cold": {"before": Run(4, 4, 1), "after": Run(2, 1, 1)}, "cp": {"": Run(0.5, 0.25, 1)}}
    lines = list(table(rows, ["before", "after"], 3))
    assert "| cold | 4.00 / 4.00 / 1 | 2.00 / 1.00 / 1 | 0.50 / 0.25 |" in lines
    assert "| cp |  | 0.500 / 0.250 / 1 |  |" in lines
