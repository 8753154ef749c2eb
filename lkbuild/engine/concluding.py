"""The end of a build: what was built is told, and what was not; stamps are left, so that the next build sees it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lkbuild.engine import stamp
from lkbuild.engine.building import request
from lkbuild.engine.report import Built, NotBuilt, Total, Unbuilt
from lkbuild.frozen import frozen
from lkbuild.plan.graph import Output, reached

if TYPE_CHECKING:
    from lkbuild.engine.arguments import Order
    from lkbuild.engine.building import Tally
    from lkbuild.engine.prepare import Prepared
    from lkbuild.engine.running import Reporting
    from lkbuild.engine.tasks import Writing
    from lkbuild.trust.private import PrivateKey


@frozen
class Started:
    """A build that is prepared, and began at `began` (time.monotonic)."""

    prepared: Prepared
    tally: Tally
    began: float
    key: PrivateKey | None


@frozen
class Concluding:
    """Tells what came of a build whose tasks were run, and leaves stamps."""

    order: Order
    started: Started
    reporting: Reporting
    writing: Writing

    def tell(self, outputs: Sequence[Output], keep_going: bool) -> None:
        """Tell which machines were built; where building goes on after a failure, also which were not and why."""
        machines, session, tally = _machines(outputs), self.started.prepared.session, self.started.tally
        # Two specs may make machines of one name in different formats: then it is not clear whose stamp it would be.
        stamped = len(machines) == len(self.order.options.machines) and self.order.target != "-"
        ticked = stamp.ticked()  # once for all: 1000 machines would wait for seconds
        numbered = enumerate(machines.items())
        ends = [self._machine(name, mine, n if stamped else None, ticked) for n, (name, mine) in numbered]
        built = [end for end in ends if end is not None]
        for end in built:
            tally(replace(end, together=len(built)))
        if len(built) > 1:
            ran = sum(how == "ran" for how in tally.how.values())
            steps, written = len(session.steps), sum(tally.written.values())
            tally(Total(len(built), ran, steps - ran, written, time.monotonic() - self.started.began))
        done = {end.machine for end in built}
        unbuilt = tuple(self._unbuilt({name: mine for name, mine in machines.items() if name not in done}))
        fresh = len({machine for _, machine in self.order.fresh})
        asked = fresh + len(built) + len(unbuilt)
        if keep_going and unbuilt and asked > 1:
            tally(Unbuilt(unbuilt, asked))

    def _unbuilt(self, machines: Mapping[str, Sequence[Output]]) -> Iterator[NotBuilt]:
        """What was refused, and those of `machines` in which something failed."""
        for refusal in self.started.prepared.refused:
            yield NotBuilt(refusal.name, refusal.why)
        session, failed = self.started.prepared.session, self.reporting.failed
        for name, outputs in machines.items():
            steps = reached(session.steps, [step for output in outputs for step in output.needs])
            tasks = [*(step for step in session.steps if step in steps), *(output.name for output in outputs)]
            if why := next((failed[task] for task in tasks if task in failed), ""):
                yield NotBuilt(name, why)

    def _machine(self, name: str, outputs: list[Output], number: int | None, ticked: bool) -> Built | None:
        """What was done for a machine; a stamp is left if it has a `number` and all is as it should be.

        `ticked`: the clock did since all was written (`stamp.ticked`).  None where not all that was asked of it was
        built.
        """
        session, tally = self.started.prepared.session, self.started.tally
        paths = tuple(path for output in outputs for path in self._paths(output))
        seen = stamp.written(paths, ticked)
        left_out = {path for path in paths if not os.path.lexists(path)}  # what is optional and not needed
        asked = [output for output in outputs if output.name in self.reporting.seen]
        good = {output.name for output in outputs if self._is_done(output)}
        if not asked or any(output.name not in good for output in asked):
            return None
        steps = reached(session.steps, [step for output in outputs for step in output.needs])
        ran = sum(tally.how.get(step) == "ran" for step in steps)
        written = sum(tally.written.get(output.name, 0) for output in outputs)
        shown = tuple(path for output in asked for path in self._paths(output) if path not in left_out)
        built = Built(name, ran, len(steps) - ran, written, time.monotonic() - self.started.began, shown)
        if len(good) == len(outputs) and number is not None:
            watches = (self.started.prepared.watch.whole(number), seen)
            wanted = request(self.order, self.order.options.machines[number])
            stamp.write(wanted, watches, stamp.Fresh(name, tuple(path for path in paths if path not in left_out)))
        return built

    def _paths(self, output: Output) -> tuple[str, ...]:
        return (*(file.path for file in output.files), *self.writing.more(output))

    def _is_done(self, output: Output) -> bool:
        if self.order.target == "-":
            return self.reporting.code == 0
        session = self.started.prepared.session
        return session.is_open(output.needs) and self.writing.is_current(output, session)


def _machines(outputs: Iterable[Output]) -> dict[str, list[Output]]:
    machines: dict[str, list[Output]] = {}
    for output in outputs:
        machines.setdefault(output.machine, []).append(output)
    return machines
