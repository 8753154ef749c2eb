"""Finding the record in a finished image, whatever its format: it is a file that says itself where it ends."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lkbuild.errors import ArchiveError, LkbuildError
from lkbuild.frozen import frozen
from lkbuild.plan.record import HEAD_BYTES, MARK, MAX_BYTES, PATH, Record, decode, stated
from lkbuild.rebuild import media
from lkbuild.tools import squashed_file

_TRIES = 16
"""How many damaged records are looked at before a file is given up: each may cost the hashing of megabytes."""


@frozen
class Found:
    """What looks like a record at byte `at`: the record, or why it is none."""

    at: int
    record: Record | None
    problem: str = ""


def record_of(path: Path) -> Record | None:
    """The record in a file, None where there is none.  Of several the last counts, as the last file does in a machine.

    LkbuildError where there is one, but damaged.
    """
    try:
        found = list(scan(media.plain(path)))
        if not found and (squashed := _squashed(path)) is not None:
            found = list(scan([(0, squashed)]))
        if not found and (pieces := media.unpacked(path)) is not None:
            found = _unpacked(pieces)
    except OSError as error:
        raise LkbuildError(f"cannot read {path}: {error.strerror}") from error
    whole = [each.record for each in found if each.record is not None]
    if whole:
        return whole[-1]
    if found:
        raise LkbuildError(
            f"{path}: the record at byte {found[-1].at} is damaged: {found[-1].problem}",
            f"{PATH} of the machine was changed since lkbuild wrote it, or the image is damaged",
        )
    return None


def _squashed(path: Path) -> bytes | None:
    """The record's file in a SquashFS; None in anything else."""
    with path.open("rb") as file:
        if file.read(4) != b"hsqs":
            return None
    return squashed_file(path, PATH, MAX_BYTES + 2 * HEAD_BYTES)


def _unpacked(pieces: Iterator[media.Piece]) -> list[Found]:
    """What is found until the medium ends or turns out to be none (an initrd begins as a compressed file does)."""
    found: list[Found] = []
    try:
        for each in scan(pieces):
            found.append(each)
    except ArchiveError:
        return found
    return found


def scan(pieces: Iterable[media.Piece]) -> Iterator[Found]:
    """Every record in the pieces of a file, one after the other; a record whose pieces lie apart is none."""
    buffer, base, tries = b"", 0, 0
    for at, piece in pieces:
        apart = at != base + len(buffer)
        found, keep = _look(buffer, base, True) if apart else ([], 0)
        base, buffer = (at, piece) if apart else (base, buffer + piece)
        more, keep = _look(buffer, base, False)
        base, buffer = base + keep, buffer[keep:]
        for each in (*found, *more):
            yield each
            tries += each.record is None
            if tries >= _TRIES:
                return
    yield from _look(buffer, base, True)[0]


def _look(buffer: bytes, base: int, ended: bool) -> tuple[list[Found], int]:
    """The records in the buffer, which stands at `base`; and from where on it must be kept until more has come."""
    found: list[Found] = []
    at = 0
    while (mark := buffer.find(MARK, at)) >= 0:
        at = mark
        try:
            place = stated(buffer[at : at + HEAD_BYTES])
            if not ended and len(buffer) - at < (HEAD_BYTES if place is None else place[1]):
                return found, at
            if place is None:
                at += 1
                continue
            found.append(Found(base + at, decode(buffer[at : at + place[1]])))
            at += place[1]
        except ValueError as error:
            found.append(Found(base + at, None, str(error)))
            at += 1
    return found, max(len(buffer) - len(MARK) + 1, at)


def files_in(directory: Path) -> Iterator[Path]:
    """The regular files below a directory, sorted; links are not followed."""
    for root, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path
