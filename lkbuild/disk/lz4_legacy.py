"""LZ4's legacy frames, in which kernels are compressed: lz4's lz4_Frame_format.md; Linux, lib/decompress_unlz4.c."""

from __future__ import annotations

MAGIC = b"\x02\x21\x4c\x18"
BLOCK = 8 << 20
"""Bytes of every block but the last, when unpacked."""

_MAX_PACKED = BLOCK + BLOCK // 255 + 16
"""The most that a block of so many bytes can have when packed."""


class Lz4Legacy:
    """A decoder with the manners of `lzma.LZMADecompressor`, but that it always gives a whole block.

    A frame does not say where it ends: at a block that is not full, or where, as behind a kernel, the number of bytes
    that came out stands in the place of the next block's length.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._begun = False
        self._made = 0
        self.eof = False

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes of what is held already."""
        return len(self._held) < self._wanted()

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next block, empty while it is not whole; ValueError for what is no such frame."""
        self._held += data
        if not self._begun and len(self._held) >= len(MAGIC):
            if not self._held.startswith(MAGIC):
                raise ValueError("it does not begin as LZ4 does")
            del self._held[: len(MAGIC)]
            self._begun = True
        if self.needs_input or not self._begun:
            return b""
        packed = int.from_bytes(self._held[:4], "little")
        if packed == self._made and packed:
            self.eof = True
            return b""
        if not 0 < packed <= _MAX_PACKED:
            raise ValueError(f"a block of {packed} bytes (at most {_MAX_PACKED})")
        import lz4.block  # takes 5 ms to load, and hardly any kernel is packed so

        try:
            made = lz4.block.decompress(self._held[4 : 4 + packed], BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        del self._held[: 4 + packed]
        self._made += len(made)
        self.eof = len(made) < BLOCK
        return bytes(made)

    def _wanted(self) -> int:
        """Bytes that must be held for the next step."""
        if not self._begun or len(self._held) < 4:
            return 4
        packed = int.from_bytes(self._held[:4], "little")
        return 4 if packed == self._made or packed > _MAX_PACKED else 4 + packed
