"""Reading what was built: a listing of its root filesystem, whatever format that is in."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from lkbuild.archive.compress import decompressed
from lkbuild.archive.cpioread import MAGIC, CpioReader
from lkbuild.archive.entry import Entry, path_text
from lkbuild.archive.tar import TarReader
from lkbuild.disk import uimage
from lkbuild.disk.boot_reading import booted
from lkbuild.disk.containers import raw
from lkbuild.disk.erofs_reading import ErofsReader
from lkbuild.disk.iso_reading import IsoReader
from lkbuild.disk.magic import Magic, magics
from lkbuild.disk.squashfs_reading import SquashfsReader
from lkbuild.disk.view import View, of_file
from lkbuild.errors import ArchiveError, ImageError
from lkbuild.report.layouts import layout_listing
from lkbuild.report.listing import CMDLINE, KERNEL, File, Form, Listing, kernel_file, listed, text_file
from lkbuild.sources.tree import Directory, Tar
from lkbuild.steps.rootfs import DOCKERFILE
from lkbuild.store.files import doing

_WHOLE = "is the file whole, and one that lkbuild writes? the build's `tar` or initrd can be compared instead"
_BOTH = frozenset({KERNEL, CMDLINE})
_BESIDE = ("-initrd.img", "-squashfs.img", "-erofs.img", ".iso")
"""How files end that have kernel and command line beside them."""

_MAX_TEXT = 1 << 20
_HOLE = bytes(4 << 20)
_MAX_DISK = 64 << 30
"""The most bytes of a disk that is unpacked."""
_INITRD_TAR = frozenset({b"kernel", b"initrd.img", b"cmdline", b"ucode.cpio"})
_RPI3 = frozenset({b"kernel.uimg", b"initrd.uimg", b"boot.scr"})
_BOOTARGS = re.compile(rb'.{8}setenv bootargs "([^"]*)"\n', re.DOTALL)
"""How our own script for U-Boot begins (`steps.rpi3`), in its image."""

_LAYOUT = frozenset({b"index.json", b"oci-layout"})


def read_listing(path: Path) -> Listing:
    """The listing of a file or directory of any format that holds a root filesystem or an initrd.

    A later path wins.  A file that cannot be read is a StoreError, a damaged one, or one that holds neither, an
    ArchiveError naming it.
    """
    try:
        with doing(f"reading {path}"):
            return _directory(path) if path.is_dir() else _file(path)
    except (ArchiveError, ImageError) as error:
        message = error.message if error.message.startswith(str(path)) else f"{path}: {error.message}"
        raise ArchiveError(message, error.hint or _WHOLE) from error
    except ValueError as error:
        raise ArchiveError(f"{path}: {error}", _WHOLE) from error


def _file(path: Path) -> Listing:
    with path.open("rb") as file:
        found = magics(file)
        file.seek(0)
        return _READERS[found[0] if found else "tar"](path, file)


def _directory(path: Path) -> Listing:
    """An OCI layout, or a machine for Firecracker."""
    if is_layout(path):
        return layout_listing(Directory(path))
    if not is_firecracker(path):
        raise ArchiveError("no OCI layout and no machine for Firecracker", "name one, or a file")
    with (path / "initrd.img").open("rb") as initrd, (path / "vmlinux").open("rb") as kernel:
        listing = listed([CpioReader(of_file(initrd).pieces())], "firecracker")
        with (path / "config.json").open("rb") as file:
            text = file.read(_MAX_TEXT)
        try:
            cmdline = str(json.loads(text)["boot-source"]["boot_args"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"config.json is no configuration of Firecracker ({error!r:.100})") from error
        return _booting(listing, kernel_file(of_file(kernel).pieces()), cmdline.encode("utf-8", "surrogateescape"))


def is_layout(path: Path) -> bool:
    """Whether a directory is an OCI layout."""
    return (path / "index.json").is_file()


def is_firecracker(path: Path) -> bool:
    """Whether a directory is a machine for Firecracker."""
    return all((path / name).is_file() for name in ("vmlinux", "initrd.img", "config.json"))


def _booting(listing: Listing, kernel: tuple[File, str] | None, cmdline: bytes | None) -> Listing:
    """The listing with a kernel and a command line; None for what is not known."""
    if kernel is not None:
        files, boots = {**listing.files, KERNEL: kernel[0]}, listing.boots | {KERNEL}
        listing = replace(listing, files=files, boots=boots, kernel=kernel[1])
    if cmdline is not None:
        files, boots = {**listing.files, CMDLINE: text_file(cmdline)}, listing.boots | {CMDLINE}
        listing = replace(listing, files=files, boots=boots, settings={**listing.settings, CMDLINE: cmdline})
    return listing


# -- media -------------------------------------------------------------------------------------------------------------


def _medium(path: Path, file: BinaryIO) -> Listing:
    """The initrd that a disk, an ISO or a UEFI program boots."""
    return _booted(raw(of_file(file)))


def _booted(disk: View) -> Listing:
    found = booted(disk)
    if found is None:
        raise ValueError("no initrd is found in it that it boots")
    kernel = None if found.kernel is None else kernel_file(found.kernel.pieces())
    cmdline = None if found.cmdline is None else found.cmdline.encode("utf-8", "surrogateescape")
    return _booting(listed([CpioReader(found.initrd.pieces())], "medium"), kernel, cmdline)


class _Members:
    """The members of a file system, read as those of an archive are."""

    def __init__(self, members: Iterator[tuple[Entry, View]]) -> None:
        self._members = members
        self._contents = View(lambda offset, length: b"", 0)

    def __iter__(self) -> Iterator[Entry]:
        for entry, contents in self._members:
            self._contents = contents
            yield entry

    def body(self) -> Iterator[bytes]:
        return self._contents.pieces()


def _root(
    form: Form, reader: Callable[[View], IsoReader | ErofsReader | SquashfsReader], path: Path, file: BinaryIO
) -> Listing:
    """A root filesystem on a disk of its own."""
    return _beside(path, listed([_Members(reader(of_file(file)).members())], form))


def _iso(path: Path, file: BinaryIO) -> Listing:
    """An ISO that boots, else one that is a root filesystem."""
    disk = of_file(file)
    return _booted(disk) if IsoReader(disk).boots() else _root("iso", IsoReader, path, file)


def _google(file: BinaryIO) -> Listing:
    """Google's image: the disk is unpacked to where it can be read anywhere, without its zeros."""
    reader = TarReader(decompressed(file))
    members = iter(reader)
    next(members)
    with tempfile.TemporaryFile() as disk:
        size = 0
        for piece in reader.body():
            if piece != _HOLE[: len(piece)]:
                disk.seek(size)
                disk.write(piece)
            size += len(piece)
            if size > _MAX_DISK:
                raise ValueError(f"a disk of more than {_MAX_DISK >> 30} GiB, which is not believable")
        disk.truncate(size)
        for _ in members:  # to the end, where the sums are
            pass
        return _booted(of_file(cast(BinaryIO, disk)))


