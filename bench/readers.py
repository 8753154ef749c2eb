"""Who reads which file back, by its ending: programs that are not ours, each of which must be content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

Reader = Callable[[Path, Path], list[str]]
"""Reads a file or directory, with a directory for what it needs; returns the programs that were content."""


def said(*command: str | Path, into: Path | None = None, given: bytes | None = None) -> str:
    """What a program prints; SystemExit where it is missing or not content."""
    program = shutil.which(str(command[0]), path=_PATH)
    if program is None:
        raise SystemExit(f"needs {command[0]}")
    done = subprocess.run([program, *map(str, command[1:])], capture_output=True, input=given, cwd=into)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {(done.stdout + done.stderr).decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def disk(path: Path, scratch: Path) -> list[str]:
    """A raw disk: its partition table, and the FAT in its first partition."""
    partitions = json.loads(said("sfdisk", "--json", path))["partitiontable"]
    said("sfdisk", "-V", path)
    names = ["sfdisk -V"]
    if partitions["label"] == "gpt":
        if "No problems found" not in said("sgdisk", "-v", path):
            raise SystemExit(f"sgdisk -v {path}")
        names.append("sgdisk -v")
    first, part = partitions["partitions"][0], scratch / "partition"
    with path.open("rb") as source, part.open("wb") as target:
        source.seek(first["start"] * 512)
        left = first["size"] * 512
        while left and (piece := source.read(min(MIB, left))):
            target.write(piece) if any(piece) else target.seek(len(piece), os.SEEK_CUR)
            left -= len(piece)
        target.truncate()
    return [*names, *fat(part, scratch)]


def fat(path: Path, scratch: Path) -> list[str]:
    """A FAT file system."""
    said("fsck.vfat", "-n", path)
    said("mdir", "-/", "-i", path, "::")
    return ["fsck.vfat -n", "mdir"]


def hypervisors(kind: str, checks: bool) -> Reader:
    """A disk in a format of QEMU's: converted to a raw one, which is read in its turn."""

    def reader(path: Path, scratch: Path) -> list[str]:
        names, raw = [], scratch / "raw"
        if checks:
            said("qemu-img", "check", "-f", kind, path)
            names.append("qemu-img check")
        said("qemu-img", "convert", "-f", kind, "-O", "raw", path, raw)
        said("qemu-img", "compare", "-f", kind, "-F", "raw", path, raw)
        return [*names, "qemu-img convert, compare", *disk(raw, scratch)]

    return reader


def iso(path: Path, scratch: Path) -> list[str]:
    """An ISO."""
    said("xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain")
    said("isoinfo", "-R", "-l", "-i", path)
    names = ["xorriso -indev", "isoinfo"]
    if b"EFI PART" in path.open("rb").read(1024):
        said("sgdisk", "-v", path)
        names.append("sgdisk -v")
    return names


def tar(path: Path, scratch: Path) -> list[str]:
    """A tar, compressed or not."""
    said("tar", "-tf", path)
    return ["tar -t"]


def cloud(path: Path, scratch: Path) -> list[str]:
    """A tar with a disk in it."""
    said("tar", "-xzSf", path, "-C", scratch)
    return ["tar -xzS", *disk(scratch / "disk.raw", scratch)]


def initrd(path: Path, scratch: Path) -> list[str]:
    """Archives one after the other, each compressed on its own or not at all."""
    count = 0
    for archive in archives(path.read_bytes()):
        said("cpio", "-it", "--quiet", given=archive)
        count += 1
    return [f"cpio -it ({count} archives)"]


def archives(data: bytes) -> Iterator[bytes]:
    """The plain archives of an initrd; of those that are not compressed, all up to the next that is."""
    while data := data.lstrip(b"\0"):
        if data.startswith(b"070701"):
            ends = [at for magic in (_GZIP, _ZSTD) if (at := data.find(b"\0\0" + magic)) > 0]
            end = min(ends, default=len(data))
            yield data[:end]
            data = data[end:]
            continue
        unpacker = zlib.decompressobj(31) if data.startswith(_GZIP) else zstd.ZstdDecompressor()
        plain = unpacker.decompress(data)
        data = unpacker.unused_data
        yield plain


