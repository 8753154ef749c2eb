"""What a store holds, as values: blobs and the results of steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lkbuild.digest import Digest
from lkbuild.frozen import frozen, ordered


@ordered
class Blob:
    """A blob of the store: its digest and its size in bytes."""

    digest: Digest
    size: int


@frozen
class Result:
    """What a step made.

    `outputs` are blobs by name; `refers` are blobs they need besides themselves (a recipe's segments); `notes` are
    words for the user that belong to the result, a lost extended attribute for instance.
    """

    outputs: tuple[tuple[str, Blob], ...]
    refers: tuple[Blob, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Blob:
        for key, blob in self.outputs:
            if key == name:
                return blob
        raise KeyError(name)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob this result needs, its own first."""
        return tuple(blob for _, blob in self.outputs) + self.refers


def plain_result(result: Result) -> dict[str, object]:
    """The result as it is written down in JSON."""
    return {
        "outputs": {name: [str(blob.digest), blob.size] for name, blob in result.outputs},
        "refers": [[str(blob.digest), blob.size] for blob in result.refers],
        "notes": list(result.notes),
    }


def encode_result(result: Result) -> bytes:
    return with_checksum(json.dumps(plain_result(result), sort_keys=False, separators=(",", ":")).encode())


def with_checksum(line: bytes) -> bytes:
    """A line of text, and below it its own SHA-256, so that a torn file is told from a whole one."""
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def without_checksum(text: bytes) -> bytes:
    """The line that `with_checksum` wrote; ValueError where it is not whole."""
    line, _, checksum = text.partition(b"\n")
    if checksum.strip() != hashlib.sha256(line).hexdigest().encode():
        raise ValueError("checksum differs")
    return line


def decode_result(text: bytes) -> Result:
    """ValueError, KeyError or TypeError where the text is not a whole result."""
    return result_of(json.loads(without_checksum(text)))


def result_of(document: Mapping[str, Any]) -> Result:
    """The result that `plain_result` wrote; ValueError, KeyError or TypeError where it is none."""
    outputs: Mapping[str, list[object]] = document["outputs"]
    return Result(
        tuple((name, _decode_blob(value)) for name, value in outputs.items()),
        tuple(_decode_blob(value) for value in document["refers"]),
        tuple(str(note) for note in document["notes"]),
    )


def _decode_blob(value: list[object]) -> Blob:
    digest, size = value
    if not isinstance(size, int) or size < 0 or not isinstance(digest, str):
        raise ValueError(f"not a blob: {value!r:.100}")
    return Blob(Digest.parse(digest), size)
