"""Reading Debian binary packages: an `ar` container with control.tar.* and data.tar.* (deb(5), deb-control(5))."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from lkbuild.errors import ArchiveError
from lkbuild.frozen import frozen

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_CONTROL = 1 << 20
"""The most bytes a package's control file may have; Debian's longest has some 40 kB."""

_MAGIC = b"!<arch>\n"
_HEADER = 60
_DAMAGED = (tarfile.TarError, lzma.LZMAError, zstd.ZstdError, EOFError, OSError, ValueError)
Kind = Literal["file", "directory", "symlink", "hardlink"]
Count = Callable[[int], object]


def _nobody(_: int) -> None:
    """Nobody wants to know how far reading is."""


@frozen
class DebEntry:
    """A file of a package.  `path` has no leading `./`; `target` is a symlink's text, or the path a hard link names."""

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""


class _Member(io.RawIOBase):
    """The bytes of one member of the container, as a file to read once from its beginning."""

    def __init__(self, file: BinaryIO, size: int, count: Count) -> None:
        super().__init__()
        self._file, self._left, self._count = file, size, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        if not data and self._left:
            raise EOFError("the file ends within a member")
        buffer[: len(data)] = data
        self._left -= len(data)
        self._count(len(data))
        return len(data)


def control(path: Path) -> bytes:
    """The package's control file as it stands; ArchiveError if the package is damaged."""
    with _tar(path, "control.tar") as tar:
        for info in tar:
            if info.name.removeprefix("./") != "control":
                continue
            if not info.isreg() or info.size > MAX_CONTROL:
                raise ArchiveError(f"{path.name}: its control file is {info.size} bytes long, or no file at all")
            return cast(BinaryIO, tar.extractfile(info)).read()
    raise ArchiveError(f"{path.name}: there is no control file in it")


def fields(stanza: bytes) -> Mapping[str, str]:
    """The fields of one stanza (deb822(5)), names in lower case, lines that continue a value joined with newlines."""
    found: dict[str, str] = {}
    name = ""
    for line in stanza.decode("utf-8", "replace").splitlines():
        if line[:1] in (" ", "\t"):
            if name:
                found[name] += "\n" + line.strip()
        elif not line.startswith("#"):
            key, colon, value = line.partition(":")
            name = key.strip().lower() if colon else ""
            if name:
                found[name] = value.strip()
    return found


def entries(path: Path, count: Count = _nobody) -> Iterator[tuple[DebEntry, BinaryIO | None]]:
    """The package's files in order, a regular file with what to read it from (only until the next entry is asked for).

    `count` is told how many bytes of the package were read, each time some were.
    ArchiveError on damage, on names that leave the root, and on device nodes, of which Debian packages have none.
    """
    with _tar(path, "data.tar", count) as tar:
        for info in tar:
            name = _relative(path, info.name)
            if name:
                body = cast(BinaryIO, tar.extractfile(info)) if info.isreg() else None
                yield _entry(path, name, info), body


def _entry(path: Path, name: str, info: tarfile.TarInfo) -> DebEntry:
    if info.isreg():
        kind: Kind = "file"
    elif info.isdir():
        kind = "directory"
    elif info.issym():
        kind = "symlink"
    elif info.islnk():
        kind = "hardlink"
    else:
        raise ArchiveError(f"{path.name}: {name} is neither file, directory nor link")
    target = _relative(path, info.linkname) if kind == "hardlink" else info.linkname if kind == "symlink" else ""
    size = info.size if kind == "file" else 0
    return DebEntry(name, kind, info.mode & 0o7777, info.uid, info.gid, int(info.mtime), size, target)


def _relative(path: Path, name: str) -> str:
    """`./usr/bin/x` as `usr/bin/x`, the root itself as ""."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ArchiveError(f"{path.name}: the name {name!r:.200} leaves the root")
    return "/".join(parts)


@contextmanager
def _tar(path: Path, wanted: str, count: Count = _nobody) -> Iterator[tarfile.TarFile]:
    """The tar in the member `wanted`, plain or compressed, open for reading once from its beginning."""
    with path.open("rb") as file:
        try:
            name, size = _find(path, file, wanted)
            with (
                _decompressed(path, name, io.BufferedReader(_Member(file, size, count), 1 << 18)) as stream,
                tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar,
            ):
                yield tar
        except _DAMAGED as error:
            raise ArchiveError(f"{path.name} is not a Debian package, or is damaged: {error}") from error


def _find(path: Path, file: BinaryIO, wanted: str) -> tuple[str, int]:
    """Go to the contents of the member whose name begins with `wanted`; its name and its size in bytes."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ArchiveError(f"{path.name} is not a Debian package: it does not begin as an ar archive does")
    while len(header := file.read(_HEADER)) == _HEADER:
        name = header[:16].decode("latin-1").strip().removesuffix("/")
        size = int(header[48:58])
        if header[58:] != b"`\n" or not 0 <= size <= end - file.tell():
            raise ArchiveError(f"{path.name}: the header of its member {name!r} is damaged, or the file is cut short")
        if name == wanted or name.startswith(f"{wanted}."):
            return name, size
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ArchiveError(f"{path.name} is not a Debian package: it has no {wanted}")


def _decompressed(path: Path, name: str, stream: io.BufferedReader) -> BinaryIO:
    match name.rpartition(".tar")[2]:
        case "":
            return cast(BinaryIO, stream)
        case ".xz" | ".lzma":
            return cast(BinaryIO, lzma.LZMAFile(stream))
        case ".gz":
            return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
        case ".zst":
            return cast(BinaryIO, zstd.ZstdFile(stream))
        case other:
            raise ArchiveError(f"{path.name}: its {name} is compressed as {other!r} (known: .xz, .zst, .gz)")
