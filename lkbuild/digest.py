"""Digests and the canonical bytes of a value: the only place where lkbuild turns bytes into an identity."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lkbuild.frozen import ordered

CHUNK = 1 << 20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})|sha512:([0-9a-f]{128})")


@ordered
class Digest:
    """A content digest as OCI writes it, `sha256:…` (image-spec descriptor.md).  Made by `parse` or by hashing."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """`sha256:<64 hex>` or `sha512:<128 hex>`; anything else raises ValueError, for a digest becomes a path."""
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise ValueError(f"not a digest: {text!r:.100} (wanted sha256:<64 hex digits>)")
        algorithm, _, hexdigest = text.partition(":")
        return cls(algorithm, hexdigest)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The SHA-256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """The SHA-256 digest of a file's bytes."""
        with path.open("rb") as file:
            return cls("sha256", hashlib.file_digest(file, "sha256").hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def plain(value: Any) -> Any:
    """`value` with dataclasses as objects (class name left out), tuples as lists, digests as text.

    Allowed: str, int, bool, None, bytes (as hex), tuples, lists, mappings with text keys, Digest and dataclasses;
    anything else, a float above all, raises TypeError: it would not have one canonical form.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    kind: type = type(value)
    names = _compared(kind)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f"mapping with keys that are not text: {value!r:.100}")
        return {k: plain(v) for k, v in value.items()}
    raise TypeError(f"no canonical form for {type(value).__name__}: {value!r:.100}")


@functools.cache
def _compared(cls: type) -> tuple[str, ...] | None:
    """The fields of a dataclass that count in comparisons; None for any other class."""
    return tuple(f.name for f in dataclasses.fields(cls) if f.compare) if dataclasses.is_dataclass(cls) else None


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8.  Equal values give equal bytes on every machine.

    NB: dataclass fields declared with `compare=False` (where a value came from, say) are no part of it.
    """
    return canonical_plain(plain(value))


def canonical_plain(value: Any) -> bytes:
    """The same of a value that is in plain form already."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def identity(value: Any) -> Digest:
    """The SHA-256 of a value's canonical form."""
    return Digest.of(canonical(value))
