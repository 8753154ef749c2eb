"""What is in a build: every path of its root filesystem, with the SHA-256 of its contents; kernel and command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Literal, NamedTuple, Protocol

from lkbuild.archive.entry import Buffer, Entry, Kind
from lkbuild.archive.merge import Node, Tree
from lkbuild.errors import ArchiveError
from lkbuild.frozen import frozen

KERNEL, CMDLINE = b"boot/kernel", b"boot/cmdline"
"""Where a tar has the kernel and its command line, and so a listing of whatever boots."""

_SETTINGS = re.compile(rb"containers/[^/]+/[^/]+/(config|runtime)\.json|boot/cmdline")
_MAX_SETTINGS, _ALL_SETTINGS = 1 << 20, 32 << 20
"""The most bytes of such a file that are kept, and of all of them together."""

Form = Literal[
    "tar", "docker", "oci", "initrd", "initrd-tar", "medium", "firecracker", "rpi3", "squashfs", "erofs", "iso"
]
"""What a root filesystem was read from; a medium is a disk, an ISO or a UEFI program that boots an initrd."""


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
    """The files of a build by path; the texts of containers' settings and of the command line.

    `boots`: which of kernel and command line the build tells of; one that is not in `files` then is none.  `kernel` is
    how the kernel is packed.
    """

    files: dict[bytes, File]
    settings: dict[bytes, bytes] = field(default_factory=dict)
    form: Form = "tar"
    boots: frozenset[bytes] = frozenset()
    kernel: str = ""


class Reader(Protocol):
    """What reads an archive: its entries, and between two of them the contents of the current file."""

    def __iter__(self) -> Iterator[Entry]: ...
    def body(self) -> Iterable[Buffer]: ...


class _Contents:
    """Digests of files by their archive and number there, and settings by their path."""

    def __init__(self) -> None:
        self.digests: dict[tuple[int, int], bytes] = {}
        self.settings: dict[bytes, bytes] = {}
        self.kernel = ""
        self._left = _ALL_SETTINGS

    def take(self, place: tuple[int, int], path: bytes, size: int, body: Iterable[Buffer]) -> None:
        """Read a file to its end."""
        self._left += len(self.settings.pop(path, b""))
        keep = size <= min(_MAX_SETTINGS, self._left) and _SETTINGS.fullmatch(path) is not None
        if path == KERNEL:
            file, self.kernel = kernel_file(body)
            self.digests[place] = file.digest
            return
        hasher, kept = hashlib.sha256(), list[bytes]()
        for piece in body:
            hasher.update(piece)
            if keep:
                kept.append(bytes(piece))
        self.digests[place] = hasher.digest()
        if keep:
            self.settings[path] = b"".join(kept)
            self._left -= size


def listed(readers: Iterable[Reader], form: Form, whiteouts: bool = False) -> Listing:
    """The listing of archives, a later path winning over an earlier one; ArchiveError where no file is in them."""
    tree, contents = Tree(whiteouts), _Contents()
    for layer, reader in enumerate(readers):
        for number, entry in enumerate(reader):
            path = tree.add(entry, layer, number)
            if path and entry.kind == "file":
                contents.take((layer, number), path, entry.size, reader.body())
    files = _files(tree.root, contents.digests)
    if not files:
        raise ArchiveError("no file is in it", "name a build that has a root filesystem")
    settings = {path: text for path, text in contents.settings.items() if _is(files.get(path), text)}
    return Listing(files, settings, form, kernel=contents.kernel)


def bare(size: int, digest: bytes) -> File:
    """A file of which nothing but its contents is known."""
    return File("file", 0o644, 0, 0, 0, size, b"", (0, 0), (), digest, b"")


def text_file(text: bytes) -> File:
    """The same for a text."""
    return bare(len(text), hashlib.sha256(text).digest())


def kernel_file(pieces: Iterable[Buffer]) -> tuple[File, str]:
    """The same for a kernel, and how it is packed."""
    hasher, size, head = hashlib.sha256(), 0, b""
    for piece in pieces:
        head = head or bytes(piece[:64])
        hasher.update(piece)
        size += len(piece)
    for at, magic, packing in ((0, b"\x1f\x8b", "gzip"), (4, b"zimg", "zboot"), (0, b"\x7fELF", "ELF")):
        if head[at : at + len(magic)] == magic:
            return bare(size, hasher.digest()), packing
    return bare(size, hasher.digest()), "a program"


def _is(file: File | None, text: bytes) -> bool:
    """Whether that file is what the text was read from: another may have come in its place."""
    return file is not None and file.digest == hashlib.sha256(text).digest()


def _files(root: Node, digests: dict[tuple[int, int], bytes]) -> dict[bytes, File]:
    """Every path below a node but itself."""
    found: dict[bytes, File] = {}
    first: dict[int, bytes] = {}
    paths = sorted(_walk(root), key=lambda item: item[0])
    for path, node in paths:
        inode = node.inode
        linked = first.setdefault(id(inode), path) if inode.names > 1 and inode.entry.kind != "directory" else b""
        _, kind, mode, uid, gid, mtime, size, target, device, xattrs = inode.entry
        digest = digests.get((inode.layer, inode.number), b"") if kind == "file" else b""
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
