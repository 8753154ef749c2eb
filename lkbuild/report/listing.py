"""What is in a build: every path of its root filesystem, read from a tar or an initrd."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from lkbuild.archive.compress import decompressed
from lkbuild.archive.cpioread import MAGIC, CpioReader
from lkbuild.archive.entry import Buffer, Entry, Kind
from lkbuild.archive.merge import Node, Tree
from lkbuild.archive.tar import TarReader
from lkbuild.errors import ArchiveError
from lkbuild.frozen import frozen
from lkbuild.store.files import doing

INITRD = "-initrd.img"
_READ = "tars and initrds are read, plain or packed with gzip or zstd"
_BESIDE = {"kernel": b"boot/kernel", "cmdline": b"boot/cmdline"}
"""What stands beside an initrd, and where a tar has the same."""

_SETTINGS = re.compile(rb"containers/[^/]+/[^/]+/(config|runtime)\.json")
_MAX_SETTINGS, _ALL_SETTINGS = 1 << 20, 32 << 20
"""The most bytes of such a file that are kept, and of all of them together."""


class File(NamedTuple):
    """What stands at a path.  `digest`: the contents' SHA-256; `linked`: the first name, where a file has several.

    NB: a tuple for the reason that Entry is one.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    digest: bytes
    linked: bytes


@frozen
class Listing:
    """The files of a build by path; the texts of containers' settings; whether an initrd was read."""

    files: dict[bytes, File]
    settings: dict[bytes, bytes] = field(default_factory=dict)
    initrd: bool = False


class _Reader(Protocol):
    def __iter__(self) -> Iterator[Entry]: ...
    def body(self) -> Iterable[Buffer]: ...


class _Contents:
    """Digests of files by their number in the archive, and settings by their path."""

    def __init__(self) -> None:
        self.digests: dict[int, bytes] = {}
        self.settings: dict[bytes, bytes] = {}
        self._left = _ALL_SETTINGS

    def take(self, number: int, path: bytes, size: int, body: Iterable[Buffer]) -> None:
        """Read a file to its end."""
        self._left += len(self.settings.pop(path, b""))
        keep = size <= min(_MAX_SETTINGS, self._left) and _SETTINGS.fullmatch(path) is not None
        hasher, kept = hashlib.sha256(), list[bytes]()
        for piece in body:
            hasher.update(piece)
            if keep:
                kept.append(bytes(piece))
        self.digests[number] = hasher.digest()
        if keep:
            self.settings[path] = b"".join(kept)
            self._left -= size


def read_listing(path: Path) -> Listing:
    """The listing of a tar or an initrd, packed or not; of an initrd with the kernel and command line beside it.

    A later path wins.  A file that cannot be read is a StoreError, a damaged archive an ArchiveError naming the file.
    """
    with doing(f"reading {path}"):
        try:
            with path.open("rb") as file:
                initrd = next(decompressed(file), b"").startswith(MAGIC)
            with path.open("rb") as file:
                reader = CpioReader(file) if initrd else TarReader(decompressed(file))
                listing = _listing(reader, initrd)
        except ArchiveError as error:
            raise ArchiveError(f"{path}: {error.message}", error.hint or _READ) from error
        if initrd and path.name.endswith(INITRD):
            listing.files.update(_beside(path))
    return listing


def _listing(reader: _Reader, initrd: bool) -> Listing:
    tree, contents = Tree(whiteouts=False), _Contents()
    for number, entry in enumerate(reader):
        path = tree.add(entry, 0, number)
        if path and entry.kind == "file":
            contents.take(number, path, entry.size, reader.body())
    files = _files(tree.root, contents.digests)
    if not files:
        raise ArchiveError("no file is in it", "name a tar or an initrd that was built")
    settings = {path: text for path, text in contents.settings.items() if _is(files.get(path), text)}
    return Listing(files, settings, initrd)


def _is(file: File | None, text: bytes) -> bool:
    """Whether that file is what the text was read from: another may have come in its place."""
    return file is not None and file.digest == hashlib.sha256(text).digest()


def _files(root: Node, digests: dict[int, bytes]) -> dict[bytes, File]:
    """Every path below a node but itself."""
    found: dict[bytes, File] = {}
    first: dict[int, bytes] = {}
    paths = sorted(_walk(root), key=lambda item: item[0])
    for path, node in paths:
        inode = node.inode
        linked = first.setdefault(id(inode), path) if inode.names > 1 and inode.entry.kind != "directory" else b""
        _, kind, mode, uid, gid, mtime, size, target, device, xattrs = inode.entry
        digest = digests.get(inode.number, b"") if kind == "file" else b""
        found[path] = File(kind, mode, uid, gid, mtime, size, target, device, xattrs, digest, linked)
    return found


def _walk(root: Node) -> Iterator[tuple[bytes, Node]]:
    pending = [(b"", root)]
    while pending:
        path, node = pending.pop()
        for name, kid in (node.kids or {}).items():
            inner = b"%s/%s" % (path, name) if path else name
            yield inner, kid
            pending.append((inner, kid))


def _beside(path: Path) -> Iterator[tuple[bytes, File]]:
    for name, place in _BESIDE.items():
        other = path.with_name(f"{path.name.removesuffix(INITRD)}-{name}")
        if other.is_file():
            with other.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            yield place, File("file", 0o644, 0, 0, 0, other.stat().st_size, b"", (0, 0), (), digest, b"")


def alike(one: Listing, other: Listing) -> tuple[Listing, Listing]:
    """Both as far as both can say it: of a tar and an initrd, no extended attributes, and of boot/ and the microcode
    before an initrd's first file only the kernel and the command line, where they stand beside the initrd.
    """
    if one.initrd == other.initrd:
        return one, other
    beside = {path for path in _BESIDE.values() if path in (one if one.initrd else other).files}
    return _reduced(one, beside), _reduced(other, beside)


def _reduced(listing: Listing, beside: set[bytes]) -> Listing:
    files = {path: file._replace(xattrs=()) for path, file in listing.files.items() if not _only_one_has(path)}
    for path in sorted(beside & listing.files.keys()):
        file = listing.files[path]
        files[path] = File("file", 0o644, 0, 0, 0, file.size, b"", (0, 0), (), file.digest, b"")
    return replace(listing, files=files)


def _only_one_has(path: bytes) -> bool:
    return path in (b"boot", b"kernel", b"kernel/x86") or path.startswith((b"boot/", b"kernel/x86/microcode"))
