"""`images=PATH`: what kind of image store a path is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip, igzip_lib

from lkbuild.digest import CHUNK, Digest
from lkbuild.errors import ImageError
from lkbuild.sources.archive import DockerArchive
from lkbuild.sources.layout import Layout
from lkbuild.sources.source import Source
from lkbuild.sources.tree import Directory, Tar, file_stamp

# isal's stubs call its exception class an instance of it.
_UNZIP_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, cast(type[Exception], igzip_lib.IsalError))
ACCEPTED = (
    "accepted are a directory that is an OCI layout (a LinuxKit cache is one), a `docker save` archive, "
    "and an OCI archive (.tar or .tar.gz)"
)
_COMPRESSED = {b"\x28\xb5\x2f\xfd": "zstd -d", b"\xfd7zXZ": "xz -d", b"BZh": "bzip2 -d"}


def open_path(path: Path, scratch: Path) -> Source:
    """The image store at `path`; ImageError if it is none.  A gzip'd archive is unpacked below `scratch` first."""
    try:
        if path.is_dir():
            return _directory(path)
        if not path.exists():
            raise ImageError(f"images={path}: there is no such file or directory", ACCEPTED)
        if not path.is_file():
            raise ImageError(f"images={path}: is neither a file nor a directory", ACCEPTED)
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise ImageError(f"images={path}: {error.strerror}") from error
    for start, command in _COMPRESSED.items():
        if magic.startswith(start):
            raise ImageError(f"images={path}: is compressed in a way that is not read", f"`{command} {path}` first")
    return _archive(path, gunzip(path, scratch) if magic.startswith(b"\x1f\x8b") else path)


def open_tar(tree: Tar, kind: str, any_name: bool = False) -> Source | None:
    """The source for what lies in a tar; None if no image is in it.  Docker >= 25 writes both: a layout says more."""
    if tree.size("index.json") is not None and tree.size("oci-layout") is not None:
        return Layout(tree, f"{kind} (OCI)", any_name)
    if tree.size("manifest.json") is not None:
        return DockerArchive(tree, kind, any_name)
    return None


def _directory(path: Path) -> Source:
    tree = Directory(path)
    if tree.size("index.json") is not None:
        return Layout(tree)
    if tree.size("manifest.json") is not None:
        return DockerArchive(tree, "unpacked docker archive")
    raise ImageError(f"images={path}: is a directory, but no image store: it has no index.json", ACCEPTED)


def _archive(path: Path, plain: Path) -> Source:
    try:
        source = open_tar(Tar(plain, path), "archive")
    except ImageError as error:
        raise ImageError(f"images={error.message}", error.hint or ACCEPTED) from error
    if source is None:
        raise ImageError(
            f"images={path}: is a tar, but no image: it has neither index.json nor manifest.json", ACCEPTED
        )
    return source


def _gzip(path: Path) -> BinaryIO:
    return cast(BinaryIO, igzip.open(path, "rb"))  # type: ignore[no-untyped-call]


def gunzip(path: Path, scratch: Path) -> Path:
    """The archive unpacked below `scratch`, under a name that changes with the archive; unpacked once."""
    target = scratch / f"{Digest.of(file_stamp(path).encode()).hex}.tar"
    if target.exists():
        return target
    part = None
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with (
            _gzip(path) as source,
            tempfile.NamedTemporaryFile(dir=scratch, suffix=".part", delete=False) as file,
        ):
            part = Path(file.name)
            while data := source.read(CHUNK):
                file.write(data)
        part.replace(target)
    except _UNZIP_ERRORS as error:
        if part:
            part.unlink(missing_ok=True)
        raise ImageError(f"images={path}: unpacking it failed: {error}", "is the file complete?") from error
    return target
