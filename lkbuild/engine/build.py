"""A build without doit: every step that must run, one after the other, then the outputs.  For libraries and tests."""

from __future__ import annotations

from lkbuild.engine.outputs import write
from lkbuild.engine.prepare import Prepared


def build(prepared: Prepared) -> int:
    """Run what must run and write what is not there; returns how many files were written."""
    session = prepared.session
    for step in session.graph.steps:
        if session.must_run(step.name):
            session.make(step.name)
    return sum(write(output, session) for output in session.graph.outputs)
