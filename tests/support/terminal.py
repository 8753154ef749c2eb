"""A terminal of a given size: a pseudo-terminal, and pyte, which shows what a person would see in it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable
from typing import TextIO

import pyte


class Terminal:
    """`out` is what a program writes to; `lines` what then stands on the screen, `above` what has scrolled away."""

    def __init__(self, columns: int = 80, rows: int = 12) -> None:
        self.master, self.slave = pty.openpty()
        self.out: TextIO = os.fdopen(os.dup(self.slave), "w", encoding="utf-8")
        self.screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=0.5)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def read(self, seconds: float = 0.0) -> None:
        """Take in what was written, waiting for the first of it if need be."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:
                return
            self.raw += data
            self.stream.feed(data)
            seconds = 0.0

    @property
    def lines(self) -> list[str]:
        """The screen without the empty lines at its end."""
        self.read()
        found = [line.rstrip() for line in self.screen.display]
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def everything(self) -> list[str]:
        """What scrolled away, and the screen."""
        shown = self.lines
        above = [
            "".join(line[column].data for column in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        ]
        return [*above, *shown]

    def until(self, true: Callable[[list[str]], bool], seconds: float = 60.0) -> list[str]:
        """The screen as soon as something is true of it."""
        deadline = time.monotonic() + seconds
        while not true(self.lines):
            assert time.monotonic() < deadline, self.lines
            self.read(0.05)
        return self.lines

    def close(self) -> None:
        self.out.close()
        os.close(self.master)
        os.close(self.slave)
