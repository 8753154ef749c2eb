"""How much memory a machine needs whose root filesystem is unpacked from an initrd."""

from __future__ import annotations

KERNEL = 48 << 20
"""Bytes that Debian's kernel takes of a small machine for itself; seen: 320 MB leave 279."""


def memory_needed(packed: int, unpacked: int, cmdline: str) -> int:
    """Bytes below which the kernel cannot unpack an initrd of `packed` bytes, which unpacks to `unpacked`.

    The initrd lies in memory as it was loaded while it is unpacked, into a tmpfs that may take half of what the kernel
    leaves, unless `root=` or `rootfstype=` make it a ramfs, which may take all (init/do_mounts.c, `init_rootfs`).
    """
    halves = 1 if any(word.startswith(("root=", "rootfstype=")) for word in cmdline.split()) else 2
    return KERNEL + halves * unpacked + packed
