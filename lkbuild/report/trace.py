"""A build as a trace that Perfetto and chrome://tracing show.

The Trace Event Format (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): complete events (`X`)
with microseconds, metadata (`M`) that name process and threads, and flows (`s`, `f`) from a step to those that need it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lkbuild.engine.history import BuildRecord, StepRun
from lkbuild.report.critical import critical_path

_PROCESS, _PLANNING = 1, 0
"""The process of all events, and the thread of what comes before the first step; workers follow it."""


def trace_text(record: BuildRecord) -> str:
    """The trace as JSON."""
    other = {"lkbuild": record.lkbuild, "ended": record.ended, "began": record.began}
    return json.dumps({"traceEvents": list(_events(record)), "displayTimeUnit": "ms", "otherData": other}) + "\n"


def _events(record: BuildRecord) -> Iterator[dict[str, Any]]:
    names = " ".join(machine.name for machine in record.machines)
    yield _named("process_name", _PLANNING, f"lkbuild {names}")
    workers = sorted({run.worker for run in record.steps} | {file.worker for file in record.written})
    for thread, name in ((_PLANNING, "planning"), *((n + 1, f"worker {n + 1}") for n in workers)):
        yield _named("thread_name", thread, name)
    yield _complete("planning", "planning", _PLANNING, (0, record.prepared or record.end), {})
    critical = set(critical_path(record.steps).steps)
    for run in record.steps:
        arguments = {
            "how": run.how,
            "reason": run.reason,
            "bytes in": run.bytes_in,
            "bytes out": run.bytes_out,
            "critical": run.name in critical,
            "key": None if run.key is None else str(run.key),
        }
        yield _complete(run.name, run.kind, run.worker + 1, (run.start, run.end), arguments)
    for file in record.written:
        arguments = {"output": file.output, "bytes": file.bytes}
        yield _complete(file.path, "write", file.worker + 1, (file.start, file.end), arguments)
    yield from _flows({run.name: run for run in record.steps})


def _flows(runs: dict[str, StepRun]) -> Iterator[dict[str, Any]]:
    number = 0
    for run in runs.values():
        for need in run.needs:
            if need in runs:
                number += 1
                flow = {"name": "needs", "cat": "needs", "id": number, "pid": _PROCESS}
                before = runs[need]
                yield {**flow, "ph": "s", "tid": before.worker + 1, "ts": before.end}
                yield {**flow, "ph": "f", "bp": "e", "tid": run.worker + 1, "ts": run.start}


def _complete(name: str, kind: str, thread: int, span: tuple[int, int], arguments: dict[str, Any]) -> dict[str, Any]:
    start, end = span
    event = {"name": name, "cat": kind, "ph": "X", "pid": _PROCESS, "tid": thread, "ts": start}
    return {**event, "dur": max(0, end - start), "args": arguments}


def _named(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": thread, "args": {"name": name}}
