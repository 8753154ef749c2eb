"""QEMU's command line for a machine: values in, argv out.

Disks and CDs hang on a virtio-scsi controller: guests then see `/dev/sda` and `/dev/sr0`, as under `linuxkit run qemu`,
and need one driver, which kernels for the cloud have where they lack AHCI.  A disk that is booted is virtio-blk: Linux
gives out the names sda, sdb, ... as probing happens to end, and `root=/dev/vda` must be right.  The network card gets
no option ROM, since that is a Debian package of its own and nothing is booted from the network.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lkbuild.errors import ToolError
from lkbuild.frozen import frozen
from lkbuild.machine.accel import Accelerator
from lkbuild.machine.media import Media
from lkbuild.machine.options import Arch, MachineOptions, Publish

PACKAGES: dict[Arch, str] = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
_MACHINES: dict[Arch, str] = {"x86_64": "q35", "aarch64": "virt,gic-version=max"}


@frozen
class Drive:
    """A disk image that is there, and QEMU's name for its format."""

    file: Path
    format: str


@frozen
class Firmware:
    """UEFI firmware: its code and the machine's own variables, or one file with both, which is the machine's own."""

    code: Path
    variables: Path | None = None


@frozen
class Belongings:
    """What a machine keeps from one boot to the next, ready to be attached; `program_disk` has the program to boot."""

    directory: Path
    mac: str
    uuid: str
    disks: tuple[Drive, ...] = ()
    data: Path | None = None
    firmware: Firmware | None = None
    program_disk: Path | None = None


@frozen
class Wiring:
    """How we reach QEMU: the number of the QMP socket's descriptor, and whether its console is a person's terminal.

    On a terminal, Ctrl-A is the escape: Ctrl-A X ends QEMU, Ctrl-A C is its monitor; all else goes to the guest.
    `ports` are virtio-serial ports of the guest, by name, and the descriptors of the sockets they lead to.
    """

    qmp: int
    terminal: bool
    ports: tuple[tuple[str, int], ...] = ()


def program(arch: Arch) -> Path:
    """The QEMU that runs machines of `arch`; ToolError saying what to install where there is none."""
    found = shutil.which(f"qemu-system-{arch}")
    if found is None:
        raise ToolError(f"qemu-system-{arch} is not installed", f"sudo apt-get install {PACKAGES[arch]}")
    return Path(found)


def command(
    options: MachineOptions, media: Media, belongings: Belongings, accelerator: Accelerator, wiring: Wiring
) -> list[str]:
    """What to execute, without the program itself.  All paths are absolute."""
    return [
        "-name", f"guest={_escaped(media.name.name)}",
        "-uuid", belongings.uuid,
        "-machine", _MACHINES[options.arch],
        *accelerator.argv,
        "-smp", str(options.cpus),
        "-m", f"{options.memory}M",
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        *_console(wiring),
        "-pidfile", os.fspath(belongings.directory / "qemu.pid"),
        "-device", "virtio-rng-pci",
        *(["-device", "virtio-keyboard-pci"] if needs_power_key(options, belongings) else []),
        *_network(options.publish, belongings.mac),
        *_ports(wiring.ports),
        *_drives(media, belongings),
        *_boot(media, belongings.firmware),
    ]  # fmt: skip


def needs_power_key(options: MachineOptions, belongings: Belongings) -> bool:
    """Whether a machine has its power button on a keyboard.

    An arm64 machine without firmware has no ACPI.  Its own button is wired to a GPIO; kernels for the cloud, such as
    Debian's, have no driver for such buttons, but one for the keyboard.
    """
    return options.arch == "aarch64" and belongings.firmware is None


def _console(wiring: Wiring) -> list[str]:
    """The serial console on standard input and output; signal=off lets Ctrl-C reach the guest."""
    mux = ",mux=on" if wiring.terminal else ""
    monitor = ["-mon", "chardev=console,mode=readline"] if wiring.terminal else []
    return [
        "-chardev", f"stdio,id=console,signal=off{mux}",
        "-serial", "chardev:console",
        *monitor,
        "-chardev", f"socket,id=qmp,fd={wiring.qmp}",
        "-mon", "chardev=qmp,mode=control",
    ]  # fmt: skip


def _network(publish: tuple[Publish, ...], mac: str) -> list[str]:
    forwards = "".join(f",hostfwd={p.protocol}:{p.address}:{p.port}-:{p.guest}" for p in publish)
    return ["-netdev", f"user,id=net0{forwards}", "-device", f"virtio-net-pci,netdev=net0,mac={mac},romfile="]


def _ports(ports: tuple[tuple[str, int], ...]) -> list[str]:
    """Ports that a guest finds by their names in /sys/class/virtio-ports, with the driver virtio_console."""
    argv = ["-device", "virtio-serial-pci"] if ports else []
    for number, (name, descriptor) in enumerate(ports):
        argv += ["-chardev", f"socket,id=port{number},fd={descriptor}"]
        argv += ["-device", f"virtserialport,chardev=port{number},name={_escaped(name)}"]
    return argv


def _drives(media: Media, belongings: Belongings) -> list[str]:
    """The medium first, then the disks in their order, then the metadata."""
    argv = _boot_disk(media, belongings.program_disk)
    found: list[tuple[str, str, Path]] = []
    if media.cdrom is not None:
        found.append(("scsi-cd,bootindex=0", "format=raw,readonly=on", media.cdrom))
    for number, disk in enumerate(belongings.disks):
        found.append((f"scsi-hd,serial=disk{number}", f"format={disk.format},discard=unmap", disk.file))
    if belongings.data is not None:
        found.append(("scsi-cd", "format=raw,readonly=on", belongings.data))
    argv += ["-device", "virtio-scsi-pci,id=scsi"] if found else []
    for number, (device, how, file) in enumerate(found):
        argv += ["-drive", f"if=none,id=drive{number},{how},file={_escaped(os.fspath(file))}"]
        argv += ["-device", f"{device},bus=scsi.0,scsi-id={number},drive=drive{number}"]
    return argv


def _boot_disk(media: Media, program_disk: Path | None) -> list[str]:
    """What was built stays as it was built: what a boot writes to it is forgotten when the machine ends."""
    disk, format = (media.disk, media.disk_format) if program_disk is None else (program_disk, "raw")
    if disk is None:
        return []
    access, first = ("readonly=on", "") if media.kernel is not None else ("snapshot=on", ",bootindex=0")
    return [
        "-drive", f"if=none,id=boot,format={format},{access},file={_escaped(os.fspath(disk))}",
        "-device", f"virtio-blk-pci,drive=boot{first}",
    ]  # fmt: skip


def _boot(media: Media, firmware: Firmware | None) -> list[str]:
    argv = []
    if firmware is not None:
        access = ",readonly=on" if firmware.variables is not None else ""
        argv += ["-drive", f"if=pflash,unit=0,format=raw{access},file={_escaped(os.fspath(firmware.code))}"]
        if firmware.variables is not None:
            argv += ["-drive", f"if=pflash,unit=1,format=raw,file={_escaped(os.fspath(firmware.variables))}"]
    if media.kernel is not None:
        argv += ["-kernel", os.fspath(media.kernel)]
        argv += ["-initrd", os.fspath(media.initrd)] if media.initrd is not None else []
        argv += ["-append", media.cmdline] if media.cmdline else []
    return argv


def _escaped(text: str) -> str:
    """A value within QEMU's comma-separated options, where a comma is written twice."""
    return text.replace(",", ",,")
