"""Leaving a record of a build in the history of its cache."""

from __future__ import annotations

import os
from collections.abc import Set

from lkbuild import __version__
from lkbuild.engine.events import Said
from lkbuild.engine.history import (
    BuildRecord,
    Ended,
    MachineRecord,
    MachineSteps,
    RefusedRecord,
    machines_of,
    request_of,
)
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.refusing import Refusal
from lkbuild.engine.session import Session
from lkbuild.engine.timeline import Timeline
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen


@frozen
class Done:
    """How a build went: when it began (microseconds since 1970), with how many jobs; which machines were built, and
    which could not even be prepared.
    """

    began: int
    jobs: int
    ended: Ended
    built: Set[str]
    refused: tuple[Refusal, ...]


def keep_record(session: Session, options: BuildOptions, timeline: Timeline, done: Done) -> None:
    """Write the record, also of a build that failed.  Where it cannot be written, that is said, and that is all."""
    end = timeline.now()
    files = HistoryFiles(options.cache)
    try:
        machines = tuple(
            _machine(machine, session, files, done.built) for machine in machines_of(session.graph, options)
        )
        files.keep(
            BuildRecord(
                began=done.began,
                prepared=timeline.prepared,
                end=end,
                ended=done.ended,
                lkbuild=__version__,
                jobs=done.jobs,
                request=request_of(options),
                machines=machines,
                refused=tuple(
                    RefusedRecord(tuple(map(os.path.abspath, each.files)), each.why) for each in done.refused
                ),
                steps=timeline.steps(session),
                written=timeline.written,
            )
        )
    except (OSError, LkbuildError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        session.place.listen(Said(f"the history of this build is not kept: {files.root}: {why}"))


def _machine(machine: MachineSteps, session: Session, files: HistoryFiles, built: Set[str]) -> MachineRecord:
    keys = ((own, session.key(name)) for own, name in machine.names.items() if session.is_made(name))
    state = files.keep_state({own: key for own, key in keys if key is not None})
    return MachineRecord(
        machine.name, machine.id, machine.files, machine.outputs, len(machine.names), state, machine.name in built
    )
