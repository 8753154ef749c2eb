"""A file beside what it should be: the first byte that is another, and whose it is: service, step and file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.gcp import place_in_disk
from lkbuild.engine.session import Session
from lkbuild.errors import ArchiveError
from lkbuild.frozen import frozen
from lkbuild.plan.graph import OutputFile
from lkbuild.plan.step import Step
from lkbuild.rebuild import media
from lkbuild.rebuild.members import Regions, first_other, member_at
from lkbuild.store import Store
from lkbuild.store.recipe import Recipe, Tree, whole

_CHUNK = 1 << 20
_PLACED = frozenset({"tree", "bundle", "volume", "layout"})
"""Steps that are called by a place of the spec, by the first part of their names."""
_PARTS = {
    "files": "the files section",
    "record": "the record of the build",
    "sbom": "the SBOM",
    "kernel": "the kernel",
    "modules": "the kernel's modules",
    "boot": "the kernel",
    "apk": "the apk database",
    "loaders": "the boot loaders",
    "firmware": "the boot loaders",
    "text": "the command line",
}
"""What other steps make, by the first part of their names; anything else is the medium around the machine."""


@frozen
class Difference:
    """Where a file is another than it should be.

    `at` is the first differing byte, None where the file is not there; `found` and `wanted` are sizes in bytes.
    `step` made those bytes: of a segment, it says whose it is.  `member` is the file in it, "" where it is no file's.
    """

    path: str
    at: int | None
    found: int = 0
    wanted: int = 0
    step: str = ""
    member: str = ""

    @property
    def owner(self) -> str:
        """Whose the bytes are: a place of the spec (`services/web`, `init/0`), or what of the machine they are."""
        kind, _, place = self.step.partition(":")
        kind = kind.removesuffix(".tar")
        return place if kind in _PLACED else _PARTS.get(kind, "the medium")

    def words(self) -> str:
        """The difference in a sentence."""
        if self.at is None:
            return f"{self.path} is not there"
        sizes = "" if self.found == self.wanted else f", and it has {self.found} bytes, not {self.wanted}"
        what = f"{self.path} differs from byte {self.at} on{sizes}"
        if not self.step:
            return what
        inside = f", the file {self.member}" if self.member else ", in what stands around its files"
        return f"{what}: in {self.owner} (step {self.step}){inside}"


def compare(file: OutputFile, path: Path, session: Session) -> tuple[Difference, ...]:
    """How the file, or the directory, at `path` differs from what the session made; nothing where it does not."""
    blob, store = session.blob(file.step, file.output), session.place.store
    if file.optional and not blob.size and not path.exists():
        return ()
    if not file.tree:
        recipe = Recipe.decode(store.read(blob.digest)) if file.recipe else whole(blob)
        return _compared(path, path.name, recipe, file, session)
    tree = Tree.decode(store.read(blob.digest))
    pairs = (_compared(path / name, name, recipe, file, session) for name, recipe in tree.files.items())
    return tuple(each for found in pairs for each in found)


def _compared(path: Path, name: str, recipe: Recipe, file: OutputFile, session: Session) -> tuple[Difference, ...]:
    """The first difference; and the first in a file of the machine, where it is not that."""
    store = session.place.store
    try:
        size = path.stat().st_size
        at = first_difference(recipe, store, path)
        if at is None:
            return ()
        places = [at]
        if not isinstance(_extent_at(recipe, at)[1], Slice):
            inside = first_difference(recipe, store, path, Slice)
            places += [] if inside is None else [inside]
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return (Difference(name, None),)
    locating = _Locating(recipe, session, path, file)
    return tuple(Difference(name, place, size, recipe.size, *locating.owner(place)) for place in places)


def first_difference(recipe: Recipe, store: Store, path: Path, kind: type[Extent] | None = None) -> int | None:
    """The first byte in which the file at `path` is not as the recipe says, or at which either of them ends.

    `kind`: of those extents alone.
    """
    at = 0
    with path.open("rb") as actual:
        for extent in recipe.extents:
            if kind is not None and not isinstance(extent, kind):
                at += extent.length
                continue
            actual.seek(at)
            for wanted in _bytes(extent, store):
                found = actual.read(len(wanted))
                if found != wanted:
                    return at + first_other(wanted, found)
                at += len(wanted)
        return at if kind is None and actual.read(1) else None


def _bytes(extent: Extent, store: Store) -> Iterator[bytes]:
    match extent:
        case Data(data):
            yield data
        case Zeros(length):
            yield from (bytes(min(_CHUNK, length - n)) for n in range(0, length, _CHUNK))
        case Slice(digest, offset, length):
            with store.open_blob(digest) as blob:
                blob.seek(offset)
                yield from (blob.read(min(_CHUNK, length - n)) for n in range(0, length, _CHUNK))


@frozen
class _Locating:
    """A file at `path` that is not as `recipe`, which is the output `file` of a session.

    Not `plain`: it holds the recipe's bytes compressed.  Then the segment as it should be alone tells which file of it
    differs.
    """

    recipe: Recipe
    session: Session
    path: Path
    file: OutputFile
    plain: bool = True

    def owner(self, at: int) -> tuple[str, str]:
        """The step that made byte `at`, and the file it is of."""
        offset, extent = _extent_at(self.recipe, at)
        if not isinstance(extent, Slice):
            return self.file.step, ""
        step, output = self._made(extent)
        if self.plain and step.kind == "converted":
            return self._inside(step)
        if output != "segment":
            return step.name, _named(output)
        actual = self._regions(extent) if self.plain else []
        store = self.session.place.store
        is_tar = getattr(getattr(step.params, "segment", None), "archive", "cpio") == "tar"
        member = member_at(
            lambda: store.open_blob(extent.digest),
            lambda: cast(BinaryIO, io.BufferedReader(Regions(self.path.open("rb"), actual))),
            extent.offset + at - offset,
            is_tar,
        )
        return step.name, member

    def _made(self, extent: Slice) -> tuple[Step, str]:
        """The step and the output that is the blob; the one closest to the output where several are."""
        needed = _needs(self.session, self.file.step)
        for name in needed:
            for output, blob in self.session.results[name].outputs:
                if blob.digest == extent.digest:
                    return self.session.steps[name], output
        return self.session.steps[self.file.step], self.file.output

    def _regions(self, wanted: Slice) -> list[tuple[int, int]]:
        """Where in the file the pieces of a blob lie, in the blob's order."""
        found, at = list[tuple[int, int, int]](), 0
        for extent in self.recipe.extents:
            if isinstance(extent, Slice) and extent.digest == wanted.digest:
                found.append((extent.offset, at, extent.length))
            at += extent.length
        pieces, done = list[tuple[int, int]](), 0
        for offset, place, length in sorted(found):
            if offset >= done:
                pieces.append((place, length))
                done = offset + length
        return pieces

    def _inside(self, step: Step) -> tuple[str, str]:
        """The same for a file that holds a disk compressed: what of the disk differs."""
        store = self.session.place.store
        made = media.unpacked(store.path(self.session.blob(step.name, self.file.output).digest))
        found = media.unpacked(self.path)
        at = None if made is None or found is None else _first_apart(made, found)
        raw = self.session.inputs(step)
        if at is None or raw is None:
            return step.name, ""
        disk = Recipe.decode(store.read(raw["raw"].digest))
        if step.params.format == "gcp":
            at = place_in_disk(disk.extents, disk.size, at)
        if at is None or at >= disk.size:
            return step.name, ""
        source = next(each.step for each in step.inputs if each.role == "raw")
        inside = OutputFile("", source or "", "recipe", True)
        return _Locating(disk, self.session, self.path, inside, plain=False).owner(at)


def _named(output: str) -> str:
    """What an output that is a file of the machine is called: a kernel, a boot loader's file; "" for any other."""
    return "" if output in ("file", "recipe", "tree") else output


def _extent_at(recipe: Recipe, at: int) -> tuple[int, Extent | None]:
    """The extent that byte `at` is of, and where it begins; the last one for what is behind it."""
    start = 0
    for extent in recipe.extents:
        if at < start + extent.length:
            return start, extent
        start += extent.length
    return start, None


def _needs(session: Session, step: str) -> dict[str, None]:
    """The step and all it needs, those closer to it first."""
    found: dict[str, None] = {}
    pending = [step]
    while pending:
        name = pending.pop(0)
        if name not in found:
            found[name] = None
            pending += session.steps[name].needs
    return found


def _first_apart(one: Iterator[media.Piece], other: Iterator[media.Piece]) -> int | None:
    """The first place in which two media hold other bytes; None where they do not."""
    last = 0
    try:
        while True:
            left, right = next(one, None), next(other, None)
            if left is None or right is None:
                return None if left == right else last
            if left != right:
                return min(left[0], right[0]) + (first_other(left[1], right[1]) if left[0] == right[0] else 0)
            last = left[0] + len(left[1])
    except ArchiveError:
        return last
