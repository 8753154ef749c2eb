"""A file as a list of extents, so that a large output costs its metadata and one copy.

A recipe is what an output step makes.  Its JSON form is the step's blob; writing the file copies slices of other blobs
inside the kernel (`copy_file_range`, a reflink where the file system has them) and leaves zeros as holes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lkbuild.digest import Digest, canonical
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.layout import Opener
from lkbuild.errors import StoreError
from lkbuild.store.files import copy_range, doing, same_file
from lkbuild.store.store import Store
from lkbuild.store.values import Blob


@dataclass(frozen=True, slots=True)
class Recipe:
    """The extents of a file, one after the other."""

    extents: tuple[Extent, ...]

    @classmethod
    def of(cls, extents: Iterable[Extent]) -> Recipe:
        """The recipe of these extents, empty ones left out."""
        return cls(tuple(e for e in extents if e.length))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(e.length for e in self.extents)

    def encode(self) -> bytes:
        """The recipe as JSON."""
        return canonical([_encode(e) for e in self.extents])

    @classmethod
    def decode(cls, data: bytes) -> Recipe:
        """The recipe in `data`; StoreError where it is none."""
        try:
            return cls(tuple(_decode(item) for item in json.loads(data)))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"not a recipe: {error}") from error

    def write(self, store: Store, path: Path) -> None:
        """Write the file beside `path` and rename it there; what stood there before stays until then.

        The file beside it is locked while it is written: builds with other caches may have the same directory.  What a
        killed one left is written over by the next.
        """
        temporary = path.with_name(f".{path.name}.part")
        with doing(f"writing {path}", "say where outputs go with dir=DIR"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(temporary) as file:
                try:
                    self.copy(store.open_blob, file)
                    temporary.replace(path)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise

    def copy(self, open_blob: Opener, file: BinaryIO) -> None:
        """Write the bytes to an empty file; zeros are holes."""
        for extent in self.extents:
            match extent:
                case Data(data):
                    file.write(data)
                case Zeros(length):
                    file.seek(length, os.SEEK_CUR)
                case Slice(digest, offset, length):
                    with open_blob(digest) as source:
                        copy_range(source, offset, length, file)
        file.truncate(self.size)
        file.flush()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, empty, and ours alone until the end of the block."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if same_file(handle, path):
                file.truncate(0)
                yield file
                return


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a directory by their paths in it (parts divided by `/`), each with its recipe."""

    files: Mapping[str, Recipe]

    def encode(self) -> bytes:
        """The tree as JSON."""
        return canonical({path: [_encode(e) for e in recipe.extents] for path, recipe in self.files.items()})

    @classmethod
    def decode(cls, data: bytes) -> Tree:
        """The tree in `data`, its paths sorted; StoreError where it is none, or where a path leaves the directory."""
        try:
            files = {str(path): Recipe(tuple(map(_decode, items))) for path, items in sorted(json.loads(data).items())}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"not a tree of recipes: {error}") from error
        for path in files:
            if not stays_inside(path):
                raise StoreError(f"not a tree of recipes: {path!r:.100} is no path in it")
        return cls(files)


def stays_inside(path: str) -> bool:
    """Whether a path is one of a file below a directory, spelt in the one way there is."""
    return "\0" not in path and {"", ".", ".."}.isdisjoint(path.split("/"))


def whole(blob: Blob) -> Recipe:
    """The recipe of a file that is one blob."""
    return Recipe.of([Slice(blob.digest, 0, blob.size)])


def written_size(store: Store, blob: Blob, recipe: bool = False, tree: bool = False) -> int | None:
    """Bytes of the file that a blob is, or is the `recipe` of; of all files of a `tree`.  None where it is not here."""
    if not tree and not recipe:
        return blob.size
    if not store.has(blob):
        return None
    data = store.read(blob.digest)
    return sum(each.size for each in Tree.decode(data).files.values()) if tree else Recipe.decode(data).size


def _encode(extent: Extent) -> object:
    match extent:
        case Data(data):
            return ["data", data.hex()]
        case Zeros(length):
            return ["zeros", length]
        case Slice(digest, offset, length):
            return ["slice", str(digest), offset, length]


def _decode(item: object) -> Extent:
    match item:
        case ["data", str(text)]:
            return Data(bytes.fromhex(text))
        case ["zeros", int(length)] if length >= 0:
            return Zeros(length)
        case ["slice", str(digest), int(offset), int(length)] if offset >= 0 and length >= 0:
            return Slice(Digest.parse(digest), offset, length)
        case _:
            raise ValueError(f"no extent: {item!r:.100}")
