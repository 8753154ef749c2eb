"""What can be known to fail before a machine is started: missing files, too little memory, ports that are taken."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from lkbuild.archive import initramfs
from lkbuild.disk.boot_reading import Booted, booted
from lkbuild.disk.view import of_file
from lkbuild.errors import MachineError
from lkbuild.machine.media import Media
from lkbuild.machine.options import Arch, MachineOptions, Publish

_SAID: dict[Arch, str] = {"x86_64": "amd64", "aarch64": "arm64"}
_HEAD = 4096
_LEAST = "rootfstype=ramfs"
"""The command line with which an initrd needs least, for those that are not known."""

_PE_MACHINES: dict[int, Arch] = {0x8664: "x86_64", 0xAA64: "aarch64"}

CONSOLES: dict[Arch, str] = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}


def check(options: MachineOptions, media: Media) -> None:
    """MachineError where a file of the medium is unreadable or for other machines, or memory is too little for it."""
    for file in media.files:
        if not os.access(file, os.R_OK):
            raise MachineError(f"{file} cannot be read", "is it there, and readable by you?")
    for program in (media.kernel, media.program):
        arch = None if program is None else made_for(program)
        if arch is not None and arch != options.arch:
            raise MachineError(
                f"{program} is for {arch} machines, and this one is {options.arch}", f"say arch={_SAID[arch]}"
            )
    needed = memory_needed(media)
    if options.memory < needed:
        raise MachineError(
            f"{options.memory} MB of memory are too little: unpacking {_initrd(media)} needs {needed} MB",
            f"say mem={-(-needed // 256) * 256}",
        )


def made_for(program: Path) -> Arch | None:
    """The machines that a kernel or a UEFI program is for; None where its headers do not say.

    Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst; Microsoft's PE format ("Machine Types").
    """
    with program.open("rb") as file:
        head = file.read(_HEAD)
    if head[0x202:0x206] == b"HdrS":
        return "x86_64"
    if head[0x38:0x3C] == b"ARM\x64":
        return "aarch64"
    coff = int.from_bytes(head[0x3C:0x40], "little")
    if head[:2] == b"MZ" and head[coff : coff + 4] == b"PE\0\0":
        return _PE_MACHINES.get(int.from_bytes(head[coff + 4 : coff + 6], "little"))
    return None


def memory_needed(media: Media) -> int:
    """MB below which the kernel cannot unpack the initrd; 0 without one, and where none is found in a medium.

    `archive.initramfs` says why.  Where it is not known what it unpacks to, that is taken to be no less than packed.
    """
    if media.initrd is not None:
        packed, cmdline = media.initrd.stat().st_size, media.cmdline
    elif (found := _booted(media)) is not None:
        packed, cmdline = found.initrd.size, _LEAST if found.cmdline is None else found.cmdline
    else:
        return 0
    return -(-initramfs.memory_needed(packed, max(media.unpacked, packed), cmdline) // (1 << 20))


def _booted(media: Media) -> Booted | None:
    medium = _medium(media)
    if medium is None:
        return None
    with medium.open("rb") as file:
        return booted(of_file(file))


def _medium(media: Media) -> Path | None:
    """What firmware boots; None where QEMU is given the kernel."""
    return None if media.kernel is not None else media.program or media.cdrom or media.disk


def _initrd(media: Media) -> str:
    return str(media.initrd) if media.initrd is not None else f"the initrd in {_medium(media)}"


def silent(options: MachineOptions, media: Media) -> str | None:
    """Why nothing may be seen of the machine; None where its kernel is told to use the serial console."""
    console = CONSOLES[options.arch]
    if media.kernel is None or any(word.startswith(f"console={console}") for word in media.cmdline.split()):
        return None
    return f"the kernel's command line has no console={console}: nothing of it may be seen here"


def ports_free(publish: Iterable[Publish]) -> None:
    """MachineError naming the first port of the host that cannot be listened on."""
    for one in publish:
        kind = socket.SOCK_STREAM if one.protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as listener:
            if one.protocol == "tcp":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((one.address, one.port))
                if one.protocol == "tcp":
                    listener.listen()
            except OSError as error:
                raise _port_error(one, error) from error


def _port_error(one: Publish, error: OSError) -> MachineError:
    instead = f"say publish={one.port + (8000 if one.port < 1024 else 1)}:{one.guest}"
    if error.errno == errno.EADDRINUSE:
        return MachineError(f"port {one.port}/{one.protocol} of this host is in use already", instead)
    if error.errno in (errno.EACCES, errno.EPERM):
        return MachineError(f"port {one.port}/{one.protocol} of this host is for root only", instead)
    where = f"{one.address or 'all addresses'}, port {one.port}/{one.protocol}"
    return MachineError(f"{where}, cannot be listened on: {error.strerror}", "say publish=HOST:GUEST")
