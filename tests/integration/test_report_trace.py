"""Traces of builds, read by Perfetto's own trace processor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lkbuild.engine.history import BuildRecord
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.report.trace import trace_text
from tests.integration.test_rebuild import make_project
from tests.integration.test_report import made
from tests.support.browser import started
from tests.support.perfetto import perfetto
from tests.unit.test_engine_history import RECORD
from tests.unit.test_report import HOSTILE, follows_the_format, run

ODD = replace(
    RECORD,
    steps=(
        run("a", 3, 9),
        run("moment", 9, 9, "a"),
        replace(run(HOSTILE, 5, 30), worker=0),
        replace(run("b", 12, 40, "a", "moment"), worker=1),
    ),
)
"""What no build of ours leaves behind: in one worker two steps at a time, and any name at all."""


@pytest.fixture
def built(tmp_path: Path) -> BuildRecord:
    project = make_project(tmp_path / "project")
    made(project)
    (record,) = HistoryFiles(project.cache).newest()
    return record


@pytest.mark.parametrize("which", ["built", "odd"])
def test_perfetto_reads_all_of_a_trace(tmp_path: Path, built: BuildRecord, which: str) -> None:
    record = built if which == "built" else ODD
    text = trace_text(record)
    events = json.loads(text)["traceEvents"]
    follows_the_format(events)
    browser = started(tmp_path / "profile")
    try:
        with perfetto(browser, text) as reader:
            wrong = reader.rows("name, value", "from stats where severity in ('error', 'data_loss') and value > 0")
            assert wrong == []
            slices = reader.rows(
                "slice.name, ts, dur, tid, depth",
                "from slice join thread_track t on t.id = track_id join thread using (utid)",
            )
            wanted = [e for e in events if e["ph"] == "X"]
            assert sorted(slices) == sorted(
                (shown(e["name"]), str(1000 * e["ts"]), str(1000 * e["dur"]), str(e["tid"]), "0") for e in wanted
            )
            flows = reader.rows(
                "a.name as before, b.name as after",
                "from flow join slice a on slice_out = a.id join slice b on slice_in = b.id",
            )
            runs = {run.name for run in record.steps}
            arrows = [(shown(need), shown(run.name)) for run in record.steps for need in run.needs if need in runs]
            assert sorted(flows) == sorted(arrows)
            names = reader.rows("tid, name", "from thread where name is not null")
            assert sorted(names) == sorted(
                (str(e["tid"]), e["args"]["name"]) for e in events if e["name"] == "thread_name"
            )
            counted = reader.rows("t.name, ts, value", "from counter join counter_track t on t.id = track_id")
            assert len(counted) == sum(e["ph"] == "C" for e in events)
    finally:
        browser.quit()


def shown(name: str) -> str:
    """A name as it comes back: what is no Unicode does not."""
    return name.encode("utf-8", "replace").decode()
