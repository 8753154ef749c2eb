"""Two listings as far as both can say it: formats differ in what they hold of a machine."""

from __future__ import annotations

from dataclasses import replace

from lkbuild.plan.record import PATH as RECORD
from lkbuild.report.listing import CMDLINE, KERNEL, Form, Listing, bare, text_file
from lkbuild.steps.firecracker import boot_arguments

_ALL: dict[Form, frozenset[str]] = {
    "tar": frozenset({"attributes", "boot"}),
    "docker": frozenset({"attributes", "boot"}),
    "oci": frozenset({"attributes"}),
    "initrd": frozenset({"microcode"}),
    "initrd-tar": frozenset({"microcode"}),
    "medium": frozenset({"microcode"}),
    "firecracker": frozenset({"microcode"}),
    "rpi3": frozenset({"microcode"}),
    "squashfs": frozenset({"attributes"}),
    "erofs": frozenset({"attributes"}),
    "iso": frozenset(),
}
"""What not every form holds: extended attributes; all of boot/; the microcode before an initrd's first file.

Nor is the record of the build the same in all: what only some formats are made with stands in those alone.
"""

_UNPACK: frozenset[Form] = frozenset({"medium", "firecracker"})
"""Forms whose kernel may be another's, unpacked."""


def alike(one: Listing, other: Listing) -> tuple[Listing, Listing]:
    """Both without what only one of them can say; of one form, without what only one tells of what it boots.

    Of boot/ kernel and command line are left where both tell of them.  Command lines are compared by their words, with
    those that Firecracker needs added where one is a machine for that; and a kernel that only one has unpacked not.
    """
    if one.form == other.form:
        untold = one.boots ^ other.boots
        return _without(one, untold), _without(other, untold)
    forms, boots = {one.form, other.form}, one.boots & other.boots
    if one.kernel != other.kernel and KERNEL in one.files and KERNEL in other.files and forms & _UNPACK:
        boots -= {KERNEL}
    holds = _ALL[one.form] & _ALL[other.form]
    first, second = (_reduced(each, holds, boots, forms) for each in (one, other))
    return first, second


def _without(listing: Listing, paths: frozenset[bytes]) -> Listing:
    return replace(listing, files={path: file for path, file in listing.files.items() if path not in paths})


def _reduced(listing: Listing, holds: frozenset[str], boots: frozenset[bytes], forms: set[Form]) -> Listing:
    files = {
        path: file if "attributes" in holds else file._replace(xattrs=())
        for path, file in listing.files.items()
        if _both_have(path, holds, forms)
    }
    settings = dict(listing.settings)
    if "boot" not in holds:
        if KERNEL in boots and (kernel := listing.files.get(KERNEL)) is not None:
            files[KERNEL] = bare(kernel.size, kernel.digest)
        if CMDLINE in boots and (cmdline := listing.files.get(CMDLINE)) is not None:
            files[CMDLINE] = bare(cmdline.size, cmdline.digest)
            if CMDLINE in settings:
                settings[CMDLINE] = _words(settings[CMDLINE], forms)
                files[CMDLINE] = text_file(settings[CMDLINE])
        if CMDLINE in files and not files[CMDLINE].size:
            del files[CMDLINE]
    return replace(listing, files=files, settings=settings)


def _words(text: bytes, forms: set[Form]) -> bytes:
    """A command line with a blank between two words."""
    words = " ".join(text.decode("utf-8", "surrogateescape").split())
    return (boot_arguments(words) if "firecracker" in forms else words).encode("utf-8", "surrogateescape")


def _both_have(path: bytes, holds: frozenset[str], forms: set[Form]) -> bool:
    if path == b"boot" or path.startswith(b"boot/"):
        return "boot" in holds
    if path in (b"kernel", b"kernel/x86") or path.startswith(b"kernel/x86/microcode"):
        return "microcode" in holds
    if path == RECORD.encode():
        return False
    return path != b"Dockerfile" or "docker" not in forms
