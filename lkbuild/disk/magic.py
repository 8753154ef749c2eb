"""What a file is, by the bytes that formats are known by."""

from __future__ import annotations

from typing import BinaryIO, Literal

Magic = Literal[
    "qcow2", "vmdk", "vhdx", "dynamic-vhd", "squashfs", "erofs", "program", "cpio", "zstd", "gzip", "tar", "iso", "disk"
]

_MAGIC: tuple[tuple[int, bytes, Magic], ...] = (
    (0, b"070701", "cpio"),
    (0, b"070702", "cpio"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x1f\x8b", "gzip"),
    (257, b"ustar", "tar"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "dynamic-vhd"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (0, b"MZ", "program"),
    (0x8001, b"CD001", "iso"),
    (510, b"\x55\xaa", "disk"),
)
"""Where each stands; in front are those that others' may be found in, as the name of a tar's first file."""


def magics(file: BinaryIO) -> tuple[Magic, ...]:
    """What an open file may be, the likeliest first; nothing where nothing is known."""
    found: list[Magic] = []
    for at, magic, name in _MAGIC:
        file.seek(at)
        if file.read(len(magic)) == magic:
            found.append(name)
    return tuple(found)
