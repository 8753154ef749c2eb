"""What goes onto a medium, told from numbers alone: how small one can be, how large, and what is too much for it.

The writers of media refuse what does not fit, to the byte.  This is known before: sizes that are lower bounds (a part
not made yet counts as nothing) already tell what can never fit.
"""

from __future__ import annotations

from collections.abc import Callable

from lkbuild.disk.fat_geometry import for_clusters, of_size
from lkbuild.disk.fat_tree import MAX_FILE
from lkbuild.disk.iso import MAX_SIZE as MAX_ISO
from lkbuild.disk.layout import MIB, PAGE, round_up
from lkbuild.disk.limits import size_text, too_large
from lkbuild.disk.uki import MAX_IMAGE
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

Part = tuple[str, int]
"""What it is, for messages, and its bytes."""

MBR, GPT = MIB, 2 * MIB
"""What of a disk its partition does not get: the MiB before it, and the copy of the GPT behind it."""

MAX_DISK = 2 << 40
"""2 TiB: sectors have 32 bits in an MBR and in a FAT."""


@frozen
class Contents:
    """What is known to go onto a medium: the parts of the kernel and of the initrd; there may be more."""

    kernel: tuple[Part, ...]
    initrd: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts."""
        return self.kernel + self.initrd


Limit = Callable[[Contents, int | None], StepError | None]
"""Why these contents do not fit on a medium of so many bytes (None: as large as need be); None where they may fit."""


def least_disk(around: int) -> int:
    """The bytes of the smallest disk with a FAT32 and `around` bytes beside it."""
    found = for_clusters(lambda _: 1, 32, 0)
    if found is None:
        raise ValueError("a FAT32 holds one cluster")
    return found[1] + around


def _sum(parts: tuple[Part, ...]) -> int:
    return sum(size for _, size in parts)


def _files(contents: Contents) -> tuple[tuple[Part, ...], ...]:
    return contents.kernel, contents.initrd


def _unified(contents: Contents) -> tuple[tuple[Part, ...], ...]:
    return (contents.parts,)


def _disk(around: int, files: Callable[[Contents], tuple[tuple[Part, ...], ...]]) -> Limit:
    """A disk of one FAT32 with `around` bytes beside it, and these files on it."""

    def limit(contents: Contents, size: int | None) -> StepError | None:
        for parts in files(contents):
            if _sum(parts) > MAX_FILE:
                what = f"a file of {size_text(_sum(parts))} (a FAT has files of at most {size_text(MAX_FILE)})"
                return _refused(what, parts)
        geometry = None if size is None else of_size(size - around, 32, 0)
        if size is None or geometry is None:
            return None

        def needed(cluster: int) -> int:
            return sum(round_up(_sum(parts), max(cluster, PAGE)) for parts in files(contents)) // cluster

        if needed(geometry.cluster) <= geometry.clusters:
            return None
        room, wanted = (size_text(count * geometry.cluster) for count in (geometry.clusters, needed(geometry.cluster)))
        what = f"a disk of {size_text(size)} has room for {room}, and kernel and initrd need {wanted}"
        smallest = for_clusters(needed, 32, 0)
        least = f", at least size={(smallest[1] + around) // MIB}M," if smallest else ""
        return too_large(what, contents.parts, f"give a larger size{least} or make the largest parts smaller")

    return limit


def _program(contents: Contents, size: int | None) -> StepError | None:
    """A unified kernel image, on whatever it lies."""
    length = _sum(contents.parts)
    if length <= MAX_IMAGE:
        return None
    return _refused(f"a UEFI program of {size_text(length)} (at most {size_text(MAX_IMAGE)})", contents.parts)


def _iso(contents: Contents, size: int | None) -> StepError | None:
    length = _sum(contents.parts)
    if length <= MAX_ISO:
        return None
    return _refused(f"an ISO of {size_text(length)} (at most {size_text(MAX_ISO)})", contents.parts)


def _uboot(contents: Contents, size: int | None) -> StepError | None:
    for parts in _files(contents):
        if _sum(parts) > MAX_FILE:
            return _refused(f"an image of {size_text(_sum(parts))} (U-Boot takes at most {size_text(MAX_FILE)})", parts)
    return None


def _refused(what: str, parts: tuple[Part, ...]) -> StepError:
    return too_large(what, parts, "make the largest parts smaller, or choose another format")


def _first(*limits: Limit) -> Limit:
    def limit(contents: Contents, size: int | None) -> StepError | None:
        return next((found for one in limits if (found := one(contents, size)) is not None), None)

    return limit


LIMITS: dict[str, Limit] = {
    "bios-disk": _disk(MBR, _files),
    "efi-disk": _first(_program, _disk(GPT, _unified)),
    "hybrid-disk": _disk(GPT, _files),
    "bios-iso": _iso,
    "efi-iso": _program,
    "efi-initrd-iso": _first(_disk(0, _files), _iso),
    "hybrid-iso": _program,
    "uki": _program,
    "rpi3": _uboot,
}
"""The limit of each medium, by the maker of its step."""
