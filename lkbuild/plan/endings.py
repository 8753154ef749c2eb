"""What each format's files are called, before anything is planned: two formats of one path are known to be at odds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

_KERNEL = "-kernel"

ENDINGS: dict[str, tuple[str, ...]] = {
    "kernel+initrd": (_KERNEL, "-initrd.img"),
    "tar": (".tar",),
    "docker": (".docker",),
    "oci": ("-oci",),
    "kernel+squashfs": (_KERNEL, "-squashfs.img"),
    "kernel+erofs": (_KERNEL, "-erofs.img"),
    "kernel+iso": (_KERNEL, ".iso"),
    "tar-kernel-initrd": ("-initrd.tar",),
    "iso-bios": (".iso",),
    "iso-efi": ("-efi.iso",),
    "iso-efi-initrd": ("-efi-initrd.iso",),
    "iso-hybrid": ("-hybrid.iso",),
    "raw-bios": ("-bios.img",),
    "raw-efi": ("-efi.img",),
    "raw-hybrid": ("-hybrid.img",),
    "qcow2-bios": (".qcow2",),
    "qcow2-efi": ("-efi.qcow2",),
    "qcow2-hybrid": ("-hybrid.qcow2",),
    "aws": (".raw",),
    "gcp": (".img.tar.gz",),
    "vhd": (".vhd",),
    "dynamic-vhd": (".vhd",),
    "vhdx": (".vhdx",),
    "vmdk": (".vmdk",),
    "uki": (".efi",),
    "firecracker": ("-firecracker/vmlinux", "-firecracker/initrd.img", "-firecracker/config.json"),
    "rpi3": (".tar",),
}
"""For each of `plan.outputs.FORMATS` the endings of the files that it always has; a kernel where the spec has one.

NB: a command line and the small initrd of a root on a disk are not always there, and never without a kernel.
"""


def shared(formats: Iterable[str], kernel: bool) -> Iterator[tuple[str, str, str]]:
    """Each two of these formats that would write one path, in their order, and its ending."""
    for first, second in combinations(dict.fromkeys(formats), 2):
        both = (e for e in ENDINGS[first] if e in ENDINGS[second] and (kernel or e != _KERNEL))
        ending = next(both, None)
        if ending is not None:
            yield first, second, ending
