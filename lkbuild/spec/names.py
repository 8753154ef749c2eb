"""The types of a spec whose text means more than itself: images, modes, paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated

from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.reference import Reference
from lkbuild.spec.fields import Pattern, Written
from lkbuild.spec.syntax import CAPABILITIES, parse_mode

PACKAGE_PREFIX = "@pkg:"
PACKAGE_FILE = "build.yml"
NumericOrName = int | str


@frozen
class PackageDir:
    """`@pkg:./dir`: a package directory.  `path` is absolute, `text` is what the spec says."""

    path: str
    text: str

    def __str__(self) -> str:
        return self.text


def beside(origin: Origin, name: str) -> Path:
    """The absolute path that a name in the file at `origin` means: beside that file; `~/` is the home directory."""
    if name == "~" or name.startswith("~/"):
        return Path.home() / name[2:]
    return Path(os.path.normpath(Path(origin.file).absolute().parent / name))


def _there(path: Path, test: Callable[[Path], bool]) -> bool:
    """`test(path)`, False where the name is one no file system takes."""
    try:
        return test(path)
    except OSError:
        return False


def _image(text: str, origin: Origin) -> Reference | PackageDir:
    if not text.startswith(PACKAGE_PREFIX):
        if not text:
            raise ValueError("the image reference is empty")
        return Reference.parse(text)
    directory = beside(origin, text.removeprefix(PACKAGE_PREFIX))
    if text == PACKAGE_PREFIX or "\0" in text:
        raise ValueError(f"{text!r} names no directory (wanted {PACKAGE_PREFIX}./DIRECTORY)")
    if not _there(directory, Path.is_dir):
        raise ValueError(f"package {text!r}: there is no directory {str(directory)!r}")
    if not _there(directory / PACKAGE_FILE, Path.is_file):
        raise ValueError(f"package {text!r}: there is no {PACKAGE_FILE} in {str(directory)!r}")
    return PackageDir(str(directory), text)


def _optional_image(text: str, origin: Origin) -> Reference | PackageDir | None:
    return _image(text, origin) if text else None


def _file_path(text: str, origin: Origin) -> str:
    parts = PurePosixPath(text.lstrip("/")).parts
    if not text:
        raise ValueError("path is empty")
    if ".." in parts or "\0" in text:
        raise ValueError(f"path {text!r} leads out of the root file system (no '..' may stand in it)")
    if not parts:
        raise ValueError(f"path {text!r} is the root directory itself")
    return "/".join(parts)


def _source(text: str, origin: Origin) -> str | None:
    if "\0" in text:
        raise ValueError(f"source {text!r} is no file name")
    return str(beside(origin, text)) if text else None


def _key(text: str, origin: Origin) -> str:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} names no file")
    return str(beside(origin, text))


def _file_mode(text: str, origin: Origin) -> int | None:
    return parse_mode(text) if text else None


def _kernel_tar(text: str, origin: Origin) -> str | None:
    return None if text in ("", "none") else text


def _or_none(text: str, origin: Origin) -> str | None:
    return text or None


def _binary(text: str, origin: Origin) -> str:
    return text or "kernel"


_SIZE = re.compile(r"([1-9][0-9]{0,8})([KMGT])")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _size(text: int | str, origin: Origin) -> int:
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{str(text)!r:.40} is no size (wanted a number and K, M, G or T, such as 64M)")
    return int(match[1]) * _UNITS[match[2]]


def _page_size(value: int | str, origin: Origin) -> str:
    return str(value)


ImageName = Annotated[Reference | PackageDir, Written(str, _image, r"^(@pkg:.+|\S+)$")]
OptionalImage = Annotated[Reference | PackageDir | None, Written(str, _optional_image)]
FilePath = Annotated[str, Written(str, _file_path, r"^(?!/*$)(?!(.*/)?\.\.(/|$))")]
SourcePath = Annotated[str | None, Written(str, _source)]
KeyPath = Annotated[str, Written(str, _key)]
FileMode = Annotated[int | None, Written(str, _file_mode, r"^[0-7]{0,12}$")]
KernelTar = Annotated[str | None, Written(str, _kernel_tar)]
KernelBinary = Annotated[str, Written(str, _binary)]
NonEmpty = Annotated[str | None, Written(str, _or_none)]
Size = Annotated[int | None, Written(int | str, _size, r"^[1-9][0-9]{0,8}[KMGT]$")]
PageSize = Annotated[str, Written(int | str, _page_size)]

Bind = Annotated[str, Pattern(r"^[^:]+:[^:]+(:[^:]*)?$")]
Tmpfs = Annotated[str, Pattern(r"^[^:]+(:[^:]*)?$")]
Rlimit = Annotated[
    str,
    Pattern(
        r"^\s*\w+\s*,\s*(\d+|[Uu][Nn][Ll][Ii][Mm][Ii][Tt][Ee][Dd])\s*,\s*(\d+|[Uu][Nn][Ll][Ii][Mm][Ii][Tt][Ee][Dd])\s*$"
    ),
]
Capability = Annotated[str, Pattern(r"^([Aa][Ll][Ll]|[Nn][Oo][Nn][Ee])$", CAPABILITIES)]
VolumeName = Annotated[str, Pattern(r"^[a-z0-9_-]+$")]
ContainerName = Annotated[str, Pattern(r"^(?!\.{1,2}$)[^/\x00]+$")]