# -- archives ----------------------------------------------------------------------------------------------------------


def _archive(path: Path, file: BinaryIO) -> Listing:
    """A tar or an initrd, plain or packed."""
    head = next(decompressed(file), b"")
    file.seek(0)
    if head.startswith(MAGIC):
        return _beside(path, listed([CpioReader(of_file(file).pieces())], "initrd"))
    if head.startswith(b"disk.raw\0"):
        return _google(file)
    listing = listed([TarReader(decompressed(file))], "tar")
    names = listing.files.keys()
    if b"initrd.img" in names and names <= _INITRD_TAR:
        return _boot_files(file, "initrd-tar")
    if names >= _RPI3:
        return _boot_files(file, "rpi3")
    if names >= _LAYOUT:
        if magics(file)[:1] != ("tar",):
            raise ArchiveError("an OCI layout in a packed tar", "unpack it: `gzip -d` or `zstd -d`")
        return layout_listing(Tar(path))
    dockerfile = listing.files.get(b"Dockerfile")
    made = dockerfile is not None and dockerfile.digest == text_file(DOCKERFILE).digest
    return replace(listing, form="docker" if made else "tar", boots=_BOTH)


def _beside(path: Path, listing: Listing) -> Listing:
    """The listing with the kernel and the command line beside a file; where there is a kernel, both are known."""
    name = next((path.name.removesuffix(ending) for ending in _BESIDE if path.name.endswith(ending)), None)
    if name is None:
        return listing
    kernel, cmdline = (path.with_name(f"{name}-{part}") for part in ("kernel", "cmdline"))
    if cmdline.is_file():
        with cmdline.open("rb") as file:
            listing = _booting(listing, None, file.read(_MAX_TEXT))
    if kernel.is_file():
        with kernel.open("rb") as file:
            listing = replace(_booting(listing, kernel_file(of_file(file).pieces()), None), boots=_BOTH)
    return listing


def _boot_files(file: BinaryIO, form: Form) -> Listing:
    """The initrd in a tar, and kernel and command line beside it there."""
    file.seek(0)
    reader = TarReader(decompressed(file))
    listing, kernel, cmdline = None, None, b"" if form == "initrd-tar" else None
    for entry in reader:
        name = entry.path.removeprefix(b"./")
        if name not in _INITRD_TAR | _RPI3:
            continue
        body = uimage.contents(reader.body()) if form == "rpi3" else reader.body()
        if name in (b"initrd.img", b"initrd.uimg"):
            listing = listed([CpioReader(body)], form)
        elif name in (b"kernel", b"kernel.uimg"):
            kernel = kernel_file(body)
        elif entry.size > _MAX_TEXT:
            raise ValueError(f"a {path_text(name)} of {entry.size} bytes")
        elif name == b"cmdline":
            cmdline = b"".join(map(bytes, body))
        elif name == b"boot.scr":
            said = _BOOTARGS.match(b"".join(map(bytes, body)))
            cmdline = said[1] if said else None
    if listing is None:
        raise ValueError("the initrd in it is no file")
    return _booting(listing, kernel, cmdline)


_READERS: dict[Magic, Callable[[Path, BinaryIO], Listing]] = {
    "cpio": _archive,
    "zstd": _archive,
    "gzip": _archive,
    "tar": _archive,
    "squashfs": partial(_root, "squashfs", SquashfsReader),
    "erofs": partial(_root, "erofs", ErofsReader),
    "iso": _iso,
    "qcow2": _medium,
    "vmdk": _medium,
    "vhdx": _medium,
    "dynamic-vhd": _medium,
    "program": _medium,
    "disk": _medium,
}
