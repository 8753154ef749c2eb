"""A large file as a list of extents: a few bytes of our own, slices of blobs that are there already, and zeros.

What writes a disk image says where its metadata goes and which bytes of which blob lie where; nothing large is held or
copied to say so.  `store.recipe` writes the file.
"""

from __future__ import annotations

from lkbuild.digest import Digest
from lkbuild.frozen import frozen


@frozen
class Data:
    """Literal bytes; small."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)


@frozen
class Zeros:
    """`length` zero bytes."""

    length: int


@frozen
class Slice:
    """`length` bytes of the blob `digest`, from `offset`."""

    digest: Digest
    offset: int
    length: int


Extent = Data | Zeros | Slice
