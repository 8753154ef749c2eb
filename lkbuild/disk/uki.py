"""Unified kernel images: a UEFI boot stub with kernel, initrd and command line as further sections, ready for signing.

Microsoft's PE format, and the UKI specification of the UAPI group for the sections' names.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from lkbuild.disk.extents import Extent
from lkbuild.disk.layout import PAGE, SECTOR, Layout, round_up, total
from lkbuild.disk.limits import size_text, too_large
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

MAX_IMAGE = (1 << 32) - PAGE
"""Offsets and addresses in a PE file have 32 bits."""

_SECTION = 40
_READ_ONLY_DATA = 0x40000040
_FALLBACK = {0x8664: "BOOTX64.EFI", 0xAA64: "BOOTAA64.EFI", 0x14C: "BOOTIA32.EFI", 0x5064: "BOOTRISCV64.EFI"}


@frozen
class Section:
    """A section to add: a name of at most 8 bytes, and its contents."""

    name: str
    extents: tuple[Extent, ...]


@frozen
class Uki:
    """A unified kernel image, and where each section's contents begin in it: multiples of 4096 but for the first."""

    extents: tuple[Extent, ...]
    size: int
    places: tuple[tuple[str, int], ...]

    def place(self, name: str) -> int:
        """Where a section's contents begin, in bytes; KeyError for one that was not added."""
        return dict(self.places)[name]


@frozen
class _Stub:
    """What of a PE file's headers is needed to add sections: where they are, and how far file and memory are used."""

    coff: int
    sections: int
    count: int
    memory_alignment: int
    file_end: int
    memory_end: int
    room: int


def fallback_name(program: bytes) -> str:
    """What a UEFI program is called in `EFI/BOOT` for firmware to start it unasked, by the machine it is for."""
    try:
        (machine,) = struct.unpack_from("<H", program, _coff(program))
        return _FALLBACK[machine]
    except (struct.error, KeyError) as error:
        raise _no_program() from error


def uki(stub: bytes, sections: Sequence[Section]) -> Uki:
    """The stub with these sections added; StepError for a stub that is none or has no room, and for 4 GiB or more.

    Every section but the first begins at a multiple of 4096 in the file, all do in memory.  In the file each reaches to
    the next one: a signature covers sections, and what lies between is taken differently by signers and firmware.  The
    checksum is 0, which firmware does not look at and signers set.
    """
    try:
        facts = _read(stub)
    except struct.error as error:
        raise _no_program() from error
    if facts.count + len(sections) > facts.room:
        raise StepError(
            f"the EFI stub has room for {facts.room - facts.count} more sections, {len(sections)} are to be added",
            "give another stub (systemd's linuxx64.efi.stub has room)",
        )
    head, headers = bytearray(stub[: facts.file_end]), b""
    layout, places = Layout(), []
    unit = max(facts.memory_alignment, PAGE)
    at, address = facts.file_end, round_up(facts.memory_end, unit)
    for section in sections:
        size = total(section.extents)
        stored = round_up(at + size, PAGE) - at
        if max(at, address) + stored > MAX_IMAGE:
            parts = [(each.name, total(each.extents)) for each in sections]
            what = f"a unified kernel image of {size_text(sum(n for _, n in parts))} (at most {size_text(MAX_IMAGE)})"
            raise too_large(what, parts, "make the initrd smaller, or choose a format that is no UKI")
        name = section.name.encode("ascii").ljust(8, b"\0")
        headers += struct.pack("<8sIIIIIIHHI", name, size, address, stored, at, 0, 0, 0, 0, _READ_ONLY_DATA)
        layout.put(at, section.extents)
        places.append((section.name, at))
        at, address = at + stored, round_up(address + size, unit)
    _finish(head, facts, headers, (at - facts.file_end, address))
    layout.put(0, bytes(head))
    return Uki(tuple(layout.extents(at)), at, tuple(places))


def _finish(head: bytearray, facts: _Stub, headers: bytes, grown: tuple[int, int]) -> None:
    """Enter the new sections into the headers: `grown` is the bytes they add and where memory ends now."""
    added, memory_end = grown
    optional = facts.coff + 20
    table = facts.sections + facts.count * _SECTION
    head[table : table + len(headers)] = headers
    struct.pack_into("<H", head, facts.coff + 2, facts.count + len(headers) // _SECTION)
    struct.pack_into("<II", head, facts.coff + 8, 0, 0)
    (initialized,) = struct.unpack_from("<I", head, optional + 8)
    struct.pack_into("<I", head, optional + 8, min(initialized + added, 0xFFFFFFFF))
    struct.pack_into("<I", head, optional + 56, memory_end)
    struct.pack_into("<I", head, optional + 64, 0)


def _coff(program: bytes) -> int:
    """Where the COFF header begins; StepError where there is none."""
    (at,) = struct.unpack_from("<I", program, 0x3C)
    if program[:2] != b"MZ" or program[at : at + 4] != b"PE\0\0":
        raise _no_program()
    return int(at) + 4


def _read(stub: bytes) -> _Stub:
    """The headers of a stub; struct.error where it is cut short."""
    coff = _coff(stub)
    _, count, _, _, _, optional_size, _ = struct.unpack_from("<HHIIIHH", stub, coff)
    optional = coff + 20
    (memory_alignment,) = struct.unpack_from("<I", stub, optional + 32)
    (header_size,) = struct.unpack_from("<I", stub, optional + 60)
    table = optional + optional_size
    file_end, memory_end, first = header_size, header_size, header_size
    for number in range(count):
        virtual, address, stored, at = struct.unpack_from("<IIII", stub, table + number * _SECTION + 8)
        memory_end = max(memory_end, address + max(virtual, stored))
        if stored:
            file_end, first = max(file_end, at + stored), min(first, at)
    if not 0 < file_end <= len(stub) or file_end % SECTOR or not memory_alignment:
        raise _no_program()
    # What follows the last section is symbols for a debugger; no signature covers it in a way all readers agree on.
    room = (min(header_size, first) - table) // _SECTION
    return _Stub(coff, table, count, memory_alignment, file_end, memory_end, room)


def _no_program() -> StepError:
    return StepError(
        "the EFI stub or loader is no UEFI program", "give systemd's linuxx64.efi.stub or systemd-bootx64.efi"
    )
