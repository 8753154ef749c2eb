"""What the files of a service are, and what has to be put into a tree to make another of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, BinaryIO, NamedTuple

import xxhash

from lkbuild.archive.entry import Buffer, Entry
from lkbuild.archive.flatten import LayerSource, flatten
from lkbuild.archive.sink import CpioSink
from lkbuild.archive.view import View
from lkbuild.frozen import frozen

_IN_MEMORY = 8 << 20
_CHUNK = 1 << 18
_VIEW = View("", "container")
"""How a container's image is laid down, seen from inside of the container."""


class Item(NamedTuple):
    """One path: its entry without the path, a fingerprint of a file's contents, and all names of the file."""

    entry: Entry
    contents: str
    names: tuple[bytes, ...]


Listing = Mapping[bytes, Item]


@frozen
class Delta:
    """What makes a tree into another: paths to be taken away, and a cpio archive of `size` bytes and `count` entries
    to be laid over it then.
    """

    removed: tuple[bytes, ...]
    size: int
    count: int

    @property
    def paths(self) -> bytes:
        """The paths to be taken away, each ended by a NUL."""
        return b"".join(b"./" + path + b"\0" for path in self.removed)


def listing(layers: Sequence[LayerSource]) -> Listing:
    """What an image holds, as its container sees it."""
    chosen = _Chosen({}, None)
    flatten(layers, chosen, _VIEW)
    return chosen.items


def write_delta(base: Listing, layers: Sequence[LayerSource], archive: BinaryIO) -> Delta:
    """What makes the tree `base` into the image of these layers; the archive is written to a file that is empty."""
    sink = CpioSink(archive, "none")
    chosen = _Chosen(base, sink)
    flatten(layers, chosen, _VIEW)
    sink.close()
    now = chosen.items
    # What is of another kind now goes too: an archive cannot put a file where a directory is.
    removed = (path for path, item in base.items() if path not in now or now[path].entry.kind != item.entry.kind)
    return Delta(tuple(removed), archive.tell(), chosen.count)


class _Chosen:
    """A sink that lists what it is given, and passes on what `base` does not have, after the directories above it."""

    def __init__(self, base: Listing, sink: CpioSink | None) -> None:
        self._base = base
        self._sink = sink
        self._reset()

    def _reset(self) -> None:
        self.items: dict[bytes, Item] = {}
        self.count = 0
        self._passed: set[bytes] = set()

    def restart(self) -> None:
        """See lkbuild.archive.sink.Sink."""
        self._reset()
        if self._sink is not None:
            self._sink.restart()

    def add(
        self, entry: Entry, body: Iterable[Buffer] = (), links: Sequence[bytes] = (), implied: bool = False
    ) -> None:
        """See lkbuild.archive.sink.Sink."""
        names = (entry.path, *links)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as kept:
            fingerprint = xxhash.xxh3_128()
            for piece in body:
                fingerprint.update(piece)
                kept.write(piece)
            item = Item(entry._replace(path=b""), fingerprint.hexdigest(), names)
            self.items.update(dict.fromkeys(names, item))
            if any(self._base.get(name) != item for name in names) and self._sink is not None:
                self._pass(entry, kept, links, self._sink)

    def _pass(self, entry: Entry, kept: IO[bytes], links: Sequence[bytes], sink: CpioSink) -> None:
        for name in (entry.path, *links):
            self._lead(name, sink)
        self._passed.add(entry.path)
        self.count += 1
        kept.seek(0)
        sink.add(entry, iter(lambda: kept.read(_CHUNK), b""), links)

    def _lead(self, path: bytes, sink: CpioSink) -> None:
        """The directories above a path, as they are, unless they were passed on already."""
        at = path.find(b"/")
        while at > 0:
            above = path[:at]
            if above not in self._passed and above in self.items:
                self._passed.add(above)
                sink.add(self.items[above].entry._replace(path=above))
            at = path.find(b"/", at + 1)
