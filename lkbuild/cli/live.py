"""What is seen of a build on a terminal: at the bottom what is going on, above it what stays."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from lkbuild.cli.screen import Screen, cells, cut, printable
from lkbuild.cli.show import Lines
from lkbuild.engine.events import Finished, Progressed, Started, Writing, Wrote
from lkbuild.engine.report import (
    Broke,
    Built,
    Expected,
    Failed,
    Interrupted,
    Planned,
    Report,
    Resolving,
    Total,
    progress_words,
    seconds_words,
    size_words,
    words,
)

_TICK = 0.1
"""Seconds between two pictures."""
_LONG = 1.0
"""Seconds after which what is done was worth a line that stays."""
_BRIEF = 0.2
"""Seconds for which what runs is not shown yet: most steps are done sooner."""
_SLOW = 0.5
"""Seconds for which nothing is shown of getting ready, which seldom takes longer."""
_ROWS = 8
"""Running steps shown at most."""
_RATE = 3.0
"""Seconds over which a rate is taken."""
_BAR = 20
_WIDE = 70
"""Columns from which what is told of a step stands in columns."""


@dataclass(slots=True)
class _Running:
    """Part of a task that goes on since `began`: its step, or a file it writes; `samples` are (time, bytes done)."""

    task: str
    began: float
    progress: Progressed | None = None
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, progress: Progressed, now: float) -> None:
        """It got so far."""
        self.progress = progress
        self.samples.append((now, progress.done))
        while now - self.samples[0][0] > _RATE and len(self.samples) > 2:
            self.samples.popleft()

    def rate(self, now: float) -> float:
        """Bytes per second, lately."""
        if len(self.samples) < 2:
            return 0.0
        (began, first), (_, last) = self.samples[0], self.samples[-1]
        return (last - first) / max(now - began, _TICK)


class Live(Lines):
    """Some lines at the bottom that tell what runs, painted ten times a second; above them what is worth a line.

    `clock` tells the seconds.  Without `ticking`, pictures come when `tick` is called, and not by themselves.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        ticking: bool = True,
    ) -> None:
        super().__init__(out, err, verbose)
        self._screen = Screen(out, lambda text: self.write(out, text))
        self._clock = clock
        self._colour = not os.environ.get("NO_COLOR")
        self._unicode = (out.encoding or "").lower().replace("-", "") == "utf8"
        self._began = clock()
        self._planned = Planned(0, 0)
        self._left: dict[str, float] = {}
        self._work = self._side_by_side = 0.0
        self._running: dict[str, _Running] = {}
        self._done = 0
        self._preparing = self._over = False
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick_on, daemon=True) if ticking else None

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        with self._guard:
            if self._over:
                return
            self._follow(report)
            if self._lasts(report) and any(words(report, self.verbose)):
                self._screen.clear()
                super().__call__(report)
                if self._running or self._is_slow():
                    self._paint()

    def _follow(self, report: Report) -> None:
        """Keep account of what goes on."""
        now = self._clock()
        match report:
            case Resolving():
                self._preparing = True
                self._start_ticking()
            case Planned():
                self._planned, self._preparing, self._done = report, False, 0
            case Expected(seconds, steps):
                self._left = dict(steps)
                self._work = sum(self._left.values())
                self._side_by_side = seconds / self._work if self._work else 0.0
            case Started(step):
                self._running[step] = _Running(step, now)
                self._start_ticking()
            case Writing(output, path):
                self._running[path] = _Running(output, now)
                self._start_ticking()
            case Progressed(step) if step in self._running:
                self._running[step].note(report, now)
            case Finished(name) | Wrote(_, name):
                self._running.pop(name, None)
                self._work -= self._left.pop(name, 0.0)
                self._done += isinstance(report, Finished)
            case Failed(_, task) | Broke(_, task):
                self._running = {name: each for name, each in self._running.items() if each.task != task}
                self._work -= self._left.pop(task, 0.0)
            case Interrupted() | Built() | Total():
                self._over = isinstance(report, Interrupted)
                self._preparing = False
                self._running.clear()

    def _lasts(self, report: Report) -> bool:
        """Whether it is worth a line that stays."""
        match report:
            case Finished(_, "ran", seconds) | Wrote(_, _, _, seconds):
                return self.verbose or seconds >= _LONG
        return True

    def close(self) -> None:
        """See lkbuild.engine.project.Show."""
        self._stop.set()
        with self._guard:
            self._over = True
            self._running.clear()
            self._screen.clear()

    # -- pictures ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Paint a picture, if anything goes on; take the last one away if not."""
        with self._guard:
            if self._running or self._is_slow():
                self._paint()
            else:
                self._screen.clear()

    def _is_slow(self) -> bool:
        """Whether it is being prepared, and has been for so long that one wonders."""
        return self._preparing and self._clock() - self._began >= _SLOW

    def _start_ticking(self) -> None:
        if self._ticker is not None and self._ticker.ident is None:
            self._ticker.start()

    def _tick_on(self) -> None:
        while not self._stop.wait(_TICK):
            self.tick()

    def _paint(self) -> None:
        now = self._clock()
        columns, rows = self._screen.size
        shown = [(name, each) for name, each in self._running.items() if now - each.began >= _BRIEF]
        room = max(0, min(_ROWS, rows - 2))
        more = len(shown) - room if len(shown) > room else 0
        shown = shown[: room - 1 if more and room > 1 else room]
        lines = [self._line(name, each, now, columns - 1) for name, each in shown]
        if more and room > 1:
            lines.append(self._styled(f"  and {more + 1} more", columns - 1, "2"))
        self._screen.paint([*lines, self._summary(now, columns - 1)])

    def _line(self, name: str, running: _Running, now: float, width: int) -> tuple[str, int]:
        """A step: its name on the left, how far it is and since when on the right."""
        text = seconds_words(now - running.began)
        if running.progress is not None and width < _WIDE:
            text = f"{progress_words(running.progress)}  {text}"
        elif running.progress is not None:
            rate = running.rate(now)
            text = (
                f"{progress_words(running.progress)}  {f'{size_words(round(rate))}/s' if rate else '':>10}  {text:>7}"
            )
        left = cut(f"  {printable(name)}", max(12, width - cells(text) - 2))
        room = width - cells(left)
        text = cut(text, room - 2) if room > 4 else ""
        gap = " " * max(0, room - cells(text))
        return f"{left}{gap}{self._sgr('2', text)}", cells(left) + len(gap) + cells(text)

    def _summary(self, now: float, width: int) -> tuple[str, int]:
        """How much is done, and how long it will take yet."""
        if self._preparing:
            return self._styled(f"looking for images and packages, {seconds_words(now - self._began)}", width, "2")
        planned, done = self._planned, min(self._done, self._planned.to_run)
        parts = [f"{done} of {planned.to_run} steps"]
        if planned.steps > planned.to_run:
            parts.append(f"{planned.steps - planned.to_run} in the cache")
        parts.append(seconds_words(now - self._began))
        left = self._time_left(now)
        if left >= 1:
            parts.append(f"about {seconds_words(float(round(left)), whole=True)} left")
        text = ", ".join(parts)
        if not planned.to_run or width < cells(text) + _BAR + 2:
            return self._styled(text, width, "")
        full = round(_BAR * done / planned.to_run)
        mark, rest = ("━", "╌") if self._unicode else ("#", "-")
        bar = self._sgr("32", mark * full) + self._sgr("2", rest * (_BAR - full))
        return f"{bar}  {text}", _BAR + 2 + cells(text)

    def _time_left(self, now: float) -> float:
        """Seconds, by what is expected of the steps that are not done; 0 where nobody knows."""
        running = self._running.items()
        spent = sum(min(self._left.get(name, 0.0), now - each.began) for name, each in running)
        return (self._work - spent) * self._side_by_side

    def _styled(self, text: str, width: int, code: str) -> tuple[str, int]:
        shown = cut(text, width)
        return self._sgr(code, shown), cells(shown)

    def _sgr(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code and text else text
