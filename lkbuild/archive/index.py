"""What a segment holds: a table made with it, so that segments can be checked against each other without being read.

One line of JSON for each path after a line that names the format: data only, and checked when read.  A row is
`[path, kind, mode, uid, gid, mtime, size, target, group, flags]`; text that is no UTF-8 stands in surrogate escapes.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as _quoted
from typing import NamedTuple

from lkbuild.archive.entry import MAX_PATH, Entry, Kind, path_bytes, path_text
from lkbuild.errors import ArchiveError

MAX_INDEX = 1 << 30
"""The most bytes of an index that are read: some ten million paths."""

_FORMAT = b'{"lkbuild":"segment index","version":1}\n'
_LETTERS: dict[Kind, str] = {
    "file": "f",
    "directory": "d",
    "symlink": "l",
    "char": "c",
    "block": "b",
    "fifo": "p",
}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
_ROWS = 256
_SMALL = 1 << 14
_HEAD = 1 << 16
"""Bytes of an index in which the directories that lead to all the rest are looked for."""
_TYPES = (str, str, int, int, int, int, int, str, int, int)
"""Of what a row is made."""
_IMPLIED, _LOST = 1, 2
_MAX = 1 << 63
_NO_PATH = re.compile(rb"(?:^|/)\.{0,2}(?:/|\Z)|\0", re.DOTALL)
"""What no path from the root has: empty parts, `.`, `..`, a NUL."""


class IndexEntry(NamedTuple):
    """One path of a segment.

    Files with the same `group` other than 0 are names of one file (hard links).  `implied` is a directory that stands
    there because what is below needs it, though nobody asked for it; `xattrs_lost` a path whose extended attributes
    the segment's format could not hold.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: bytes
    group: int
    implied: bool
    xattrs_lost: bool


class IndexWriter:
    """An index being made, row by row, in its serialised form: it would else be the largest thing in memory."""

    def __init__(self) -> None:
        self._done = bytearray(_FORMAT)
        self._rows: list[str] = []

    def add(self, entry: Entry, group: int = 0, implied: bool = False, lost: bool = False) -> None:
        """The next path; links are added as the file they name."""
        path, kind, mode, uid, gid, mtime, size, target, *_ = entry
        self._rows.append(
            f'[{_quoted(path_text(path))},"{_LETTERS[kind]}",{mode},{uid},{gid},{mtime},{size},'
            f"{_quoted(path_text(target))},{group},{_IMPLIED * implied | _LOST * lost}]\n"
        )
        if len(self._rows) == _ROWS:
            self._flush()

    def data(self) -> bytes:
        """The index as it is stored."""
        self._flush()
        return bytes(self._done)

    def _flush(self) -> None:
        self._done += "".join(self._rows).encode("ascii")
        self._rows = []


class Index:
    """An index of which no more is parsed than is asked for.  Whatever is wrong with that is an ArchiveError.

    Nearly all paths of a segment lie in one directory, its service's or its kernel's, which most often is no other
    segment's business.  `head` are the rows before those, and `closed` that directory; b"" where there is none, or
    where the index has less than `small` bytes, which are soon parsed.
    """

    def __init__(self, data: bytes, small: int = _SMALL) -> None:
        self._data = data
        self.head, self.closed = (parse_index(data), b"") if len(data) < small else _head(data)
        self._rows = None if self.closed else self.head

    @property
    def rows(self) -> list[IndexEntry]:
        """All rows."""
        if self._rows is None:
            self._rows = parse_index(self._data)
        return self._rows

    @property
    def known(self) -> list[IndexEntry]:
        """All rows if somebody asked for them, `head` otherwise."""
        return self.head if self._rows is None else self._rows


def _head(data: bytes) -> tuple[list[IndexEntry], bytes]:
    """The directories a segment begins with, each in the one before, and the last one that holds all that follows.

    That is so when as many lines begin with its path and a `/` as there are after it.
    """
    _check(data)
    count = data.count(b"\n") - 1
    lines = data[:_HEAD].split(b"\n")[1:-1][:MAX_PATH]
    chain: list[IndexEntry] = []
    for line in lines:
        row = _some_rows([line], len(chain) + 2)[0]
        if row.kind != "directory" or (chain and row.path.rpartition(b"/")[0] != chain[-1].path) or not row.path:
            break
        chain.append(row)
    while chain:
        path = _quoted(path_text(chain[-1].path))[1:-1].encode("ascii")
        if 0 < data.count(b'\n["%b/' % path) == count - len(chain):
            return chain, chain[-1].path
        chain.pop()
    return parse_index(data), b""


def parse_index(data: bytes) -> list[IndexEntry]:
    """The rows of an index; whatever is wrong with it is an ArchiveError."""
    _check(data)
    lines = data[len(_FORMAT) :].split(b"\n")[:-1]
    found: list[IndexEntry] = []
    for start in range(0, len(lines), _ROWS):
        found += _some_rows(lines[start : start + _ROWS], start + 2)
    return found


def _check(data: bytes) -> None:
    if len(data) > MAX_INDEX:
        raise ArchiveError(f"a segment index of {len(data)} bytes (at most {MAX_INDEX})")
    if not data.startswith(_FORMAT) or not data.endswith(b"\n"):
        raise ArchiveError(
            "not a segment index, or one that is cut short", "`lkbuild cache verify` finds what is damaged"
        )


def _some_rows(lines: list[bytes], first: int) -> list[IndexEntry]:
    """The rows on these lines, read as one JSON document, which is faster; singly where something is wrong in them."""
    try:
        together = json.loads(b"[%s]" % b",".join(lines))
        if len(together) == len(lines):
            return [_row(row) for row in together]
    except (ValueError, RecursionError):
        pass
    found = []
    for number, line in enumerate(lines, first):
        try:
            found.append(_row(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"segment index, line {number}: {error}") from error
    return found


def _row(row: object) -> IndexEntry:
    if not isinstance(row, list) or tuple(map(type, row)) != _TYPES or row[1] not in _KINDS:
        raise ValueError(f"not a row: {row!r:.100}")
    path, letter, mode, uid, gid, mtime, size, target, group, flags = row
    numbers = (mode, uid, gid, mtime, size, group, flags)
    if not (min(numbers) > -_MAX and max(numbers) < _MAX and 0 <= mode <= 0o7777 and 0 <= flags <= 3):
        raise ValueError(f"numbers out of their ranges: {numbers!r:.100}")
    name = path_bytes(path)
    if len(name) > MAX_PATH or (name and _NO_PATH.search(name)):
        raise ValueError(f"not a path: {path!r:.100}")
    implied, lost = bool(flags & _IMPLIED), bool(flags & _LOST)
    return IndexEntry(
        name, _KINDS[letter], mode, uid, gid, mtime, size, path_bytes(target) if target else b"", group, implied, lost
    )
