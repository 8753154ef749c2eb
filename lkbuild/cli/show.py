"""What is seen of a build: lines, lines of JSON, or on a terminal what moves (cli.live)."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from typing import TextIO

from lkbuild.engine.arguments import Manner
from lkbuild.engine.events import Progressed, Said
from lkbuild.engine.report import (
    Broke,
    Failed,
    Interrupted,
    Refused,
    Report,
    Skipped,
    Unbuilt,
    json_line,
    words,
)

_WRONG = (Said, Failed, Refused, Broke, Skipped, Unbuilt, Interrupted)
"""What goes to standard error."""

_CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]")
"""What moves a cursor or worse: messages may quote what came from anywhere."""


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
                shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", line)
                self.write(self.err if isinstance(report, _WRONG) else self.out, f"{shown}\n")

    def write(self, stream: TextIO, text: str) -> None:
        """Write, unless nobody reads any more; what the encoding of the stream has not, as an escape."""
        if not self._read:
            return
        encoding = stream.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
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
    """Every report as a line of JSON on standard output; of bytes done, five times a second."""

    _last = 0.0

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        with self._guard:
            if isinstance(report, Progressed) and report.done < report.total:
                if time.monotonic() - self._last < 0.2:
                    return
                self._last = time.monotonic()
            self.write(self.out, json_line(report) + "\n")


def open_show(manner: Manner, verbose: bool, stdout_is_taken: bool = False) -> Lines:
    """What shows a build here.  Where its output goes to standard output, everything said goes to standard error."""
    out = sys.stderr if stdout_is_taken else sys.stdout
    if manner == "json":
        return JsonLines(out, sys.stderr)
    if manner == "quiet":
        return Quiet(out, sys.stderr)
    if out.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", ""):
        from lkbuild.cli.live import Live

        return Live(out, sys.stderr, verbose)
    return Lines(out, sys.stderr, verbose)
