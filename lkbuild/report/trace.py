"""A build as a trace that Perfetto and chrome://tracing show.

The Trace Event Format (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): metadata (`M`) that
names process and threads, then, in the order of their microseconds, complete events (`X`), flows (`s`, `f`) from a step
to those that need it, and counters (`C`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lkbuild.engine.history import BuildRecord, StepRun
from lkbuild.frozen import frozen
from lkbuild.report.critical import critical_path

_PROCESS = 1
"""The process of all events, and its first thread.  NB: thread 0 is for Perfetto the one with the process's number."""

_PHASES = "XsfC"
"""At one moment what lasts stands before what is bound to it."""


@frozen
class _Span:
    """Something that took its time in a worker (-1: before the first of them had anything to do)."""

    name: str
    kind: str
    worker: int
    start: int
    end: int
    arguments: dict[str, Any]


def trace_text(record: BuildRecord) -> str:
    """The trace as JSON.  Text of it that is no Unicode is replaced: Perfetto reads no file that has any."""
    other = {"lkbuild": record.lkbuild, "ended": record.ended, "began": record.began}
    trace = {"traceEvents": list(_events(record)), "displayTimeUnit": "ms", "otherData": other}
    return json.dumps(trace, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _events(record: BuildRecord) -> Iterator[dict[str, Any]]:
    spans = list(_spans(record))
    threads = _threads(spans)
    yield _metadata("process_name", _PROCESS, name=f"lkbuild {' '.join(machine.name for machine in record.machines)}")
    names: dict[int, int] = {}
    for span, thread in zip(spans, threads, strict=True):
        names.setdefault(thread, span.worker)
    for thread, worker in sorted(names.items()):
        yield _metadata("thread_name", thread, name="planning" if worker < 0 else f"worker {worker + 1}")
        yield _metadata("thread_sort_index", thread, sort_index=thread)
    events = [_complete(span, thread) for span, thread in zip(spans, threads, strict=True)]
    events += _flows({run.name: (run, threads[n]) for n, run in enumerate(record.steps, 1)})
    events += _counters(record)
    yield from sorted(events, key=lambda event: (event["ts"], _PHASES.index(event["ph"]), event.get("dur", 0)))


def _spans(record: BuildRecord) -> Iterator[_Span]:
    """The planning, the steps, the files."""
    yield _Span("planning", "planning", -1, 0, record.prepared or record.end, {})
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
        yield _Span(run.name, run.kind, run.worker, run.start, max(run.start, run.end), arguments)
    for file in record.written:
        arguments = {"output": file.output, "bytes": file.bytes}
        yield _Span(file.path, "write", file.worker, file.start, max(file.start, file.end), arguments)


def _threads(spans: list[_Span]) -> list[int]:
    """A thread for each span.

    What overlaps in a worker, as a record may have it where a clock was set back, goes into a further thread of that
    name: readers drop what neither follows the one before it in its thread nor lies in it.
    """
    lanes: dict[int, list[int]] = {}
    chosen = [0] * len(spans)
    for number in sorted(range(len(spans)), key=lambda n: (spans[n].start, spans[n].end)):
        span, ends = spans[number], lanes.setdefault(spans[number].worker, [])
        lane = next((n for n, end in enumerate(ends) if end <= span.start), len(ends))
        ends[lane : lane + 1] = [span.end]
        chosen[number] = lane
    places = [(worker, lane) for worker in sorted(lanes) for lane in range(len(lanes[worker]))]
    threads = {place: thread for thread, place in enumerate(places, _PROCESS)}
    return [threads[span.worker, lane] for span, lane in zip(spans, chosen, strict=True)]


def _flows(runs: dict[str, tuple[StepRun, int]]) -> Iterator[dict[str, Any]]:
    """An arrow from the last microsecond of each step to the first of those that need it."""
    number = 0
    for run, thread in runs.values():
        for need in run.needs:
            if need in runs:
                number += 1
                before, its = runs[need]
                flow = {"name": "needs", "cat": "needs", "id": number, "pid": _PROCESS}
                yield {**flow, "ph": "s", "tid": its, "ts": max(before.start, before.end - 1)}
                yield {**flow, "ph": "f", "bp": "e", "tid": thread, "ts": run.start}


def _counters(record: BuildRecord) -> Iterator[dict[str, Any]]:
    """How many steps are at work, and how many bytes steps have made, whenever that changes."""
    at_work, made = dict[int, int](), dict[int, int]()
    for run in record.steps:
        if run.how == "ran":
            at_work[run.start] = at_work.get(run.start, 0) + 1
            at_work[run.end] = at_work.get(run.end, 0) - 1
            made[run.end] = made.get(run.end, 0) + run.bytes_out
    yield from _counter("steps at work", "steps", at_work.items())
    yield from _counter("bytes made", "bytes", made.items())


def _counter(name: str, what: str, changes: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    value = 0
    for moment, change in sorted(changes):
        value += change
        yield {"name": name, "ph": "C", "pid": _PROCESS, "tid": _PROCESS, "ts": moment, "args": {what: value}}


def _complete(span: _Span, thread: int) -> dict[str, Any]:
    event = {"name": span.name, "cat": span.kind, "ph": "X", "pid": _PROCESS, "tid": thread, "ts": span.start}
    return {**event, "dur": span.end - span.start, "args": span.arguments}


def _metadata(what: str, thread: int, **arguments: str | int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": thread, "args": arguments}
