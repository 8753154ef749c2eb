"""The history of builds on disk, `<cache>/history/`.

    builds/TIME-PID.json     a record of each build (engine.history.BuildRecord); TIME in microseconds since 1970
    machines/ID              a line `BUILD STATE` for each build of a machine, the oldest first
    states/ab/abcd…          what a machine came to: the key of each of its steps; builds that came to the same share it

Losing any of it costs nothing but what `why`, `plan` and reports would have told.  It is kept short: the last builds of
each machine, and as many records of builds as have room.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from lkbuild.engine.history import BuildRecord, State, decode_state, encode_state, state_id, state_path
from lkbuild.frozen import frozen
from lkbuild.store.files import replace_note

BUILDS, BUILDS_BYTES = 200, 64 << 20
"""The records of builds kept: so many, and together so many bytes."""
PER_MACHINE = 100
"""The builds of each machine whose states are kept."""
_SLACK = 1.25
"""How far bounds are overstepped before there is tidying up, so that most builds need not."""
_MAX_RECORD, _MAX_STATE = 64 << 20, 16 << 20
_LINE = re.compile(r"([0-9]{16}-[0-9]+) ([0-9a-f]{32})")


@frozen
class Past:
    """A build of a machine: the name of its record, and of the state the machine came to."""

    build: str
    state: str


class HistoryFiles:
    """The history below a cache.  Any number of processes may write to it."""

    def __init__(self, cache: Path) -> None:
        self.root = cache / "history"

    # -- reading -------------------------------------------------------------------------------------------------------

    def builds(self) -> list[str]:
        """The names of the records there are, the newest first."""
        with contextlib.suppress(OSError):
            return sorted((path.stem for path in (self.root / "builds").glob("*.json")), reverse=True)
        return []

    def build(self, name: str) -> BuildRecord:
        """A record; ValueError where it cannot be read, is damaged or of another version."""
        return BuildRecord.decode(self._read(self.root / "builds" / f"{name}.json", _MAX_RECORD))

    def newest(self, tell: Callable[[str], None] = lambda _: None, limit: int = BUILDS) -> Iterator[BuildRecord]:
        """The records, the newest first, `limit` at most; of one that is not understood `tell` is told."""
        for name in self.builds()[:limit]:
            try:
                yield self.build(name)
            except ValueError as error:
                tell(f"the history's record {name} is passed over: {error}")

    def newest_texts(self, limit: int, most: int) -> Iterator[bytes]:
        """The newest records as they are written, `limit` at most, together not more than `most` bytes."""
        for name in self.builds()[:limit]:
            with contextlib.suppress(ValueError):
                data = self._read(self.root / "builds" / f"{name}.json", most)
                most -= len(data)
                yield data

    def machine(self, identity: str) -> list[Past]:
        """The builds of a machine, the newest first; a line that is not understood is passed over."""
        try:
            text = self._read(self.root / "machines" / identity, _MAX_STATE).decode("ascii", "replace")
        except ValueError:
            return []
        found = (_LINE.fullmatch(line) for line in reversed(text.splitlines()))
        return [Past(match[1], match[2]) for match in found if match]

    def state(self, name: str) -> State | None:
        """What a machine came to; None where that is no longer there, or damaged."""
        try:
            text = self._read(state_path(self.root, name), _MAX_STATE)
            return decode_state(text) if state_id(text) == name else None
        except ValueError:
            return None

    @staticmethod
    def _read(path: Path, limit: int) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error
        if len(data) > limit:
            raise ValueError(f"larger than {limit} bytes")
        return data

    # -- writing -------------------------------------------------------------------------------------------------------

    def keep_state(self, state: State) -> str:
        """Keep what a machine came to; returns its name.  OSError where it cannot be written."""
        text = encode_state(state)
        name = state_id(text)
        if not state_path(self.root, name).exists():
            _write(state_path(self.root, name), text)
        return name

    def keep(self, record: BuildRecord) -> None:
        """Keep the record of a build, whose states are kept already.  OSError where it cannot be written."""
        name = f"{record.began:016d}-{os.getpid()}"
        _write(self.root / "builds" / f"{name}.json", record.encode())
        (self.root / "machines").mkdir(exist_ok=True)
        for machine in record.machines:
            path = self.root / "machines" / machine.id
            with path.open("ab", 0) as file:
                file.write(f"{name} {machine.state}\n".encode())
                long = file.tell() > PER_MACHINE * _SLACK * 60
            if long:
                lines = self.machine(machine.id)[:PER_MACHINE]
                _write(path, "".join(f"{past.build} {past.state}\n" for past in reversed(lines)).encode())
        if len(os.listdir(self.root / "builds")) > BUILDS * _SLACK:  # noqa: PTH208 - names alone are wanted
            self.prune()

    def prune(self) -> None:
        """Remove the oldest records beyond the bounds, and every state that no machine refers to.

        A state that another process is just about to refer to may go with them: then `why` knows one build less.
        """
        total = 0
        for number, name in enumerate(self.builds()):
            path = self.root / "builds" / f"{name}.json"
            with contextlib.suppress(OSError):
                total += path.stat().st_size
                if number and (number >= BUILDS or total > BUILDS_BYTES):
                    path.unlink()
        wanted = {past.state for path in (self.root / "machines").glob("*") for past in self.machine(path.name)}
        for path in (self.root / "states").glob("??/*"):
            if path.name[:1] != "." and path.name not in wanted:  # what is hidden is being written
                path.unlink(missing_ok=True)


def _write(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_note(path, text)
