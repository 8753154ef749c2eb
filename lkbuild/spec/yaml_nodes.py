"""YAML text to a tree of nodes that know their line, safely: bounded in size, depth and what aliases expand to.

Scalars are resolved as LinuxKit's YAML library does (yaml.v3, the core schema of YAML 1.2): `yes`, `on` and dates are
text, `0x1f`, `0o17` and `017` are numbers.
"""

from __future__ import annotations

import re

from lkbuild.errors import Origin
from lkbuild.frozen import frozen

MAX_BYTES = 4 << 20
"""The longest document read, in bytes of UTF-8."""
MAX_DEPTH = 64
"""How deep lists and maps may be nested."""
MAX_WEIGHT = 100_000
"""How many values a document may have once its aliases are expanded; 256 characters of text count as one more."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {text: truth for truth in (True, False) for text in (str(truth), str(truth).lower(), str(truth).upper())}
_INT = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_INT_RANGE = range(-(1 << 63), 1 << 64)

TAG = "tag:yaml.org,2002:"


@frozen
class ScalarNode:
    """One scalar: `text` is what it says without quotes, `value` what it means."""

    origin: Origin
    text: str
    value: str | int | float | bool | None

    @property
    def weight(self) -> int:
        """1, and 1 for each 256 characters."""
        return 1 + len(self.text) // 256


@frozen
class ListNode:
    """A list."""

    origin: Origin
    items: tuple[Node, ...]
    weight: int = 1


@frozen
class MapNode:
    """A map whose keys are text and differ."""

    origin: Origin
    entries: tuple[tuple[ScalarNode, Node], ...]
    weight: int = 1

    def get(self, key: str) -> Node | None:
        """The value at `key`."""
        return next((value for each, value in self.entries if each.text == key), None)


Node = ScalarNode | ListNode | MapNode


def kind(node: Node) -> str:
    """What a node is, for a message: "a list", "the text 'x'", "the number 1"."""
    if isinstance(node, ListNode):
        return "a list"
    if isinstance(node, MapNode):
        return "a map"
    if node.value is None:
        return "nothing"
    shown = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    if isinstance(node.value, str):
        return f"the text {shown!r}"
    return shown if isinstance(node.value, bool) else f"the number {shown}"


def resolve(text: str) -> str | int | float | bool | None:
    """What a plain scalar means by the core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    if _INT.fullmatch(plain) and len(plain) <= 80:
        number = _integer(plain)
        return number if number in _INT_RANGE else float(number)
    if _FLOAT.fullmatch(plain) and len(plain) <= 400:
        return float(plain.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _integer(plain: str) -> int:
    """The number of `plain`, which matches _INT; a leading zero means octal, as in YAML 1.1 and Go."""
    sign = -1 if plain[0] == "-" else 1
    digits = plain.lstrip("+-").lower()
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xob":
        return sign * int(digits, 8)
    return sign * int(digits, 0)
