"""Identifiers that are random elsewhere, here made from the content they stand for: the same has the same ones."""

from __future__ import annotations

import hashlib


def derived(seed: bytes, label: str, count: int) -> bytes:
    """`count` bytes (at most 32) that depend on the content digest `seed` and on what they are for, `label`."""
    return hashlib.sha256(len(seed).to_bytes(2, "big") + seed + label.encode("utf-8")).digest()[:count]


def derived_number(seed: bytes, label: str) -> int:
    """A 32-bit number made like `derived`, never 0 and never all ones, which some formats take to mean none."""
    number = int.from_bytes(derived(seed, label, 4), "little")
    return 0x4C4B4C4B if number in (0, 0xFFFFFFFF) else number


def derived_guid(seed: bytes, label: str) -> bytes:
    """A GUID in the order of its text, version 8: made from whatever its maker likes (RFC 9562 5.8)."""
    made = bytearray(derived(seed, label, 16))
    made[6] = made[6] & 0x0F | 0x80
    made[8] = made[8] & 0x3F | 0x80
    return bytes(made)


def guid(text: str) -> bytes:
    """The 16 bytes of a GUID in the order of its text."""
    return bytes.fromhex(text.replace("-", ""))


def mixed_endian(raw: bytes) -> bytes:
    """A GUID as UEFI's structures hold it: its first three groups little-endian (UEFI 2.10 appendix A)."""
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
