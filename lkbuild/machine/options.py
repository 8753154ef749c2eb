"""What a machine is to have: processors, memory, disks, ports, metadata.  Text becomes these values here, once.

The words are those of `linuxkit run qemu`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast

from lkbuild.errors import UsageError
from lkbuild.frozen import frozen

Arch = Literal["x86_64", "aarch64"]
Accel = Literal["auto", "kvm", "tcg"]
Protocol = Literal["tcp", "udp"]

MAX_DATA = 16 << 20
"""Bytes of metadata a machine can be given."""

DISK_FORMATS = ("qcow2", "raw", "vdi", "vhdx", "vmdk", "vpc")
_ARCHES: dict[str, Arch] = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_UNITS = {"": 1, "M": 1, "G": 1 << 10, "T": 1 << 20}
_MAX_MEMORY, _MAX_DISK, _MAX_CPUS = 4 << 20, 1 << 24, 255


@frozen
class Publish:
    """A port of the guest that the host's `port` leads to; `address` is the host's, empty for all of them."""

    port: int
    guest: int
    protocol: Protocol = "tcp"
    address: str = ""

    def __str__(self) -> str:
        return f"{self.address + ':' if self.address else ''}{self.port}:{self.guest}/{self.protocol}"


@frozen
class Disk:
    """A disk.  `size` in MB for one that is to be made; without a `file` it lies in the state directory."""

    file: Path | None = None
    size: int = 0
    format: str = ""


@frozen
class MachineOptions:
    """How a machine is run.  `memory` is in MB; `data` is what it finds in the file `config` of a CD; `uefi` where
    firmware is wanted though the medium does not need it; `firmware` is a file to be used for it.
    """

    arch: Arch = "x86_64"
    cpus: int = 1
    memory: int = 1024
    publish: tuple[Publish, ...] = ()
    disks: tuple[Disk, ...] = ()
    data: bytes | None = None
    accel: Accel = "auto"
    uefi: bool = False
    firmware: Path | None = None


def parse_publish(text: str) -> Publish:
    """`8080:80`, `5353:53/udp` or `127.0.0.1:8080:80`; UsageError for anything else."""
    ports, slash, protocol = text.partition("/")
    parts = ports.split(":")
    if len(parts) not in (2, 3):
        raise UsageError(f"publish {text!r} is not HOST:GUEST", "say 8080:80, 5353:53/udp or 127.0.0.1:8080:80")
    if slash and protocol.lower() not in ("tcp", "udp"):
        raise UsageError(f"publish {text!r}: {protocol!r} is no protocol", "it is tcp or udp")
    *address, host, guest = parts
    for each in address:
        try:
            ipaddress.IPv4Address(each)
        except ValueError as error:
            raise UsageError(f"publish {text!r}: {each!r} is no IPv4 address", "say 127.0.0.1:8080:80") from error
    kind = cast(Protocol, protocol.lower() if slash else "tcp")
    return Publish(_port(host, text), _port(guest, text), kind, "".join(address))


def _port(number: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", number) or not 0 < int(number) < 65536:
        raise UsageError(f"publish {text!r}: {number!r} is no port", "a port is a number from 1 to 65535")
    return int(number)


def published(texts: Iterable[str]) -> tuple[Publish, ...]:
    """Several ports; UsageError where two ask for the same port of the host."""
    ports = tuple(map(parse_publish, texts))
    for number, one in enumerate(ports):
        for other in ports[:number]:
            same = (one.port, one.protocol) == (other.port, other.protocol)
            if same and (one.address == other.address or not one.address or not other.address):
                raise UsageError(
                    f"publish: {other} and {one} want the same port of the host", "give one of them another port"
                )
    return ports


def parse_memory(text: str) -> int:
    """MB from `512`, `512M` or `2G`."""
    return _megabytes(text, "mem", 16, _MAX_MEMORY)


def parse_cpus(text: str) -> int:
    """A number of processors."""
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 0 < int(text) <= _MAX_CPUS:
        raise UsageError(f"cpus {text!r} is no number of processors", f"say a number from 1 to {_MAX_CPUS}")
    return int(text)


def parse_accel(text: str) -> Accel:
    """`auto`, `kvm` or `tcg`."""
    if text not in ("auto", "kvm", "tcg"):
        raise UsageError(
            f"accel {text!r} is not known", "auto finds out what works; kvm is the processor's, tcg QEMU's own"
        )
    return cast(Accel, text)


def parse_arch(text: str) -> Arch:
    """The architecture as QEMU calls it, from its name or OCI's (`amd64`, `arm64`)."""
    if text not in _ARCHES:
        raise UsageError(f"no machine of architecture {text!r} can be run", f"one of {', '.join(_ARCHES)}")
    return _ARCHES[text]


def parse_disk(text: str) -> Disk:
    """`[file=]FILE[,size=1G][,format=qcow2]` in any order; UsageError for what is neither."""
    given: dict[str, str] = {}
    for number, part in enumerate(text.split(",")):
        name, equals, value = part.partition("=")
        if not equals and number == 0:
            name, value = "file", part
        if name not in ("file", "size", "format"):
            raise UsageError(f"disk {text!r}: {part!r} is not known", "say disk=size=1G,format=qcow2,file=FILE")
        if not value or name in given:
            raise UsageError(
                f"disk {text!r}: {name} is given {'twice' if value else 'no value'}",
                "say disk=size=1G,format=qcow2,file=FILE",
            )
        given[name] = value
    kind = given.get("format", "")
    if kind and kind not in DISK_FORMATS:
        raise UsageError(f"disk {text!r}: {kind!r} is no format of a disk", f"one of {', '.join(DISK_FORMATS)}")
    size = _megabytes(given["size"], "disk size", 1, _MAX_DISK) if "size" in given else 0
    if not size and "file" not in given:
        raise UsageError(f"disk {text!r} has neither a file nor a size", "say disk=size=1G for a new one")
    return Disk(Path(given["file"]).expanduser() if "file" in given else None, size, kind)


def data_of(text: str | None, file: str | None) -> bytes | None:
    """Metadata from a string or a file; UsageError where there are both, or the file cannot be read or is too large."""
    if text is not None and file is not None:
        raise UsageError("metadata is given as a string and as a file", "give data or data-file")
    if file is None:
        data = None if text is None else text.encode()
    else:
        try:
            with Path(file).expanduser().open("rb") as opened:
                data = opened.read(MAX_DATA + 1)
        except OSError as error:
            raise UsageError(f"metadata cannot be read: {error}", "name a file that is there") from error
    if data is not None and len(data) > MAX_DATA:
        raise UsageError(f"metadata is larger than {MAX_DATA >> 20} MB", "put large things on a disk")
    return data


def _megabytes(text: str, what: str, least: int, most: int) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([MGT]?)(?:i?B)?", text, re.IGNORECASE)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not match:
        raise UsageError(f"{what} {text!r} is no size", "say megabytes, or 512M, or 2G")
    if not least <= size <= most:
        raise UsageError(f"{what} {text!r} is {size} MB", f"it can be from {least} to {most} MB")
    return size
