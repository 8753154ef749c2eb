"""Where entries go: segments of an initrd or a tar, each with its index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, Protocol

from lkbuild.archive import cpio, tarwrite
from lkbuild.archive.compress import Codec, Compressor, open_compressed
from lkbuild.archive.entry import Buffer, Entry, directory, shown
from lkbuild.archive.index import IndexWriter
from lkbuild.errors import ArchiveError

ALIGNMENT = 4096
"""Segments of an initrd are padded with zeros to this, so that file systems can share their blocks."""


class Sink(Protocol):
    """What takes the entries of a tree, parents before children and every path once."""

    def add(
        self, entry: Entry, body: Iterable[Buffer] = (), links: Sequence[bytes] = (), implied: bool = False
    ) -> None:
        """One inode: `entry`, a file's contents, the other paths that lead to it, and whether nobody asked for it."""

    def restart(self) -> None:
        """Forget all that was added."""


class _Segment(ABC):
    """What both kinds of segments do: check paths, make missing parents, keep the index."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._start = raw, raw.tell()
        self._reset()

    def _reset(self) -> None:
        self._index = IndexWriter()
        self._paths: set[bytes] = set()
        self._directories = {b""}
        self._group = 0
        self._lost: dict[bytes, list[bytes]] = {}

    def restart(self) -> None:
        """Forget all that was added; the file is cut to where it began."""
        self._raw.seek(self._start)
        self._raw.truncate()
        self._reset()

    def index(self) -> bytes:
        """The index of what was added so far (see `index.parse_index`)."""
        return self._index.data()

    def directories(self, path: bytes) -> None:
        """The directory `path` and those above it, as far as they are not there, 0755 root with the fixed time."""
        self._make(path, implied=False)

    def add(
        self, entry: Entry, body: Iterable[Buffer] = (), links: Sequence[bytes] = (), implied: bool = False
    ) -> None:
        """One inode with all its paths; parents that are missing are made, as implied.

        A path that is not relative and normal, one given twice, one below something that is no directory, and a body
        of another size than the entry says are ArchiveErrors.
        """
        for path in (entry.path, *links):
            self._claim(path)
        if entry.kind == "directory":
            self._directories.add(entry.path)
        group = 0
        if links and entry.kind == "file":
            group = self._group = self._group + 1
        lost = self._write(entry, body, links)
        self._index.add(entry, group, implied, lost)
        for path in links:
            self._index.add(entry._replace(path=path), group, implied, lost)

    @abstractmethod
    def _write(self, entry: Entry, body: Iterable[Buffer], links: Sequence[bytes]) -> bool:
        """Write an inode with all its paths; True where its extended attributes were lost."""

    def _claim(self, path: bytes) -> None:
        if path in self._paths:
            raise ArchiveError(f"{shown(path)} would stand twice in one segment")
        around = b"/" + path + b"/"
        if path and (b"//" in around or b"/./" in around or b"/../" in around or b"\0" in around):
            raise ArchiveError(f"{shown(path)} is no path of a segment (relative, without . and ..)")
        parent = path.rpartition(b"/")[0]
        if parent not in self._directories:
            self._make(parent, implied=True)
        self._paths.add(path)

    def _make(self, path: bytes, implied: bool) -> None:
        at = 0
        while at < len(path):
            at = path.find(b"/", at + 1) if b"/" in path[at + 1 :] else len(path)
            if (part := path[:at]) in self._directories:
                continue
            if part in self._paths:
                raise ArchiveError(f"{shown(part)} is no directory, yet {shown(path)} lies below it")
            self.add(directory(part), implied=implied)


class CpioSink(_Segment):
    """A segment of an initrd: one cpio archive (newc) of its own, compressed, padded with zeros to 4096 bytes.

    `raw` is a file that can seek; it stays open.  The bytes depend on the entries, the codec and the level alone.
    """

    def __init__(self, raw: BinaryIO, codec: Codec = "gzip", level: int | None = None) -> None:
        self._codec, self._level = codec, level
        super().__init__(raw)

    def _reset(self) -> None:
        super()._reset()
        self._out: Compressor = open_compressed(self._raw, self._codec, self._level)
        self._inode = 0

    def _write(self, entry: Entry, body: Iterable[Buffer], links: Sequence[bytes]) -> bool:
        write = self._out.write
        self._inode += 1
        if entry.kind == "file":
            names = 1 + len(links)
            write(cpio.header(entry, self._inode, names, entry.size))
            _copy(entry, body, self._out)
            write(cpio.padding(entry.size))
            for path in links:
                write(cpio.header(entry._replace(path=path), self._inode, names, 0))
        else:
            # Linux links nothing but files and device nodes; a second symbolic link is as good as a linked one.
            data = entry.target if entry.kind == "symlink" else b""
            for path in (entry.path, *links):
                names = 2 if entry.kind == "directory" else 1
                write(cpio.header(entry._replace(path=path) if links else entry, self._inode, names, len(data)))
                write(data + cpio.padding(len(data)))
                self._inode += 1
        for key, _ in entry.xattrs:
            self._lost.setdefault(key, []).append(entry.path)
        return bool(entry.xattrs)

    @property
    def warnings(self) -> list[str]:
        """What got lost on the way, one sentence for each extended attribute: a cpio cannot hold them."""
        return lost_attributes(self._lost, "an initrd")

    def close(self) -> None:
        """End the archive and pad the file."""
        self._out.write(cpio.TRAILER)
        self._out.close()
        self._raw.write(bytes((self._start - self._raw.tell()) % ALIGNMENT))


class TarSink(_Segment):
    """A segment of a tar: members without the end of the archive, to stand between others (see `tarwrite`)."""

    warnings: tuple[str, ...] = ()

    def _reset(self) -> None:
        super()._reset()
        self._out: Compressor = open_compressed(self._raw, "none")

    def _write(self, entry: Entry, body: Iterable[Buffer], links: Sequence[bytes]) -> bool:
        self._out.write(tarwrite.header(entry))
        if entry.kind == "file":
            _copy(entry, body, self._out)
            self._out.write(tarwrite.padding(entry.size))
        for path in links:
            link = entry._replace(path=path, kind="hardlink", target=entry.path, size=0, device=(0, 0), xattrs=())
            self._out.write(tarwrite.header(link))
        return False

    def close(self) -> None:
        """Write what is still held."""
        self._out.close()


class TapSink:
    """A sink that passes everything on and keeps a copy of one file: that at `path`, contents into `copy`."""

    def __init__(self, sink: Sink, path: bytes, copy: BinaryIO) -> None:
        self._sink, self._path, self._copy = sink, path, copy
        self.found = False

    def add(
        self, entry: Entry, body: Iterable[Buffer] = (), links: Sequence[bytes] = (), implied: bool = False
    ) -> None:
        """Pass an entry on."""
        if entry.kind == "file" and (entry.path == self._path or self._path in links):
            self.found = True
            body = self._copied(body)
        self._sink.add(entry, body, links, implied)

    def _copied(self, body: Iterable[Buffer]) -> Iterable[Buffer]:
        for piece in body:
            self._copy.write(piece)
            yield piece

    def restart(self) -> None:
        """Forget the copy too."""
        self.found = False
        self._copy.seek(0)
        self._copy.truncate()
        self._sink.restart()


_CAPABILITY = b"security.capability"


def lost_attributes(lost: Mapping[bytes, Sequence[bytes]], where: str) -> list[str]:
    """One sentence for each extended attribute that is lost in `where`, by its name and the paths that had it."""
    return [
        f"{shown(paths[0])}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: "
        f"the extended attribute {key.decode('utf-8', 'backslashreplace')} is lost in {where}"
        f"{' (a file capability; the container needs it as ambient, or run as root)' * (key == _CAPABILITY)}"
        for key, paths in sorted(lost.items())
    ]


def _copy(entry: Entry, body: Iterable[Buffer], out: Compressor) -> None:
    done = 0
    for piece in body:
        done += len(piece)
        out.write(piece)
    if done != entry.size:
        raise ArchiveError(f"{shown(entry.path)}: {done} bytes came, {entry.size} were announced")
