"""Bytes checked while they pass: size and digest, "got X, want Y after N bytes"."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from lkbuild.digest import CHUNK, Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import Descriptor


class WrongBytesError(ImageError):
    """What came is not what the digest or the size says."""


class Check:
    """Hashes what passes and compares it with a descriptor.  `what` names the source in the errors, "" none."""

    def __init__(self, descriptor: Descriptor, what: str = "") -> None:
        self.descriptor = descriptor
        self._where = f"{what}: " if what else ""
        self.done = 0
        self._hash = hashlib.new(descriptor.digest.algorithm)

    def update(self, data: bytes) -> None:
        """Take the next bytes; WrongBytesError as soon as there are more than there may be."""
        self._hash.update(data)
        self.done += len(data)
        if self.done > self.descriptor.size:
            raise WrongBytesError(
                f"{self._where}{self.descriptor.digest} has more than the {self.descriptor.size} bytes it should have"
            )

    def finish(self) -> None:
        """WrongBytesError unless all has passed and is what it should be."""
        got = Digest(self.descriptor.digest.algorithm, self._hash.hexdigest())
        if self.done != self.descriptor.size:
            raise WrongBytesError(
                f"{self._where}{self.descriptor.digest} ends after {self.done} bytes, wanted {self.descriptor.size}"
            )
        if got != self.descriptor.digest:
            raise WrongBytesError(f"{self._where}got {got}, want {self.descriptor.digest} after {self.done} bytes")


def digest_like(data: bytes, like: Digest) -> Digest:
    """The digest of `data` by the algorithm of `like`."""
    return Digest(like.algorithm, hashlib.new(like.algorithm, data).hexdigest())


def checked(data: bytes, descriptor: Descriptor, what: str = "") -> bytes:
    """`data`, if it is what `descriptor` says; WrongBytesError otherwise."""
    check = Check(descriptor, what)
    check.update(data)
    check.finish()
    return data


def resume(file: BinaryIO, descriptor: Descriptor) -> Check:
    """A check that has seen what `file` holds; the file stands at its end.  What is too long is thrown away."""
    check = Check(descriptor)
    file.seek(0)
    while data := file.read(CHUNK):
        try:
            check.update(data)
        except WrongBytesError:
            return restart(file, descriptor)
    return check


def restart(file: BinaryIO, descriptor: Descriptor) -> Check:
    """Empty the file and begin again."""
    file.seek(0)
    file.truncate()
    return Check(descriptor)


def discard(path: Path) -> None:
    """Leave nothing of a download that turned out to be wrong."""
    path.unlink(missing_ok=True)
