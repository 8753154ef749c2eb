"""Writing a layer: a tar whose bytes follow from its entries alone (pax where a name or number needs it)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from lkbuild.errors import StepError
from lkbuild.packages.layout import ALWAYS, merged, parents
from lkbuild.packages.params import FIXED_TIME, LayerEntry

_CHUNK = 1 << 20
_RECORD = 10240
_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}


class LayerTar:
    """An uncompressed tar being written to `path`, each path once.  Leave the `with` block to finish it.

    With `whole`, directories above a file are written before it, as `directories` says, or 0755 root; without, they
    are left to the layer below.
    """

    def __init__(self, path: Path, whole: bool = True) -> None:
        self._file = path.open("wb")
        self._whole = whole
        self.written: dict[str, str] = {}
        self.directories: dict[str, tuple[LayerEntry, int]] = {}

    def __enter__(self) -> LayerTar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.write(bytes(1024))
            self._file.write(bytes(-self._file.tell() % _RECORD))
        self._file.close()

    def merged_root(self) -> None:
        """The links of the merged /usr and the directories they lead to."""
        for name in ALWAYS:
            self.directory(merged(name))
        for name in ALWAYS:
            self.add(LayerEntry(name, "symlink", 0o777, target=merged(name)))

    def directory(self, path: str) -> None:
        """The directory `path` with those above it, where they are not there yet."""
        for name in (*parents(path), path) if self._whole else (path,):
            if name not in self.written:
                entry, mtime = self.directories.get(name, (LayerEntry(name, "directory"), FIXED_TIME))
                self._header(entry, "directory", 0, mtime)

    def add(self, entry: LayerEntry, size: int = 0, body: Iterable[bytes] = (), mtime: int = FIXED_TIME) -> None:
        """One entry, a file with `size` bytes of `body`; the directories above it are made."""
        self._above(entry.path)
        self._header(entry, entry.kind, size, mtime)
        if entry.kind == "file":
            done = 0
            for chunk in body:
                done += len(chunk)
                self._file.write(chunk)
            if done != size:
                raise StepError(f"{entry.path}: got {done} bytes, wanted {size}")
            self._file.write(bytes(-size % 512))

    def hard_link(self, entry: LayerEntry, mtime: int) -> None:
        """A further name of the file written as `entry.target`."""
        if self.written.get(entry.target) != "file":
            raise StepError(
                f"{entry.path} is a hard link to {entry.target}, which is left out",
                f"name {entry.target} too under `keep` or `only`",
            )
        self._above(entry.path)
        self._header(entry, "hardlink", 0, mtime)

    def _above(self, path: str) -> None:
        for name in parents(path):
            if self.written.get(name, "directory") != "directory":
                raise StepError(f"{path}: {name} is no directory but a {self.written[name]}")
            if self._whole:
                self.directory(name)

    def _header(self, entry: LayerEntry, kind: str, size: int, mtime: int) -> None:
        if entry.path in self.written:
            raise StepError(f"{entry.path} would be written twice into one layer")
        info = tarfile.TarInfo(entry.path)
        info.type, info.size, info.mtime = _TYPES[kind], size, mtime
        info.mode, info.uid, info.gid, info.linkname = entry.mode, entry.uid, entry.gid, entry.target
        self._file.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        self.written[entry.path] = "file" if kind == "hardlink" else kind


def chunks(file: BinaryIO, size: int) -> Iterable[bytes]:
    """`size` bytes of `file`, or fewer where it ends before."""
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        size -= len(chunk)
        yield chunk
