"""A machine's state directory: its MAC address, its disks, its firmware's variables.  One machine at a time uses it.

File names are those of `linuxkit run qemu`, whose state directories can be used.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import uuid
from pathlib import Path
from types import TracebackType

from lkbuild.disk.config_iso import config_iso
from lkbuild.disk.vmlinux import is_zboot
from lkbuild.errors import MachineError, ToolError
from lkbuild.machine.firmware import find
from lkbuild.machine.media import Media
from lkbuild.machine.options import Disk, MachineOptions
from lkbuild.machine.program import make_program_disk
from lkbuild.machine.qemu import Belongings, Drive, Firmware

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_FORMAT_OF_ENDING = {".qcow2": "qcow2", ".vdi": "vdi", ".vhd": "vpc", ".vhdx": "vhdx", ".vmdk": "vmdk"}
_QCOW2 = b"QFI\xfb"


class State:
    """An open state directory.  The lock on it lasts as long as this process or a QEMU that inherits it has it open."""

    def __init__(self, directory: Path) -> None:
        """Make the directory where needed, and lock it; MachineError where a machine runs with it already."""
        self.directory = directory.absolute()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise MachineError(
                f"the state directory {directory} cannot be used: {error.strerror}", "say state=DIR for another"
            ) from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self.lock)
            raise _in_use(self.directory) from error

    def __enter__(self) -> State:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give up this process's part of the lock."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def prepare(self, options: MachineOptions, media: Media) -> Belongings:
        """Make what is not there yet, and say what there is."""
        try:
            return Belongings(
                self.directory,
                self.mac(),
                self.uuid(),
                tuple(self._disk(disk, number) for number, disk in enumerate(options.disks)),
                None if options.data is None else self._data(options.data),
                self._firmware(options, media),
                None if media.program is None else self._program_disk(media.program),
            )
        except OSError as error:
            raise MachineError(
                f"the state directory {self.directory} cannot be written: {error}", "make room, or say state=DIR"
            ) from error

    def mac(self) -> str:
        """The machine's MAC address: made up once, locally administered, kept."""
        made = bytearray(secrets.token_bytes(6))
        made[0] = made[0] & 0xFC | 2
        text = self._kept("mac-addr", ":".join(f"{byte:02x}" for byte in made)).lower()
        if not _MAC.fullmatch(text) or int(text[:2], 16) & 1:
            raise MachineError(f"{self.directory / 'mac-addr'} holds {text[:40]!r}, no MAC address", "delete the file")
        return text

    def uuid(self) -> str:
        """The machine's UUID, which its firmware tells it: made up once, kept."""
        text = self._kept("uuid", str(uuid.uuid4()))
        try:
            return str(uuid.UUID(text))
        except ValueError as error:
            raise MachineError(f"{self.directory / 'uuid'} holds {text[:40]!r}, no UUID", "delete the file") from error

    def _kept(self, name: str, otherwise: str) -> str:
        file = self.directory / name
        try:
            return file.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            self._write(file, otherwise.encode())
            return otherwise

    def _write(self, file: Path, data: bytes) -> None:
        temporary = file.with_name(f".{file.name}.new")
        temporary.write_bytes(data)
        temporary.replace(file)

    def _data(self, data: bytes) -> Path:
        file = self.directory / "data.iso"
        self._write(file, config_iso(data))
        return file

    def _program_disk(self, program: Path) -> Path:
        file = self.directory / "program.img"
        make_program_disk(program, file)
        return file

    def _disk(self, disk: Disk, number: int) -> Drive:
        file = (disk.file or self.directory / f"disk{number or ''}.img").absolute()
        kind = disk.format or ("qcow2" if disk.size else _FORMAT_OF_ENDING.get(file.suffix.lower(), "raw"))
        if not file.exists():
            if not disk.size:
                raise MachineError(f"there is no disk {file}", f"say disk=size=1G,file={disk.file} to make one")
            make_disk(file, kind, disk.size)
        elif not file.is_block_device():
            _check_format(file, kind, said=bool(disk.format))
        return Drive(file, kind)

    def _firmware(self, options: MachineOptions, media: Media) -> Firmware | None:
        # QEMU's `virt` machine has no firmware of its own, so that everything but a kernel needs UEFI there; so does a
        # kernel that is a program which unpacks itself.
        needed = options.arch == "aarch64" and (media.kernel is None or is_zboot(media.kernel))
        if not (options.uefi or media.uefi or options.firmware or needed):
            return None
        code, beginning = find(options.arch, options.firmware)
        kept = self.directory / ("firmware.fd" if beginning is None else "firmware-variables.fd")
        if not kept.exists():
            temporary = kept.with_name(f".{kept.name}.new")
            shutil.copyfile(beginning or code, temporary)
            temporary.replace(kept)
        return Firmware(kept) if beginning is None else Firmware(code.absolute(), kept)


def make_disk(file: Path, format: str, size: int) -> None:
    """Make an empty disk of `size` MB: raw ones as a sparse file, others with qemu-img."""
    temporary = file.with_name(f".{file.name}.new")
    try:
        if format == "raw":
            with temporary.open("wb") as made:
                made.truncate(size << 20)
        else:
            _qemu_img(temporary, format, size)
        temporary.replace(file)
    except OSError as error:
        raise MachineError(
            f"the disk {file} cannot be made: {error.strerror}", "say file= for another place"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _qemu_img(file: Path, format: str, size: int) -> None:
    tool = shutil.which("qemu-img")
    if tool is None:
        raise ToolError(
            f"qemu-img, which makes {format} disks, is not installed",
            "sudo apt-get install qemu-utils, or say disk=format=raw,file=FILE",
        )
    done = subprocess.run(
        [tool, "create", "-q", "-f", format, os.fspath(file), f"{size}M"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolError(f"qemu-img cannot make {file.name}: {done.stderr.strip()}", "is there room on the disk?")


def _check_format(file: Path, format: str, said: bool) -> None:
    """A raw disk is never taken for another format by what is in it, since a guest may write there what it likes: QEMU
    would then open what files it names.  Where nothing was said, it is asked about.
    """
    try:
        with file.open("rb") as opened:
            is_qcow2 = opened.read(4) == _QCOW2
    except OSError as error:
        raise MachineError(f"the disk {file} cannot be read: {error.strerror}", "name another") from error
    if format == "qcow2" and not is_qcow2:
        raise MachineError(
            f"the disk {file} is to be qcow2, but is not", f"say disk=format=raw,file={file} if that is what it is"
        )
    if format == "raw" and is_qcow2 and not said:
        raise MachineError(
            f"the disk {file} seems to be qcow2", f"say disk=format=qcow2,file={file}, or disk=format=raw,file={file}"
        )


def _in_use(directory: Path) -> MachineError:
    try:
        number = (directory / "qemu.pid").read_text("ascii", "replace").strip()[:10]
    except OSError:
        number = ""
    process = f" (process {number})" if number.isdecimal() else ""
    return MachineError(
        f"a machine with the state {directory} is running already{process}",
        "end it first, or say state=DIR for a second one",
    )
