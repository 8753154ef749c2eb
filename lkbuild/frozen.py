"""What most of lkbuild is made of: a few fields under a name, the same for good.  docs/adr/0017 says why these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from operator import attrgetter, ge, gt, le, lt
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
_Key = Callable[[object], object]


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def frozen(cls: type[T]) -> type[T]:
    """Make a class a dataclass with slots, compared, hashed and shown by its fields, that nobody may change.

    That nobody does is for mypy to see.  `dataclass(frozen=True)` sees to it at run time too, for which every class
    takes four times as long to define, and every object three times as long to make.
    """
    return _made(cls, {})


@dataclass_transform(frozen_default=True, order_default=True, field_specifiers=(field, Field))
def ordered(cls: type[T]) -> type[T]:
    """The same, and sorted by its fields."""
    return _made(cls, {"__lt__": lt, "__le__": le, "__gt__": gt, "__ge__": ge})


def _made(cls: type[T], orders: dict[str, Callable[[Any, Any], bool]]) -> type[T]:
    made = dataclass(slots=True, repr=False, eq=False)(cls)
    fields: dict[str, Field[Any]] = made.__dataclass_fields__  # type: ignore[attr-defined]
    compared = [name for name, each in fields.items() if each.compare]
    key: _Key = attrgetter(*compared) if compared else _nothing
    shown = _shown([name for name, each in fields.items() if each.repr])
    methods: dict[str, Callable[..., object]] = {"__eq__": _equal(key), "__hash__": _hashed(key), "__repr__": shown}
    methods |= {name: _related(key, relation) for name, relation in orders.items()}
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


def _nothing(_: object) -> object:
    return ()


def _equal(key: _Key) -> Callable[[object, object], bool]:
    def equal(self: object, other: object) -> bool:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return equal


def _related(key: _Key, relation: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    def related(self: object, other: object) -> bool:
        return relation(key(self), key(other)) if other.__class__ is self.__class__ else NotImplemented

    return related


def _hashed(key: _Key) -> Callable[[object], int]:
    def hashed(self: object) -> int:
        return hash(key(self))

    return hashed


def _shown(names: list[str]) -> Callable[[object], str]:
    def shown(self: object) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return shown
