"""What is seen of a build: lines, lines of JSON, or on a terminal one line that moves."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TextIO

from lkbuild.engine.arguments import Manner
from lkbuild.engine.events import Finished, Progressed, Said, Started, Wrote
from lkbuild.engine.report import (
    Broke,
    Failed,
    Interrupted,
    Planned,
    Report,
    Skipped,
    json_line,
    progress_words,
    words,
)

_WRONG = (Said, Failed, Broke, Skipped, Interrupted)
"""What goes to standard error."""


class Lines:
    """A line for everything worth one.  `out` and `err` may be closed by who reads them: then nothing more is said."""

    def __init__(self, out: TextIO, err: TextIO, verbose: bool = False) -> None:
        self.out = out
        self.err = err
        self.verbose = verbose
        self._read = True
        self._guard = threading.RLock()

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        with self._guard:
            for line in words(report, self.verbose):
                self.write(self.err if isinstance(report, _WRONG) else self.out, f"{line}\n")

    def write(self, stream: TextIO, text: str) -> None:
        """Write, unless nobody reads any more."""
        if not self._read:
            return
        try:
            stream.write(text)
            stream.flush()
        except (BrokenPipeError, ValueError):
            self._read = False

    def close(self) -> None:
        """See lkbuild.engine.project.Show."""


class Quiet(Lines):
    """Only what is wrong."""

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        if isinstance(report, _WRONG) and not isinstance(report, Said):
            super().__call__(report)


class JsonLines(Lines):
    """Every report as a line of JSON on standard output; of bytes fetched, five times a second."""

    _last = 0.0

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        with self._guard:
            if isinstance(report, Progressed) and report.done < report.total:
                if time.monotonic() - self._last < 0.2:
                    return
                self._last = time.monotonic()
            self.write(self.out, json_line(report) + "\n")


class Live(Lines):
    """One line at the bottom that says what is going on; above it what stays: warnings, errors and the end."""

    def __init__(self, out: TextIO, err: TextIO, verbose: bool = False) -> None:
        super().__init__(out, err, verbose)
        self._running: dict[str, str] = {}
        self._to_run = self._done = 0
        self._painted = 0.0
        self._visible = self._over = False

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        with self._guard:
            if self._over:
                return
            lasting = True
            match report:
                case Planned(_, to_run):
                    self._to_run = to_run
                case Started(step):
                    self._running[step] = ""
                case Progressed(step) if step in self._running:
                    self._running[step] = f" {progress_words(report)}"
                case Finished(step):
                    self._running.pop(step, None)
                    self._done += 1
                    lasting = self.verbose
                case Interrupted():
                    self._over = True
                    self._running = {}
                case Wrote():
                    lasting = self.verbose
            if lasting and any(words(report, self.verbose)):
                self._clear()
                super().__call__(report)
            self._paint()

    def close(self) -> None:
        """See lkbuild.engine.project.Show."""
        with self._guard:
            self._running = {}
            self._clear()

    def _paint(self) -> None:
        now = time.monotonic()
        if not self._running or now - self._painted < 0.1:
            return
        self._painted = now
        width = self._width() - 1
        running = ", ".join(f"{step}{text}" for step, text in self._running.items())
        self.write(self.out, f"\r\x1b[2K{f'{self._done}/{self._to_run}  {running}'[:width]}")
        self._visible = True

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self.out.fileno()).columns
        except (OSError, ValueError):
            return 80

    def _clear(self) -> None:
        if self._visible:
            self.write(self.out, "\r\x1b[2K")
            self._visible = False
            self._painted = 0.0


def open_show(manner: Manner, verbose: bool, stdout_is_taken: bool = False) -> Lines:
    """What shows a build here.  Where its output goes to standard output, everything said goes to standard error."""
    out = sys.stderr if stdout_is_taken else sys.stdout
    if manner == "json":
        return JsonLines(out, sys.stderr)
    if manner == "quiet":
        return Quiet(out, sys.stderr)
    return (Live if out.isatty() else Lines)(out, sys.stderr, verbose)
