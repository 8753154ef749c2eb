"""The lines at the bottom of a terminal that are painted over: what goes to the terminal, and nothing of what it says.

They are written in one piece, between the marks of a synchronized update, and nothing that did not change is erased
before it is written, so that nothing flickers.  Cursor moves are those of ECMA-48 that every terminal has.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from typing import TextIO

_UP, _TO_END_OF_LINE, _TO_END_OF_SCREEN = "\x1b[%dA", "\x1b[K", "\x1b[J"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""A terminal that knows them shows what stands between at once; all others pass over them."""

Write = Callable[[str], None]


class Screen:
    """The last lines of a terminal.  Not for several threads at once."""

    def __init__(self, out: TextIO, write: Write) -> None:
        self._out = out
        self._write = write
        self._shown: list[int] = []

    @property
    def size(self) -> os.terminal_size:
        """Columns and rows, as they are now."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((0, 0))
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def paint(self, lines: Sequence[tuple[str, int]]) -> None:
        """Show these lines in place of those shown: text without a newline, and the cells it takes."""
        text = f"{_TO_END_OF_LINE}\r\n".join(line for line, _ in lines)
        self._write(f"{_BEGIN}{self._home()}{text}{_TO_END_OF_SCREEN}{_END}")
        self._shown = [cells for _, cells in lines]

    def clear(self) -> None:
        """Take the lines away; what is written next stands where they stood."""
        if self._shown:
            self._write(f"{self._home()}{_TO_END_OF_SCREEN}")
            self._shown = []

    def _home(self) -> str:
        """To the beginning of the first line shown.  A terminal made narrower meanwhile has broken lines in two."""
        columns = self.size.columns
        rows = sum(max(1, -(-cells // columns)) for cells in self._shown)
        return "\r" + (_UP % (rows - 1) if rows > 1 else "")


def printable(text: str) -> str:
    """The text with everything replaced that a terminal would not print: names may come from anywhere."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def cells(text: str) -> int:
    """The columns a text takes: two for wide letters, none for what combines with the letter before."""
    if text.isascii():
        return len(text)
    return sum(_width(letter) for letter in text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns, its middle replaced by `…` where it is too long."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    head = _first(text, width // 2)
    return f"{head}…{_first(text[::-1], width - cells(head) - 1)[::-1]}"


def _first(text: str, width: int) -> str:
    taken = 0
    for number, letter in enumerate(text):
        taken += _width(letter)
        if taken > width:
            return text[:number]
    return text


def _width(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