def program(path: Path, scratch: Path) -> list[str]:
    """A UEFI program: its sections, and a signature with a key made for it."""
    sections = said("objdump", "-h", path)
    if not all(name in sections for name in (".linux", ".initrd", ".cmdline")):
        raise SystemExit(f"objdump -h {path}: {sections}")
    key, certificate, signed = (scratch / name for name in ("key", "certificate", "signed"))
    said(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=test",
        "-keyout",
        key,
        "-out",
        certificate,
    )
    said("sbsign", "--key", key, "--cert", certificate, "--output", signed, path)
    said("sbverify", "--cert", certificate, signed)
    return ["objdump -h", "sbsign", "sbverify"]


def layout(path: Path, scratch: Path) -> list[str]:
    """An OCI image layout."""
    tag = said("umoci", "ls", "--layout", path).split()[0]
    said("skopeo", "inspect", f"oci:{path}:{tag}")
    said("skopeo", "--insecure-policy", "copy", f"oci:{path}:{tag}", f"dir:{scratch / 'copy'}")
    said("umoci", "unpack", "--rootless", "--image", f"{path}:{tag}", scratch / "bundle")
    return ["skopeo inspect", "skopeo copy", "umoci unpack"]


def firecracker(path: Path, scratch: Path) -> list[str]:
    """Firecracker's directory."""
    json.loads((path / "config.json").read_text())
    said("readelf", "-h", path / "vmlinux")
    return ["readelf -h", "json", *initrd(path / "initrd.img", scratch)]


def program_said(*command: str) -> Reader:
    """A program that is told the file."""

    def reader(path: Path, scratch: Path) -> list[str]:
        said(*command, path)
        return [" ".join(command)]

    return reader


READERS: tuple[tuple[str, Reader], ...] = (
    ("-initrd.img", initrd),
    ("-squashfs.img", program_said("unsquashfs", "-s")),
    ("-erofs.img", program_said("fsck.erofs")),
    (".img.tar.gz", cloud),
    (".tar", tar),
    (".docker", tar),
    (".iso", iso),
    (".img", disk),
    (".raw", disk),
    (".qcow2", hypervisors("qcow2", True)),
    (".vmdk", hypervisors("vmdk", True)),
    (".vhdx", hypervisors("vhdx", True)),
    (".vhd", hypervisors("vpc", False)),
    (".efi", program),
    ("-oci", layout),
    ("-firecracker", firecracker),
)
"""The first ending that fits says who reads it; kernels and command lines are read by nobody but machines."""


def read_back(directory: Path, scratch: Path) -> list[str]:
    """Have every file of a format read; the programs that were content, each once."""
    names: list[str] = []
    for path in sorted(directory.iterdir()):
        reader = next((reader for ending, reader in READERS if path.name.endswith(ending)), None)
        if reader is not None:
            scratch.mkdir()
            names += reader(path, scratch)
            shutil.rmtree(scratch)
    return list(dict.fromkeys(names))


def gzipped(directory: Path, timed: Callable[[Sequence[str | Path]], float], scratch: Path) -> float | None:
    """Seconds of `gzip -1` of the disk in a file of a format that compresses; None for others."""
    for path in directory.iterdir():
        if path.name.endswith((".vmdk", ".img.tar.gz")):
            raw = scratch / "raw"
            scratch.mkdir()
            if path.suffix == ".vmdk":
                said("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, raw)
            else:
                raw.write_bytes(b"")
                said("sh", "-c", 'gzip -dc "$1" > "$2"', "sh", path, raw)
            seconds = timed(["gzip", "-1", "-c", raw])
            shutil.rmtree(scratch)
            return seconds
    return None
