"""When what happened in a build: its events with times and threads, gathered for the record of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from lkbuild.engine.events import Finished, Started, Wrote
from lkbuild.engine.history import FileWritten, How, StepRun
from lkbuild.engine.report import Broke, Failed, Planned, Report
from lkbuild.engine.session import Session


@dataclass(slots=True)
class _Turn:
    """A step's turn; `end` None while it lasts."""

    reason: str
    start: int
    worker: int
    end: int | None = None
    how: How = "unfinished"


@dataclass(slots=True)
class Timeline:
    """Listens to a build that began at `began` (time.monotonic), one report at a time."""

    began: float
    prepared: int = 0
    _turns: dict[str, _Turn] = field(default_factory=dict)
    _written: list[FileWritten] = field(default_factory=list)
    _workers: dict[int, int] = field(default_factory=dict)

    def __call__(self, report: Report) -> None:
        """Note what happened now, in this thread."""
        match report:
            case Planned():
                self.prepared = self.now()
            case Started(step, reason):
                self._turns[step] = _Turn(reason, self.now(), self._worker())
            case Finished(step, how, seconds):
                now = self.now()
                turn = self._turns.setdefault(step, _Turn("", max(0, now - _micro(seconds)), self._worker()))
                turn.end, turn.how = now, how
            case Failed(_, task) | Broke(_, task) if task in self._turns:
                self._turns[task].end, self._turns[task].how = self.now(), "failed"
            case Wrote(output, path, size, seconds):
                now = self.now()
                start = max(0, now - _micro(seconds))
                self._written.append(FileWritten(output, path, size, start, now, self._worker()))

    def now(self) -> int:
        """Microseconds since the beginning."""
        return _micro(time.monotonic() - self.began)

    @property
    def written(self) -> tuple[FileWritten, ...]:
        """The files written so far."""
        return tuple(self._written)

    def steps(self, session: Session) -> tuple[StepRun, ...]:
        """The steps whose turn came, in the order they began."""
        turns = sorted(self._turns.copy().items(), key=lambda item: item[1].start)
        return tuple(self._step(session, name, turn) for name, turn in turns if name in session.steps)

    def _step(self, session: Session, name: str, turn: _Turn) -> StepRun:
        step, result = session.steps[name], session.results.get(name)
        done = result if turn.how in ("ran", "cached", "waited") else None
        return StepRun(
            name=name,
            kind=step.kind,
            key=session.key(name),
            reason=turn.reason,
            start=turn.start,
            end=self.now() if turn.end is None else turn.end,
            worker=turn.worker,
            how=turn.how,
            bytes_in=sum(blob.size for blob in (session.inputs(step) or {}).values()),
            bytes_out=sum(blob.size for _, blob in done.outputs) if done else 0,
            needs=step.needs,
        )

    def _worker(self) -> int:
        return self._workers.setdefault(threading.get_ident(), len(self._workers))


def _micro(seconds: float) -> int:
    return round(seconds * 1_000_000)
