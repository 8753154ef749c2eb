"""A finished image, or a directory of them: which of its files carry a record, and which formats they may be of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from lkbuild.disk.magic import Magic, magics
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen
from lkbuild.plan.beside import CYCLONEDX, PROVENANCE, SPDX
from lkbuild.plan.graph import Output, OutputFile
from lkbuild.plan.outputs import FORMATS
from lkbuild.plan.record import Record
from lkbuild.rebuild.scan import files_in, record_of

_HINT = "it was built with lock=no, or not by lkbuild; name a file or directory that `lkbuild build` wrote"


@frozen
class Image:
    """Outputs with one record: what was named, a file or a directory, and in it the files that hold the record."""

    path: Path
    record: Record
    holders: tuple[Path, ...]


def images(path: Path) -> tuple[Image, ...]:
    """The images at `path`, one for each record there is; LkbuildError where there is none, or a damaged one alone."""
    if not path.exists():
        raise LkbuildError(f"there is no {path}")
    found: dict[str, tuple[Record, list[Path]]] = {}
    problems = list[LkbuildError]()
    for file in [path] if path.is_file() else files_in(path):
        if file.name.endswith((SPDX, CYCLONEDX, PROVENANCE)):
            continue
        try:
            record = record_of(file)
        except LkbuildError as error:
            problems.append(error)
            continue
        if record is not None:
            found.setdefault(record.encode(), (record, []))[1].append(file)
    if problems:
        raise problems[0]
    if not found:
        raise LkbuildError(f"{path} holds no record of its build", _HINT)
    return tuple(Image(path, record, tuple(holders)) for record, holders in found.values())


@frozen
class Candidate:
    """A format an image may be of: its output, and where each of its files should be; None is not to be looked at."""

    output: Output
    places: tuple[tuple[OutputFile, Path], ...]


def candidates(image: Image, outputs: Iterable[Output]) -> tuple[tuple[Candidate, ...], ...]:
    """Which outputs the image may be; of the candidates of one group it is one at the most.

    By the names of its files, for those are known; a single file that was renamed, by its first bytes.
    """
    outputs = tuple(outputs)
    if image.path.is_file():
        named = [_alone(output, image.path, _is_called(image.path.name)) for output in outputs]
        found = [each for each in named if each is not None]
        if not found:
            wanted = _formats(image.path)
            guesses = (_alone(o, image.path, _holds_root) for o in outputs if o.format in wanted)
            found = [each for each in guesses if each is not None]
        return (tuple(found),) if found else ()
    groups: dict[Path, list[Candidate]] = {}
    for output in outputs:
        for base in (image.path, image.path.parent):
            places = tuple((file, _below(base, file)) for file in output.files)
            holders = [path for _, path in places if _has_holder(path, image)]
            if holders:
                groups.setdefault(holders[0], []).append(Candidate(output, places))
                break
    return tuple(map(tuple, groups.values()))


def _has_holder(path: Path, image: Image) -> bool:
    return any(holder == path or path in holder.parents for holder in image.holders)


def _below(base: Path, file: OutputFile) -> Path:
    """Where an output's file lies in `base`.  NB: its own path is below the directory of the plan, which is `/`."""
    return base / file.path.lstrip("/")


def _alone(output: Output, path: Path, is_it: Callable[[OutputFile], bool]) -> Candidate | None:
    """The one file of an output that is meant, without those beside it."""
    files = [file for file in output.files if not file.tree and is_it(file)]
    return Candidate(output, ((files[0], path),)) if files else None


def _is_called(name: str) -> Callable[[OutputFile], bool]:
    return lambda file: file.path.rpartition("/")[2] == name


def _holds_root(file: OutputFile) -> bool:
    return file.recipe or file.output == "file"


_FORMATS: dict[Magic, tuple[str, ...]] = {
    "qcow2": ("qcow2-bios", "qcow2-efi", "qcow2-hybrid"),
    "vmdk": ("vmdk",),
    "vhdx": ("vhdx",),
    "dynamic-vhd": ("dynamic-vhd",),
    "squashfs": ("kernel+squashfs",),
    "erofs": ("kernel+erofs",),
    "program": ("uki",),
    "cpio": ("kernel+initrd",),
    "zstd": ("kernel+initrd",),
    "gzip": ("kernel+initrd", "gcp"),
    "tar": ("tar", "docker", "tar-kernel-initrd", "rpi3"),
    "iso": ("iso-hybrid", "iso-bios", "iso-efi", "iso-efi-initrd", "kernel+iso"),
    "disk": ("raw-bios", "raw-efi", "raw-hybrid", "aws", "vhd"),
}
"""Which formats may be what a file is by its magic."""


def _formats(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        found = [format for magic in magics(file) for format in _FORMATS[magic]]
    return tuple(found) or tuple(FORMATS)
