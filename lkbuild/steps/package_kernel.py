"""The layer of a kernel's package: `kernel`, `kernel.tar` with the modules asked for, and its configuration."""

from __future__ import annotations

import fnmatch
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

from lkbuild.archive.deb import entries
from lkbuild.errors import StepError
from lkbuild.frozen import frozen
from lkbuild.packages.layout import matcher, merged, merged_target
from lkbuild.packages.modules import SUFFIX, Module, index_files, module_name, needed, read_module
from lkbuild.packages.params import KernelLayer, LayerEntry
from lkbuild.steps.layer_tar import LayerTar, chunks
from lkbuild.steps.module_file import MAX_MODULE, unpacked_module
from lkbuild.steps.package_debian import Package, add_records, read_packages
from lkbuild.steps.reading import Reading, reading
from lkbuild.steps.work import Work

MODULES = "usr/lib/modules"
FIRMWARE = "usr/lib/firmware"

_KERNEL = re.compile(r"boot/vmlinu[xz]-(.+)")
_CONFIG = re.compile(r"boot/config-(.+)")
_COPYRIGHT = matcher(("usr/share/doc/*/copyright",))
# What depmod makes, made anew; modules.order, .builtin and .builtin.modinfo come from the kernel's own build.
_MADE = re.compile(
    r"/modules\.(alias|dep|softdep|devname|symbols|weakdep|builtin\.alias|builtin)(\.bin)?$(?<!/modules\.builtin)"
)
_WANTED = (f"{MODULES}/", f"{FIRMWARE}/", "boot/")


@frozen
class _Spooled:
    """A file of the packages, kept at `offset` of the spool."""

    entry: LayerEntry
    mtime: int
    offset: int
    size: int


def kernel_layer(params: KernelLayer, work: Work) -> None:
    """The inputs `deb<N>` as the layer of a kernel image, output `layer`; modules are stored decompressed.

    `kernel.tar` holds usr/lib/modules and usr/lib/firmware and no `lib`, so that it fits the merged /usr of the init.
    """
    packages = read_packages(work)
    with (
        tempfile.TemporaryFile(dir=work.directory) as spool,
        tempfile.NamedTemporaryFile(dir=work.directory) as written,
    ):
        files = _spool(packages, spool, reading(work, "deb"))
        version = _version(files)
        _modules_tar(params, files, spool, f"{MODULES}/{version}", Path(written.name))
        with LayerTar(work.output("layer")) as tar:
            for path, name in _boot_files(files, version):
                _copy(tar, files[path], LayerEntry(name, "file", 0o644), spool)
            with Path(written.name).open("rb") as modules:
                size = modules.seek(0, os.SEEK_END)
                modules.seek(0)
                tar.add(LayerEntry("kernel.tar", "file", 0o644), size, chunks(modules, size))
            for path in filter(_COPYRIGHT, sorted(files)):
                _copy(tar, files[path], files[path].entry, spool)
            add_records(tar, packages)


def _copy(tar: LayerTar, file: _Spooled, entry: LayerEntry, spool: BinaryIO) -> None:
    spool.seek(file.offset)
    tar.add(entry, file.size, chunks(spool, file.size), file.mtime)


def _boot_files(files: dict[str, _Spooled], version: str) -> Iterator[tuple[str, str]]:
    """The kernel's configuration and the kernel: where they are in the packages, and their names in the image."""
    for path in sorted(files):
        if (match := _CONFIG.fullmatch(path)) and match[1] == version:
            yield path, path
    yield next(path for path in sorted(files) if _KERNEL.fullmatch(path)), "kernel"


def _spool(packages: list[Package], spool: BinaryIO, progress: Reading) -> dict[str, _Spooled]:
    """All of the packages that may be wanted, by place; modules decompressed and without their compression suffix."""
    found: dict[str, _Spooled] = {}
    for package in packages:
        for entry, body in entries(package.path, progress.count):
            path = merged(entry.path)
            if entry.kind == "directory" or not (path.startswith(_WANTED) or _COPYRIGHT(path)):
                continue
            if entry.kind == "hardlink":
                raise StepError(f"{package.name}: {path} is a hard link, which a kernel's package has no use for")
            match = SUFFIX.search(path) if path.startswith(f"{MODULES}/") else None
            if match:
                path = path[: match.start()] + ".ko"
            if path in found:
                raise StepError(f"{path} is in two Debian packages, {package.name} being one", "leave one of them out")
            offset = spool.tell()
            for chunk in _bytes(path, match[1] if match else None, body, entry.size):
                spool.write(chunk)
            target = merged_target(entry.path, entry.target)
            placed = LayerEntry(path, "file" if body else "symlink", entry.mode, entry.uid, entry.gid, target=target)
            found[path] = _Spooled(placed, entry.mtime, offset, spool.tell() - offset)
    return found


