"""Files by name, in a directory or in an uncompressed tar: what layouts and archives are read through."""

from __future__ import annotations

import io
import os
import posixpath
import stat
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from lkbuild.errors import ImageError
from lkbuild.frozen import frozen

MAX_MEMBERS = 100_000
MAX_HEADER = 4 << 20
"""The most bytes of a long name or of a PAX header."""
MAX_LINKS = 8


class Tree(Protocol):
    """Named regular files.  Names are relative, with `/`, and never leave the root."""

    @property
    def path(self) -> Path:
        """The directory or the tar file."""

    def size(self, name: str) -> int | None:
        """The size of a file in bytes, None if there is no such regular file."""

    def open(self, name: str) -> BinaryIO:
        """A file, open for reading; ImageError if it is not there or cannot be read."""

    def stamp(self) -> str:
        """A text that changes when what lies here changes."""


def read(tree: Tree, name: str, limit: int) -> bytes:
    """A file's bytes; ImageError if it is missing or has more than `limit` of them."""
    with tree.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ImageError(f"{tree.path}: {name} is larger than {limit} bytes")
    return data


@frozen
class Directory:
    """The files below a directory."""

    path: Path

    def size(self, name: str) -> int | None:
        """See Tree."""
        try:
            status = (self.path / _clean(name)).stat()
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open(self, name: str) -> BinaryIO:
        """See Tree."""
        try:
            return (self.path / _clean(name)).open("rb")
        except OSError as error:
            raise ImageError(f"reading {self.path / name}: {error.strerror}") from error

    def stamp(self) -> str:
        """Of index.json alone: blobs are named by their digests, so what they hold does not change."""
        try:
            status = (self.path / "index.json").stat()
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return f"{self.path}: {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


@frozen
class _Member:
    offset: int
    size: int


class Tar:
    """The members of an uncompressed tar, found once, read where they lie."""

    def __init__(self, file: Path, path: Path | None = None) -> None:
        """`path` is what it is called, where `file` is an unpacked copy."""
        self.path = path or file
        self._file = file
        self._members = _members(file)

    def size(self, name: str) -> int | None:
        """See Tree."""
        member = self._members.get(_clean(name))
        return member.size if member else None

    def open(self, name: str) -> BinaryIO:
        """See Tree."""
        member = self._members.get(_clean(name))
        if member is None:
            raise ImageError(f"{self.path}: has no file {name!r:.200}")
        try:
            return io.BufferedReader(_Slice(self._file, member), 1 << 17)
        except OSError as error:
            raise ImageError(f"reading {self.path}: {error.strerror}") from error

    def stamp(self) -> str:
        """Of the tar itself."""
        return file_stamp(self.path)


def file_stamp(path: Path) -> str:
    """A text that changes when the file does."""
    try:
        status = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"{path}: {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


class _Slice(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, path: Path, member: _Member) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at = member.offset
        self._end = member.offset + member.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = os.preadv(self._handle, [memoryview(buffer)[: self._end - self._at]], self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


class _Bounded(io.BufferedReader):
    """A file that tarfile reads headers through; no header may make it read more than a header has."""

    def read(self, count: int | None = -1, /) -> bytes:
        if count is None or not 0 <= count <= MAX_HEADER:
            raise ValueError(f"a header of {count} bytes")
        return super().read(count)


def _clean(name: str) -> str:
    """A member's name by one spelling; ImageError if it would leave the root."""
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        raise ImageError(f"{name!r:.200} is no name of a file in an image archive")
    return "/".join(parts)


def _members(path: Path) -> dict[str, _Member]:
    """The regular files of a tar by name; symbolic and hard links among them (docker save has some) are followed."""
    members: dict[str, _Member] = {}
    links: dict[str, str] = {}
    try:
        size = path.stat().st_size
        with _Bounded(io.FileIO(path)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for count, entry in enumerate(tar):
                if count > MAX_MEMBERS:
                    raise ImageError(f"{path}: has more than {MAX_MEMBERS} members")
                name = _inside(entry.name)
                if name is None:
                    continue
                if entry.isreg() and not entry.issparse():
                    if entry.offset_data + entry.size > size:
                        raise ImageError(f"{path}: ends in the middle of {name!r:.200}", "is the file complete?")
                    members[name] = _Member(entry.offset_data, entry.size)
                elif entry.issym():
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.linkname))
                elif entry.islnk():
                    links[name] = posixpath.normpath(entry.linkname)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise ImageError(f"{path}: is no readable tar: {error}", "was it written to the end?") from error
    except OSError as error:
        raise ImageError(f"reading {path}: {error.strerror}") from error
    for name, target in links.items():
        for _ in range(MAX_LINKS):
            if target in members and name not in members:
                members[name] = members[target]
            target = links.get(target, target)
    return members


def _inside(name: str) -> str | None:
    """A member's name as _clean spells it, None for one that cannot be asked for."""
    try:
        return _clean(name)
    except ImageError:
        return None
