"""A blob on its way into a file: where it stands, what was checked, how to go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from lkbuild.errors import ImageError
from lkbuild.oci.image import Descriptor
from lkbuild.sources.auth import BusyError
from lkbuild.sources.source import Progress
from lkbuild.sources.transport import Response
from lkbuild.sources.verify import WrongBytesError, restart, resume
from lkbuild.store.files import failure

_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]+)-")
CHUNK = 1 << 18


class Download:
    """One blob, written to `file`, which may hold a first part of it already."""

    def __init__(self, descriptor: Descriptor, file: BinaryIO, progress: Progress) -> None:
        self.descriptor = descriptor
        self._file = file
        self._progress = progress
        self._check = resume(file, descriptor)

    @classmethod
    def open(cls, descriptor: Descriptor, into: Path, progress: Progress) -> Download:
        """Begin or go on; StoreError where the file cannot be written."""
        try:
            return cls(descriptor, into.open("a+b"), progress)
        except OSError as error:
            raise failure(error, f"writing {into}") from error

    def close(self) -> None:
        """Close the file, whatever it holds; StoreError where its last bytes could not be written."""
        try:
            self._file.close()
        except OSError as error:
            raise failure(error, f"writing {self._file.name}") from error

    @property
    def done(self) -> int:
        """How many bytes are there."""
        return self._check.done

    @property
    def complete(self) -> bool:
        """Whether all bytes are there; whether they are right, `finish` says."""
        return self._check.done >= self.descriptor.size

    @property
    def headers(self) -> dict[str, str]:
        """What to ask for: the rest."""
        return {"Range": f"bytes={self.done}-"} if self.done else {}

    def receive(self, response: Response) -> None:
        """Take an answer's body.  BusyError if it is not the part asked for; WrongBytesError if it is too long."""
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("Content-Range") or "")
            if not match or int(match[1]) != self.done:
                said = response.headers.get("Content-Range")
                at = self.done
                self.restart()
                raise BusyError(f"asked for the bytes from {at}, it sent {said!r:.100}")
        elif self.done:
            self.restart()
        while data := response.read(CHUNK):
            try:
                self._check.update(data)
                self._file.write(data)
            except WrongBytesError:
                self.restart()
                raise
            except OSError as error:
                raise failure(error, f"writing {self._file.name}") from error
            self._progress(self.descriptor, self.done)

    def restart(self) -> None:
        """Throw away what there is."""
        self._check = restart(self._file, self.descriptor)

    def finish(self) -> None:
        """Check what is there, all of it; wrong bytes are thrown away."""
        try:
            self._check.finish()
            self._file.flush()
        except WrongBytesError:
            self.restart()
            raise
        except OSError as error:
            raise failure(error, f"writing {self._file.name}") from error


def too_large(reference: object, size: int, limit: int) -> ImageError:
    """The error for a document that nobody would believe."""
    return ImageError(
        f"{reference}: a document of it has {size} bytes or more, and {limit} is the most that is read",
        "is this reference a container image?",
    )
