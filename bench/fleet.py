"""Many machines that share images: twenty, and a thousand."""

from __future__ import annotations

import sys

from bench.laboratory import Laboratory, Subject
from bench.stopwatch import Run
from bench.workload import Fleet

_MANY = 100
"""Specs of which a cold build is long enough to be measured but once in a round."""


def measure(lab: Laboratory, fleet: Fleet) -> None:
    """Write the rows of a fleet into the book."""
    fleet.make(lab.rounds + 1)
    title = f"{fleet.count} specs"
    for turn in lab.turns():
        for jobs in ("1", "2") if fleet.count < _MANY else ("2",):
            for subject in lab.subjects:
                subject.forget_made(fleet.layout)
                row = f"{title}: cold" if jobs == "2" else f"{title}: cold, -n 1"
                lab.note(row, _build(subject, fleet, "-n", jobs), subject.name)
        for subject in lab.subjects:
            _build(subject, fleet)
        for _ in range(3):
            for subject in lab.subjects:
                lab.note(f"{title}: nothing to do, lkbuild build", _build(subject, fleet), subject.name)
                lab.note(f"{title}: nothing to do, doit build", _doit(subject, fleet), subject.name)
            lab.yardstick("python -c pass", [sys.executable, "-c", "pass"])
        fleet.change_spec(turn)
        for subject in lab.subjects:
            lab.note(f"{title}: one spec changed", _build(subject, fleet), subject.name)
        fleet.change_shared_image(turn)
        for subject in lab.subjects:
            lab.note(f"{title}: an image all share changed", _build(subject, fleet), subject.name)


def _build(subject: Subject, fleet: Fleet, *more: str) -> Run:
    return subject.lkbuild("--offline", *more, "--images", fleet.layout, f"spec={fleet.specs}/*.yml")


def _doit(subject: Subject, fleet: Fleet) -> Run:
    return subject.doit(f"spec={fleet.specs}/*.yml", f"images={fleet.layout}", "offline=yes")
