"""Reading JSON documents that came from elsewhere: bounded, and strict about types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lkbuild.errors import ImageError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {dict: "an object", list: "a list", str: "text", int: "a whole number", bool: "true or false"}


def parse_object(raw: bytes, limit: int, what: str) -> dict[str, Any]:
    """The JSON object in `raw`, called `what` in errors; ImageError if it has over `limit` bytes or is no object."""
    if len(raw) > limit:
        raise ImageError(f"{what} is {len(raw)} bytes long, and {limit} is the most that is read")
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ImageError(f"{what} is {kind_of(document)}, wanted an object")
    return document


def kind_of(value: object) -> str:
    """What a JSON value is, for people."""
    return "null" if value is None else _KINDS.get(type(value), "a number")


class Fields:
    """The fields of one JSON object; each is asked for with its type, `null` is the same as absent.

    `where` is what the errors call the object: `image config: config`.
    """

    def __init__(self, document: Mapping[str, Any], where: str) -> None:
        self._document = document
        self.where = where

    def wrong(self, name: str, wanted: str) -> ImageError:
        """The error to raise for field `name`, which is not `wanted`."""
        return ImageError(f"{self.where}: {name} is {kind_of(self._document.get(name))}, wanted {wanted}")

    def has(self, name: str) -> bool:
        """Whether `name` is there and not null."""
        return self._document.get(name) is not None

    def text(self, name: str) -> str | None:
        """A string; one that is not Unicode (a lone surrogate) is refused, for it cannot be written again."""
        value = self._document.get(name)
        if value is None:
            return None
        return self._checked(name, value, "text")

    def size(self, name: str) -> int:
        """A whole number that is not negative; absent is an error."""
        value = self._document.get(name)
        if type(value) is not int:
            raise self.wrong(name, "a whole number")
        if not 0 <= value < 1 << 63:
            raise ImageError(f"{self.where}: {name} is {value}, wanted 0 to 2^63-1")
        return value

    def flag(self, name: str) -> bool:
        """True or false; absent is false."""
        value = self._document.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return bool(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; absent is the empty list."""
        return tuple(self._checked(name, item, "a list of texts") for item in self._list(name))

    def object(self, name: str) -> Fields:
        """An object; absent is the empty object."""
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value or {}, f"{self.where}: {name}")

    def objects(self, name: str) -> tuple[Fields, ...]:
        """A list of objects; absent is the empty list."""
        items = self._list(name)
        if not all(isinstance(item, dict) for item in items):
            raise self.wrong(name, "a list of objects")
        return tuple(Fields(item, f"{self.where}: {name}[{n}]") for n, item in enumerate(items))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The fields of an object whose values are texts (annotations), in the document's order; nulls are left out."""
        return tuple((key, self.text(key) or "") for key in self._document if self.has(key))

    def _list(self, name: str) -> list[Any]:
        value = self._document.get(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value or []

    def _checked(self, name: str, value: Any, wanted: str) -> str:
        if not isinstance(value, str):
            raise ImageError(f"{self.where}: {name} holds {kind_of(value)}, wanted {wanted}")
        if _LONE_SURROGATE.search(value):
            raise ImageError(f"{self.where}: {name} is not Unicode text")
        return value


# What Go escapes beyond JSON's own rules, so that a document can stand in HTML.
_GO_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def document_text(document: Mapping[str, Any]) -> bytes:
    """A document as LinuxKit writes it: Go's `json.MarshalIndent` with four blanks, its fields in the order given."""
    return json.dumps(document, indent=4, ensure_ascii=False).translate(_GO_ESCAPES).encode("utf-8")
