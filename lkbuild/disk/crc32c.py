"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), over the few kilobytes of metadata that VHDX and EROFS check with it."""

from __future__ import annotations


def _table() -> tuple[int, ...]:
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        made.append(value)
    return tuple(made)


_TABLE = _table()


def crc32c(data: bytes, start: int = 0xFFFFFFFF) -> int:
    """The register after `data`, not inverted at the end: EROFS stores it so, VHDX its complement."""
    for byte in data:
        start = start >> 8 ^ _TABLE[(start ^ byte) & 0xFF]
    return start
