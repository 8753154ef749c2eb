"""How two values in plain form (`digest.plain`) differ: where, and what stood there and stands there, in short."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from typing import Any

from lkbuild.frozen import frozen
from lkbuild.plan.typed import hints
from lkbuild.spec.fields import choices

_LABELS = ("path", "name")
"""Members that tell the entries of a list from each other."""
_SHORT, _AROUND = 72, 24
"""Text that is no longer than this is shown whole; of a longer one, so much before and after what differs."""


class Nothing:
    """What stands where nothing stands."""


NOTHING = Nothing()


@frozen
class Difference:
    """One place where two values differ.  `path` names fields as specs spell them; NOTHING: there is none there."""

    path: tuple[str, ...]
    old: Any
    new: Any

    @property
    def where(self) -> str:
        """The path for people: `entry.capabilities.add`, `entries[etc/motd].mode`."""
        text = ""
        for part in self.path:
            text += part if part.startswith("[") or not text else f".{part}"
        return text


def differences(hint: Any, old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Every place where `new` is not as `old`, both plain forms of a value of the type `hint` (Any: not known)."""
    if _text(old) == _text(new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            inner, shown = _member(hint, name)
            yield from differences(inner, old.get(name, NOTHING), new.get(name, NOTHING), (*path, shown))
        return
    if isinstance(old, list) and isinstance(new, list):
        item = _item(hint)
        label = _label(old, new)
        if label is not None:
            before, after = ({str(each[label]): each for each in entries} for entries in (old, new))
            pairs = [(name, before.get(name, NOTHING), after.get(name, NOTHING)) for name in {**before, **after}]
            found = [d for name, o, n in pairs for d in differences(item, o, n, (*path, f"[{name}]"))]
            yield from found or [Difference(path, list(before), list(after))]
            return
        if len(old) == len(new) and all(isinstance(each, (dict, list)) for each in (*old, *new)):
            for number, (one, other) in enumerate(zip(old, new, strict=True)):
                yield from differences(item, one, other, (*path, f"[{number}]"))
            return
    yield Difference(path, old, new)


def _label(old: list[Any], new: list[Any]) -> str | None:
    """The member by which the entries of both lists can be told apart, if there is one."""
    if not (old or new) or not all(isinstance(each, dict) for each in (*old, *new)):
        return None
    for label in _LABELS:
        texts = [[str(entry[label]) for entry in entries if label in entry] for entries in (old, new)]
        if [len(set(each)) for each in texts] == [len(old), len(new)]:
            return label
    return None


def _member(hint: Any, name: str) -> tuple[Any, str]:
    """The type of a member and how specs spell it."""
    for cls in choices(hint):
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and name in hints(cls):
            field = next(field for field in dataclasses.fields(cls) if field.name == name)
            return hints(cls)[name], field.metadata.get("key") or name
    return Any, name


def _item(hint: Any) -> Any:
    """The type of a list's entries."""
    for each in choices(hint):
        if typing.get_origin(each) is tuple and typing.get_args(each)[1:] == (...,):
            return typing.get_args(each)[0]
    return Any


# -- in short ----------------------------------------------------------------------------------------------------------


def shortened(old: Any, new: Any) -> tuple[str, str]:
    """Both values as text, what they have in common left out as far as they are long."""
    if isinstance(old, list) and isinstance(new, list):
        return _short_lists(old, new)
    one, other = _text(old), _text(new)
    if max(len(one), len(other)) <= _SHORT:
        return one, other
    if NOTHING in (old, new):
        return _cut(one, 0, 0), _cut(other, 0, 0)
    before = _common(one, other)
    after = _common(one[before:][::-1], other[before:][::-1])
    return _cut(one, before, after), _cut(other, before, after)


def _text(value: Any) -> str:
    if value is None or value is NOTHING:
        return "nothing"
    return json.dumps(value, ensure_ascii=False, sort_keys=True)  # which tells 1 from true, as the key does


def _cut(text: str, before: int, after: int) -> str:
    """The text around what stands between its first `before` and its last `after` characters."""
    begin = max(0, before - _AROUND) if before else 0
    end = min(len(text) - after + _AROUND, begin + 2 * _SHORT, len(text))
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


def _common(one: str | list[Any], other: str | list[Any]) -> int:
    """How many items both begin with."""
    number = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        number += 1
    return number


def _short_lists(old: list[Any], new: list[Any]) -> tuple[str, str]:
    """Lists; of long ones, the items both begin and end with as `…`."""
    if max(len(_text(old)), len(_text(new))) <= _SHORT:
        return _text(old), _text(new)
    before = _common(old, new)
    after = _common(old[before:][::-1], new[before:][::-1])

    def one(items: list[Any]) -> str:
        middle = [_cut(_text(item), 0, 0) for item in items[before : len(items) - after]]
        begin, end = ["…"] * bool(before), ["…"] * bool(after)
        return f"[{', '.join([*begin, *middle, *end])}]"

    return one(old), one(new)