def _bytes(path: str, codec: str | None, body: BinaryIO | None, size: int) -> Iterable[bytes]:
    """A file's bytes, decompressed where there is a codec."""
    if body is None:
        return ()
    if codec is None:
        return chunks(body, size)
    return (unpacked_module(path, codec, body.read(min(size, MAX_MODULE + 1))),)


def _version(files: dict[str, _Spooled]) -> str:
    """The version of the one kernel in the packages."""
    found = sorted({match[1] for path in files if (match := _KERNEL.fullmatch(path))})
    if len(found) != 1:
        several = f"{len(found)} kernels in the Debian packages ({', '.join(found)})" if found else None
        raise StepError(
            several or "there is no kernel (boot/vmlinuz-*) in the Debian packages",
            "name one package with a kernel, such as linux-image-cloud-amd64, and do not leave out what it depends on",
        )
    return found[0]


def _modules_tar(params: KernelLayer, files: dict[str, _Spooled], spool: BinaryIO, directory: str, out: Path) -> None:
    """kernel.tar: the modules asked for below `directory`, index files made anew for these, and all firmware."""
    modules: dict[str, Module] = {}
    for path, file in files.items():
        if path.startswith(f"{directory}/") and path.endswith(".ko"):
            spool.seek(file.offset)
            try:
                module = read_module(path.removeprefix(f"{directory}/"), spool.read(min(file.size, MAX_MODULE)))
            except ValueError as error:
                raise StepError(str(error)) from error
            modules[module.name] = module
    kept = _chosen(params, modules, _builtin(files, spool, directory))
    paths = {f"{directory}/{modules[name].path}" for name in kept}
    index = {f"{directory}/{name}": text for name, text in index_files(modules[name] for name in kept).items()}
    for path in files:
        other = path.startswith(f"{directory}/modules.") and path not in index and not _MADE.search(path)
        if other or path.startswith(f"{FIRMWARE}/"):
            paths.add(path)
    with LayerTar(out) as tar:
        tar.directory(directory)
        for path in sorted(paths | index.keys()):
            if path in index:
                data = index[path].encode()
                tar.add(LayerEntry(path, "file", 0o644), len(data), [data])
            else:
                _copy(tar, files[path], files[path].entry, spool)


def _builtin(files: dict[str, _Spooled], spool: BinaryIO, directory: str) -> dict[str, str]:
    """The modules that are part of the kernel: name and the path they would have."""
    file = files.get(f"{directory}/modules.builtin")
    if file is None:
        return {}
    spool.seek(file.offset)
    paths = spool.read(min(file.size, MAX_MODULE)).decode("utf-8", "replace").split()
    return {module_name(path): path for path in paths}


def _chosen(params: KernelLayer, modules: dict[str, Module], builtin: dict[str, str]) -> frozenset[str]:
    """The names of the modules to keep: those asked for and what they need."""
    if params.modules is None:
        return frozenset(modules)
    paths = {**builtin, **{name: module.path for name, module in modules.items()}}
    wanted: set[str] = set()
    for pattern in params.modules:
        named = matcher((pattern,)) if "/" in pattern else None
        found = {n for n, path in paths.items() if (named(path) if named else fnmatch.fnmatchcase(n, pattern))}
        if not found:
            close = get_close_matches(pattern, paths, 3)
            hint = (
                f"did you mean {' or '.join(close)}?" if close else "modules are named as modprobe does, or by a path"
            )
            raise StepError(f"kernel: no module of this kernel answers to {pattern!r}", hint)
        wanted |= found & modules.keys()
    try:
        return needed(wanted, modules, frozenset(builtin))
    except ValueError as error:
        raise StepError(f"kernel: {error}", "is the package it is in left out?") from error
