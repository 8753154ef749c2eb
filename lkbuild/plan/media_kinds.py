"""The kinds of steps that make boot media of a kernel, an initrd and a command line; see `plan.kinds`."""

from __future__ import annotations

from typing import Literal

from lkbuild.frozen import frozen

LoaderRole = Literal[
    "syslinux", "syslinux.c32", "mbr", "gptmbr", "isolinux", "isohdpfx", "stub", "systemd-boot", "busybox"
]
"""A file of the boot loaders' image, by what it is for."""

BIOS_DISK: tuple[LoaderRole, ...] = ("syslinux", "syslinux.c32", "mbr", "gptmbr")
BIOS_ISO: tuple[LoaderRole, ...] = ("isolinux", "syslinux.c32", "isohdpfx")
EFI: tuple[LoaderRole, ...] = ("stub",)
MENU: tuple[LoaderRole, ...] = ("systemd-boot",)
ROOT: tuple[LoaderRole, ...] = ("busybox",)


@frozen
class Loaders:
    """Take boot loaders' files out of an image, under the names of their roles."""

    architecture: str
    roles: tuple[LoaderRole, ...]


@frozen
class Medium:
    """A disk, an ISO or a UEFI program that boots the machine: one of `steps.medium.MAKERS`.

    `size` in MB; it is made a multiple of `unit`, where the end of a disk must not move later (the copy of a GPT).
    """

    maker: str
    title: str
    size: int | None = None
    unit: int = 1

    @property
    def bytes(self) -> int | None:
        """The size in bytes, where one was said, of whole units."""
        return None if self.size is None else -(-self.size // self.unit) * self.unit << 20


@frozen
class Converted:
    """A raw disk in another format: one of `steps.converted.FORMATS`.  `size` in MB is that of the raw disk."""

    format: str
    size: int | None = None


@frozen
class KernelInitrdTar:
    """A tar of `kernel`, `initrd.img`, `cmdline` and `ucode.cpio`, as there are inputs."""


@frozen
class Unpacked:
    """A kernel without its compression, as Firecracker starts it: an ELF, or for arm64 an `Image`.

    With `program`, one that UEFI firmware can start stays as it is.
    """

    architecture: str
    program: bool = False


@frozen
class FirecrackerConfig:
    """The machine for Firecracker, of `memory` MiB or what the input `initrd` needs: the input `cmdline`, and what the
    machine wants beside it.
    """

    memory: int = 1024


@frozen
class OciLayout:
    """A root filesystem as an OCI image layout of one image, `name`:latest."""

    name: str
    architecture: str


@frozen
class Firmware:
    """What an image has under boot/ for a Raspberry Pi's first partition, and the kernel's device trees."""


@frozen
class Rpi3:
    """The files of a Raspberry Pi 3's first partition, as a tar."""
