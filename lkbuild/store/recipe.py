"""A file as a list of extents, so that a large output costs its metadata and one copy.

A recipe is what an output step makes.  Its JSON form is the step's blob; writing the file copies slices of other blobs
inside the kernel (`copy_file_range`, a reflink where the file system has them) and leaves zeros as holes.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lkbuild.digest import Digest, canonical
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.layout import Opener
from lkbuild.errors import StoreError
from lkbuild.frozen import frozen
from lkbuild.store.files import copy_range, doing, put_in_place, same_file
from lkbuild.store.store import Store
from lkbuild.store.values import Blob

_PIECE = 1 << 16
_BETWEEN, _DATA, _END = b"],[", b'["data","', b'"]'


@frozen
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

    def pieces(self) -> Iterator[bytes]:
        """The recipe as JSON in its canonical form, an extent or less at a time."""
        before = b"["
        for extent in self.extents:
            if isinstance(extent, Data) and len(extent.data) > _PIECE:
                yield before + _DATA
                for at in range(0, len(extent.data), _PIECE):
                    yield extent.data[at : at + _PIECE].hex().encode("ascii")
                yield _END
            else:
                yield before + _text(extent)
            before = b","
        yield b"]" if self.extents else b"[]"

    def encode(self) -> bytes:
        """The recipe as JSON."""
        return b"".join(self.pieces())

    @classmethod
    def decode(cls, data: bytes) -> Recipe:
        """The recipe in `data`; StoreError where it is none."""
        return cls.read(io.BytesIO(data))

    @classmethod
    def load(cls, store: Store, blob: Blob) -> Recipe:
        """The recipe that is a blob of the store; StoreError where it is missing or none."""
        with store.open_blob(blob.digest) as file:
            return cls.read(file)

    @classmethod
    def read(cls, file: BinaryIO) -> Recipe:
        """The recipe in a file, which is read little by little; StoreError where it is none."""
        digests: dict[str, Digest] = {}
        try:
            return cls(tuple(_decode(item, digests) for item in _items(file)))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"not a recipe: {error}") from error

    def write(self, store: Store, path: Path) -> None:
        """Write the file beside `path` and rename it there; what stood there before stays until then.

        The file beside it is locked while it is written: builds with other caches may have the same directory.  What a
        killed one left is taken away by the next.
        """
        temporary = path.with_name(f".{path.name}.part")
        with doing(f"writing {path}", "say where outputs go with dir=DIR"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(temporary) as file:
                try:
                    self.copy(store.open_blob, file)
                    put_in_place(temporary, path)
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
            if not same_file(handle, path):
                continue
            if os.fstat(handle).st_size:  # it may be an output that was replaced, which has other names and readers
                path.unlink()
                continue
            yield file
            return


@frozen
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
            trees = sorted(json.loads(data).items())
            files = {str(path): Recipe(tuple(_decode(item, {}) for item in items)) for path, items in trees}
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
    if tree:
        return sum(each.size for each in Tree.decode(store.read(blob.digest)).files.values())
    return Recipe.load(store, blob).size


def _items(file: BinaryIO) -> Iterator[object]:
    """The items of a JSON array, a few at a time: a hundred thousand extents are never all there as JSON's objects.

    NB: what stands between two extents stands nowhere else in a recipe; of another text the parts are no JSON.
    """
    held = file.read(_PIECE)
    if held[:1] != b"[":
        raise ValueError("no list")
    held = held[1:]
    while more := file.read(_PIECE):
        held += more
        end = held.rfind(_BETWEEN)
        if end >= 0:
            yield from json.loads(b"[%b]" % held[: end + 1])
            held = held[end + 2 :]
        elif held.startswith(_DATA):  # a very long one
            data, held = _long(held[len(_DATA) :], file)
            yield ["data", data]
    if held[-1:] != b"]":
        raise ValueError("a list that does not end")
    yield from json.loads(b"[%b]" % held[:-1])


def _long(held: bytes, file: BinaryIO) -> tuple[bytes, bytes]:
    """Literal bytes whose digits begin with `held` and go on in the file; and what was read behind them."""
    made = io.BytesIO()  # whose bytes are had without a copy
    while (end := held.find(b'"')) < 0:
        whole = len(held) // 2 * 2
        made.write(bytes.fromhex(held[:whole].decode("ascii")))
        more = file.read(_PIECE)
        if not more:
            raise ValueError("literal bytes that do not end")
        held = held[whole:] + more
    made.write(bytes.fromhex(held[:end].decode("ascii")))
    held = held[end:] + file.read(_PIECE)
    if not held.startswith((b'"],[', b'"]]')):
        raise ValueError("literal bytes and something else")
    return made.getvalue(), held[3:] if held[2:3] == b"," else held[2:]


def _text(extent: Extent) -> bytes:
    """An extent as JSON: the canonical form of `_encode`."""
    match extent:
        case Data(data):
            return _DATA + data.hex().encode("ascii") + _END
        case Zeros(length):
            return b'["zeros",%d]' % length
        case Slice(digest, offset, length):
            return b'["slice","%b",%d,%d]' % (str(digest).encode("ascii"), offset, length)


def _encode(extent: Extent) -> object:
    match extent:
        case Data(data):
            return ["data", data.hex()]
        case Zeros(length):
            return ["zeros", length]
        case Slice(digest, offset, length):
            return ["slice", str(digest), offset, length]


def _decode(item: object, digests: dict[str, Digest]) -> Extent:
    """The extent; digests that are the same are one object."""
    match item:
        case ["data", bytes(data)]:
            return Data(data)
        case ["data", str(text)]:
            return Data(bytes.fromhex(text))
        case ["zeros", int(length)] if length >= 0:
            return Zeros(length)
        case ["slice", str(digest), int(offset), int(length)] if offset >= 0 and length >= 0:
            known = digests.get(digest)
            if known is None:
                known = digests[digest] = Digest.parse(digest)
            return Slice(known, offset, length)
        case _:
            raise ValueError(f"no extent: {item!r:.100}")
