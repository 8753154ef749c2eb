"""A small initrd for a root filesystem on a disk, for kernels that have the drivers for it as modules.

It holds busybox, the modules and `INIT`, and nothing of the machine.  Its first archive is a directory alone, so that
it can be told from an initrd that is the machine (`machine.media`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lkbuild.archive.entry import Entry, components, directory, path_bytes
from lkbuild.archive.flatten import LayerFile, members
from lkbuild.archive.sink import CpioSink
from lkbuild.archive.tar import TarReader
from lkbuild.errors import StepError
from lkbuild.packages.modules import SUFFIX, Module, index_files, module_name, needed
from lkbuild.plan.root_kinds import ROOT_DIRECTORY, RootInitrd, RootType
from lkbuild.steps.module_file import MAX_MODULE, unpacked_module
from lkbuild.steps.root_init import APPLETS, init
from lkbuild.steps.work import Work

MODULES: dict[RootType, str] = {"squashfs": "squashfs", "erofs": "erofs", "iso9660": "isofs"}
"""What the kernel calls the module of a file system."""

NEEDED = ("virtio_pci", "virtio_blk")
"""Without these and the file system `run qemu` gets no root: where one of them is a module, there is an initrd."""

DRIVERS = (
    *NEEDED,
    *("virtio_mmio", "virtio_scsi", "sd_mod", "sr_mod", "nvme", "ahci", "ata_piix", "usb_storage", "uas", "xhci_pci"),
    *("hv_storvsc", "vmw_pvscsi", "mptspi", "xen_blkfront", "mmc_block", "sdhci_pci"),
)
"""Drivers of disks and CDs, of which an initrd has those that the kernel has as modules."""

_FILE = re.compile(r"((?:usr/)?lib/modules/[^/]+)/(.+)")
_INDEXES = ("modules.dep", "modules.alias", "modules.softdep", "modules.builtin")
_INTERPRETER = struct.pack("<I", 3)
_MAX_INDEX = 32 << 20


def root_initrd(params: RootInitrd, work: Work) -> None:
    """Writes `file`, empty where the kernel has all that it needs built in, or where nothing is known of its modules.

    StepError where it cannot read a root of this type at all.
    """
    tar = LayerFile(work.input("tar"), "the kernel's tar")
    index = _index(tar)
    wanted = _wanted(params.type, index) if index is not None else frozenset()
    with work.output("file").open("w+b") as file:
        if index is not None and wanted:
            _write(params.type, index, wanted, (work, file))


@dataclass(slots=True)
class _Index:
    """What the index files of a modules' directory say: modules by name, their files' names, what is built in."""

    directory: str
    modules: dict[str, Module] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    builtin: frozenset[str] | None = None


def _index(tar: LayerFile) -> _Index | None:
    """The index of the modules in the kernel's tar, as depmod left it; None where there is none."""
    found: dict[str, dict[str, str]] = {}
    with members(tar) as reader:
        for entry in reader:
            match = _FILE.fullmatch(_name(entry))
            if match and match[2] in _INDEXES and entry.kind == "file":
                if entry.size > _MAX_INDEX:
                    raise StepError(f"{match[0]} of the kernel's tar has {entry.size} bytes, which is not believable")
                found.setdefault(match[1], {})[match[2]] = b"".join(reader.body()).decode("utf-8", "replace")
    found = {directory: texts for directory, texts in found.items() if "modules.dep" in texts}
    if len(found) > 1:
        raise StepError(
            f"the kernel's tar has the modules of {len(found)} kernels: {', '.join(sorted(found))}",
            "of which one it is cannot be told; use a kernel image with one",
        )
    return next((_parsed(directory, texts) for directory, texts in found.items()), None)


def _parsed(directory: str, texts: Mapping[str, str]) -> _Index:
    """modules.dep(5) and its companions; `modules.dep` names all that must be loaded before a module."""
    aliases: dict[str, list[str]] = {}
    for line in texts.get("modules.alias", "").splitlines():
        match line.split():
            case ["alias", alias, name]:
                aliases.setdefault(module_name(name), []).append(alias)
    soft: dict[str, list[str]] = {}
    for line in texts.get("modules.softdep", "").splitlines():
        match line.split(maxsplit=2):
            case ["softdep", name, rest]:
                soft.setdefault(module_name(name), []).append(rest)
    made = _Index(directory)
    if "modules.builtin" in texts:
        made.builtin = frozenset(map(module_name, texts["modules.builtin"].split()))
    for line in texts["modules.dep"].splitlines():
        path, _, rest = line.partition(":")
        name = module_name(path)
        depends = tuple(map(module_name, rest.split()))
        plain = SUFFIX.sub(".ko", path)
        made.modules[name] = Module(plain, depends, tuple(aliases.get(name, ())), tuple(soft.get(name, ())))
        made.files[path] = name
    return made


