"""How a dataclass says what its YAML looks like: keys, descriptions, and values written otherwise than they are kept.

A class that `spec.decode` can read is a dataclass whose hints are made of str, int, bool, Literal texts,
`tuple[X, ...]` (a list), `Pairs` (a map of text), other such classes (a map), `X | None`, `int | str`, and
`Annotated[X, Written(…)]`.  A field without default must be given.  Field metadata, all optional:

- `key`: the YAML key where it is not the field's name; None keeps the field out of YAML;
- `doc`: what the field means, for the JSON Schema;
- `inline`: True where the class's own keys stand among those of the class around it.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType, UnionType
from typing import Any

from lkbuild.errors import Origin
from lkbuild.frozen import frozen

Pairs = tuple[tuple[str, str], ...]
"""A map of text to text, in the order written."""


@frozen
class Written:
    """The annotation of a type whose YAML is of type `form`.

    `parse` makes the value of what was decoded by `form` and of where it stands; ValueError says what is wrong with it.
    """

    form: Any
    parse: Callable[[Any, Origin], Any]
    pattern: str | None = None


@frozen
class Pattern:
    """The annotation of a text that other code checks: the schema says `regex`, or one of `values`."""

    regex: str
    values: tuple[str, ...] = ()


@frozen
class FieldShape:
    """One field of a class as the decoder and the schema see it."""

    name: str
    key: str
    hint: Any
    required: bool
    inline: bool
    doc: str


def key(name: str) -> Any:
    """A field that is left out unless given, called `name` in YAML."""
    return field(default=None, metadata={"key": name})


def given(doc: str, key: str | None = None, default: Any = None) -> Any:
    """A field that may be given, `default` where it is not, called `key` in YAML where that is not its own name."""
    return field(default=default, metadata=about(doc, key))


def unwritten(default: Any = dataclasses.MISSING) -> Any:
    """A field that does not stand in YAML and takes no part in comparisons."""
    return field(default=default, compare=False, repr=False, metadata={"key": None})


def about(doc: str, key: str | None = None) -> dict[str, str]:
    """The metadata of a field: `field(metadata=about("…"))` is one that must be given."""
    return {"doc": doc} if key is None else {"doc": doc, "key": key}


@functools.cache
def shape(cls: type) -> tuple[FieldShape, ...]:
    """The fields of a class that stand in YAML, in the class's order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    shapes = []
    for each in dataclasses.fields(cls):
        name = each.metadata.get("key", each.name)
        if name is not None:
            needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            inline = bool(each.metadata.get("inline"))
            shapes.append(FieldShape(each.name, name, hints[each.name], needed, inline, each.metadata.get("doc", "")))
    return tuple(shapes)


@functools.cache
def keys(cls: type) -> Mapping[str, FieldShape]:
    """Every key a map of this class may have, those of inline classes among them."""
    found: dict[str, FieldShape] = {}
    for each in shape(cls):
        found.update(keys(each.hint) if each.inline else {each.key: each})
    return MappingProxyType(found)


@functools.cache
def annotation(hint: Any) -> tuple[Any, Any]:
    """`Annotated[X, extra]` as (X, extra); any other hint as (hint, None)."""
    if typing.get_origin(hint) is typing.Annotated:
        return hint.__origin__, hint.__metadata__[0]
    return hint, None


@functools.cache
def choices(hint: Any) -> tuple[Any, ...]:
    """The members of a union without None; a hint that is no union is its only member."""
    if typing.get_origin(hint) in (typing.Union, UnionType):
        return tuple(each for each in typing.get_args(hint) if each is not type(None))
    return (hint,)
