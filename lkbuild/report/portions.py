"""What of a segment is in the finished machine, directory by directory, and what it and its image carry in vain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from lkbuild.archive.index import IndexEntry
from lkbuild.archive.view import View
from lkbuild.frozen import frozen
from lkbuild.report.layers import Layered, Place

OWN = -1
"""In place of a layer's number: what no layer has, as the etc/hosts of a container."""

_REPLACED = "replaced by a later part of the machine"


class Amount(NamedTuple):
    """Bytes of files in the machine; bytes that are `hidden`, and why; bytes that the segment has; number of files."""

    size: int = 0
    hidden: int = 0
    laid: int = 0
    files: int = 0
    why: str = ""


class Portion:
    """A directory or file: the amounts of all that lies at it and below it, and `kids` by name.

    `why` it is hidden is told of a file.
    """

    __slots__ = ("files", "hidden", "kids", "laid", "size", "why")

    def __init__(self) -> None:
        self.size = self.hidden = self.laid = self.files = 0
        self.why = ""
        self.kids: dict[bytes, Portion] = {}

    def add(self, path: bytes, amount: Amount) -> None:
        """Count a file."""
        at = self
        at._count(amount)
        for part in path.split(b"/"):
            at = at.kids.setdefault(part, Portion())
            at._count(amount)
        at.why = amount.why or at.why

    def _count(self, amount: Amount) -> None:
        self.size += amount.size
        self.hidden += amount.hidden
        self.laid += amount.laid
        self.files += amount.files


@frozen
class Laid:
    """How an image was laid down: as `view` says, from the layers of `image`."""

    view: View
    image: Layered

    def origin(self, path: bytes) -> tuple[Place | None, bytes]:
        """Where what lies at a path of the machine comes from, None if no layer has it, and its path in the image."""
        prefix = self.view.prefix.encode("utf-8", "surrogateescape")
        inner = path.removeprefix(prefix + b"/") if prefix else path
        return (self.image.origins.get(inner) if self.view.keeps(inner) else None), inner


def portions(rows: Iterable[IndexEntry], standing: Set[bytes], laid: Laid | None) -> dict[int, Portion]:
    """The portions of a segment by layer; all of it is OWN where it is not known how an image was laid down.

    `standing`: the paths of it that are there in the finished machine (`archive.overlay.standing`).
    """
    found: dict[int, Portion] = {}
    met: set[Place] = set()
    for row, stands in _inodes(rows, standing):
        place, path = laid.origin(row.path) if laid else (None, row.path)
        if place is not None:
            met.add(place)
        size = row.size if row.kind == "file" else 0
        amount = Amount(size, 0, size, 1) if stands else Amount(0, size, size, 0, _REPLACED)
        found.setdefault(OWN if place is None else place.layer, Portion()).add(path, amount)
    for number, carried in enumerate(laid.image.carried if laid else ()):
        portion = found.setdefault(number, Portion())
        for member, (path, size) in carried.items():
            if (place := Place(number, member)) not in met and laid:
                portion.add(path, Amount(hidden=size, why=laid.image.why_hidden(place)))
    return found


def _inodes(rows: Iterable[IndexEntry], standing: Set[bytes]) -> Iterator[tuple[IndexEntry, bool]]:
    """All but directories, a file of several names once: by the first of them that stands, if one does."""
    done: set[int] = set()
    fallen: dict[int, IndexEntry] = {}
    for row in rows:
        if row.kind == "directory" or row.group in done:
            continue
        stands = row.path in standing
        if row.group and not stands:
            fallen.setdefault(row.group, row)
            continue
        if row.group:
            done.add(row.group)
        yield row, stands
    yield from ((row, False) for group, row in fallen.items() if group not in done)