def _wanted(type: RootType, index: _Index) -> frozenset[str]:
    """The modules that go into the initrd; none where the kernel can do without.  StepError where it never can."""
    system = MODULES[type]
    if system not in index.modules and index.builtin is not None and system not in index.builtin:
        raise StepError(
            f"this kernel has no {system}, neither as a module nor built in, so it cannot read a root on {type}",
            f"add `{system}` to `kernel: modules:` of its package, use another kernel, or another format",
        )
    if not any(name in index.modules for name in (system, *NEEDED)):
        return frozenset()
    there = [name for name in (system, *DRIVERS) if name in index.modules]
    try:
        return needed(there, index.modules, index.builtin or frozenset())
    except ValueError as error:
        raise StepError(f"the kernel's tar: {error}", "its modules.dep does not fit it; run depmod") from error


def _write(type: RootType, index: _Index, wanted: frozenset[str], place: tuple[Work, BinaryIO]) -> None:
    work, file = place
    first = CpioSink(file, "none")
    first.add(directory(ROOT_DIRECTORY))
    first.close()
    sink = CpioSink(file, "gzip")
    for path in ("bin", "dev", "proc", "sys"):
        sink.add(directory(path.encode()))
    sink.add(Entry(b"dev/console", "char", 0o600, device=(5, 1)))
    busybox = work.inputs["busybox"]
    _check_static(busybox.path)
    sink.add(Entry(b"bin/busybox", "file", 0o755, size=busybox.blob.size), busybox.chunks())
    for name in APPLETS:
        sink.add(Entry(f"bin/{name}".encode(), "symlink", 0o777, target=b"busybox"))
    # The kernel calls /sbin/modprobe for what it wants itself.
    sink.add(Entry(b"sbin", "symlink", 0o777, target=b"bin"))
    _text(sink, b"init", init(type), 0o755)
    base = f"lib/modules/{index.directory.rpartition('/')[2]}"
    for name, text in sorted(index_files(index.modules[name] for name in wanted).items()):
        _text(sink, path_bytes(f"{base}/{name}"), text, 0o644)
    missing = wanted - _copy_modules(index, wanted, work, (sink, base))
    if missing:
        raise StepError(f"the kernel's tar lacks {', '.join(sorted(missing))}, which its modules.dep names")
    sink.close()


def _check_static(program: Path) -> None:
    """StepError for what is no ELF of 64 bits, or needs a dynamic linker (a program header PT_INTERP, elf(5))."""
    with program.open("rb") as file:
        head = file.read(64)
        if len(head) == 64 and head.startswith(b"\x7fELF\x02\x01"):
            table, size, count = (
                struct.unpack_from(form, head, at)[0] for form, at in (("<Q", 32), ("<H", 54), ("<H", 56))
            )
            file.seek(table)
            headers = file.read(size * count)
            if all(headers[at : at + 4] != _INTERPRETER for at in range(0, len(headers), size or 1)):
                return
    raise StepError(
        "the boot loader image's busybox is not a static program of 64 bits",
        "there is nothing beside it in the initrd that it could need; take Debian's busybox-static",
    )


def _text(sink: CpioSink, path: bytes, text: str, mode: int) -> None:
    data = text.encode("utf-8", "surrogateescape")
    sink.add(Entry(path, "file", mode, size=len(data)), [data])


def _copy_modules(index: _Index, wanted: frozenset[str], work: Work, where: tuple[CpioSink, str]) -> set[str]:
    """Put the modules that are wanted into the initrd, decompressed; returns which there were."""
    sink, base = where
    done: set[str] = set()
    with members(LayerFile(work.input("tar"), "the kernel's tar")) as reader:
        for entry in reader:
            match = _FILE.fullmatch(_name(entry))
            if match is None or match[1] != index.directory or entry.kind != "file":
                continue
            name = index.files.get(match[2])
            if name in wanted and name not in done:
                suffix = SUFFIX.search(match[2])
                data = unpacked_module(match[0], suffix[1] if suffix else None, _body(reader, entry))
                path = path_bytes(f"{base}/{index.modules[name].path}")
                sink.add(Entry(path, "file", 0o644, size=len(data)), [data])
                done.add(name)
    return done


def _body(reader: TarReader, entry: Entry) -> bytes:
    if entry.size > MAX_MODULE:
        raise StepError(f"{_name(entry)} has {entry.size} bytes, which no module has")
    return b"".join(reader.body())


def _name(entry: Entry) -> str:
    return "/".join(part.decode("utf-8", "surrogateescape") for part in components(entry.path))
