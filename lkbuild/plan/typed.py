"""Values back from their plain form (`digest.plain`): what a frozen dataclass was before it became JSON.

The type says what may stand where, and nothing else may: what is read may come from a stranger's cache.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from lkbuild.digest import Digest
from lkbuild.reference import Reference
from lkbuild.spec.fields import choices

T = TypeVar("T")


def typed(cls: type[T], value: object, where: str = "") -> T:
    """The value of the dataclass `cls` whose plain form is `value`; ValueError says where it is none of that type.

    For a value `v` without fields that take no part in comparisons, `typed(type(v), plain(v)) == v`.  Hints may be
    made of str, int, bool, bytes, Digest, Reference, texts of a Literal, `tuple[X, ...]`, `tuple[X, Y]`, unions and
    dataclasses.
    """
    return typing.cast(T, _typed(cls, value, where or cls.__name__))


@functools.cache
def hints(cls: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields."""
    return typing.get_type_hints(cls)


def _typed(hint: Any, value: object, where: str) -> object:
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint) or not isinstance(value, str):
            raise _wrong(where, value, f"one of {', '.join(map(str, typing.get_args(hint)))}")
        return value
    if origin is tuple:
        return _tuple(typing.get_args(hint), value, where)
    if origin is not None:
        return _one_of(hint, value, where)
    if hint in (Digest, Reference):
        return _parsed(hint, value, where)
    if hint is bytes:
        return _bytes(value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _fields(hint, value, where)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _wrong(where, value, hint.__name__)
    return value


def _one_of(hint: Any, value: object, where: str) -> object:
    """A value of a union.  Of several members that fit, the first in the union's order."""
    members = choices(hint)
    if value is None and type(None) in typing.get_args(hint):
        return None
    if len(members) == 1:
        return _typed(members[0], value, where)
    for member in members:
        try:
            return _typed(member, value, where)
        except ValueError:
            continue
    raise _wrong(where, value, " or ".join(getattr(member, "__name__", str(member)) for member in members))


def _tuple(parts: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _wrong(where, value, "a list")
    members = parts[:1] * len(value) if parts[1:] == (...,) else parts
    if len(value) != len(members):
        raise _wrong(where, value, f"a list of {len(members)}")
    items = enumerate(zip(members, value, strict=True))
    return tuple(_typed(member, item, f"{where}[{n}]") for n, (member, item) in items)


def _parsed(cls: type[Digest] | type[Reference], value: object, where: str) -> object:
    if not isinstance(value, str):
        raise _wrong(where, value, cls.__name__)
    try:
        return cls.parse(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _bytes(value: object, where: str) -> bytes:
    if isinstance(value, dict) and value.keys() == {"hex"} and isinstance(value["hex"], str):
        try:
            return bytes.fromhex(value["hex"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    raise _wrong(where, value, "bytes as hex")


def _fields(cls: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(where, value, cls.__name__)
    types, fields = hints(cls), dataclasses.fields(cls)
    for name in value.keys() - {field.name for field in fields}:
        raise ValueError(f"{where}: {cls.__name__} has no field {name!r:.100}")
    for field in fields:
        if field.compare and field.name not in value:
            raise ValueError(f"{where}.{field.name} is missing")
    return cls(**{name: _typed(types[name], item, f"{where}.{name}") for name, item in value.items()})


def _wrong(where: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{where}: found {value!r:.100}, wanted {wanted}")
