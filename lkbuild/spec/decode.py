"""Nodes to values, strictly: every class described as in `spec.fields` can be read, and every mistake is found at once.

`load_document(path, cls)` is the whole way for a file; `parse_label` for an image's label.  Whoever has checks of their
own to add uses `read_document`, whose result knows the line of everything.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from lkbuild.errors import Origin, Problem, SpecError
from lkbuild.frozen import frozen
from lkbuild.spec.fields import FieldShape, Pairs, Written, annotation, choices, keys, shape
from lkbuild.spec.model import ContainerConfig
from lkbuild.spec.yaml_nodes import ListNode, MapNode, Node, ScalarNode, kind
from lkbuild.spec.yaml_parse import parse_text, read_text

LABEL = "org.mobyproject.config"
T = TypeVar("T")
_Path = tuple[str | int, ...]


class _Bad:
    """What could not be decoded; the problem is in the report."""


BAD: Final = _Bad()


@dataclass(slots=True)
class Report:
    """What decoding found besides the value: problems, where each thing stands, and the paths that have a problem.

    `incomplete`: an entry, or what it must say, is missing from the value, so that references to it cannot be judged.
    """

    problems: list[Problem] = field(default_factory=list)
    origins: dict[_Path, Origin] = field(default_factory=dict)
    faulty: dict[_Path, None] = field(default_factory=dict)
    incomplete: bool = False

    def add(self, place: Place, message: str, hint: str | None = None) -> _Bad:
        """Note a problem of the value at `place`; the result stands for that value."""
        self._blame(place.path)
        self.problems.append(Problem(place.origin, message, hint))
        return BAD

    def forget_since(self, mark: tuple[int, int], parent: _Path) -> None:
        """Forget the origins and faults below `parent` noted since `mark`: of an item that is not in the value.

        The next item takes its number, and what is said of that number must be of that item alone.
        """
        while len(self.origins) > mark[0]:
            self.origins.popitem()
        while len(self.faulty) > mark[1]:
            self.faulty.popitem()
        self._blame(parent)

    def mark(self) -> tuple[int, int]:
        """Where the notes stand now, for `forget_since`."""
        return len(self.origins), len(self.faulty)

    def _blame(self, path: _Path) -> None:
        self.faulty.update(dict.fromkeys(path[:end] for end in range(1, len(path) + 1)))

    def finish(self) -> None:
        """Raise SpecError if there are problems, each once."""
        if self.problems:
            raise SpecError(tuple({(each.origin, each.message): each for each in self.problems}.values()))


@frozen
class Place:
    """A path in a document, and where to point to when what stands there is wrong."""

    path: _Path
    origin: Origin

    def __str__(self) -> str:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".")


@frozen
class Document(Generic[T]):
    """A decoded file: its value, the origin of each path in YAML's spelling, and what it was decoded from."""

    value: T
    file: str
    origins: Mapping[_Path, Origin]
    node: Node | None = field(default=None, compare=False, repr=False)

    def origin(self, *path: str | int) -> Origin:
        """Where `path` stands, or its nearest parent that stands somewhere."""
        found = (self.origins.get(path[:end]) for end in range(len(path), -1, -1))
        return next((origin for origin in found if origin), Origin(self.file))


def load_document(path: Path, cls: type[T], *, text: str | None = None) -> T:
    """The value of class `cls` (see `spec.fields`) that a YAML or JSON file holds.

    `text`, where given, is read in the file's stead.  SpecError holds all that is wrong, each with its line.
    """
    return read_document(path, cls, text=text).value


def read_document(path: Path, cls: type[T], *, text: str | None = None) -> Document[T]:
    """As `load_document`, and the origin of everything besides, for checks that the types cannot make."""
    report = Report()
    text = read_text(path, report.problems) if text is None else text
    node = None if text is None else parse_text(text, str(path), report.problems)
    value = BAD if node is None else decode(cls, node, Place((), node.origin), report)
    report.finish()
    return Document(typing.cast(T, value), str(path), report.origins, node)


def parse_label(text: str, name: str = f"label {LABEL}") -> ContainerConfig:
    """The image label org.mobyproject.config, YAML or JSON: an entry without `name` and `image`; empty says nothing.

    `name` is what the origins of SpecError's problems give as the file.
    """
    if not text:
        return ContainerConfig()
    return load_document(Path(name), ContainerConfig, text=text)


def decode(hint: Any, node: Node, place: Place, report: Report) -> Any:
    """The value of type `hint` (see `spec.fields`) that `node` says, or BAD, problems and origins going to `report`."""
    report.origins[place.path] = place.origin
    hint, extra = annotation(hint)
    if isinstance(extra, Written):
        return _written(extra, node, place, report)
    members = choices(hint)
    if len(members) == 1:
        hint = members[0]
        if annotation(hint)[1] is not None:
            return decode(hint, node, place, report)
    if hint == Pairs:
        return _pairs(node, place, report)
    if typing.get_origin(hint) is tuple:
        return _list(typing.get_args(hint)[0], node, place, report)
    if dataclasses.is_dataclass(hint):
        return _object(typing.cast(type, hint), node, place, report)
    return _scalar(hint, node, place, report)


def decode_fields(cls: type, node: Node, place: Place, report: Report) -> dict[str, Any] | None:
    """The fields of `cls` that a map gives, by the names of the class; None where it is no map.

    For classes that have fields besides those written in YAML; `decode` makes the value itself.  A field that must be
    given and is not, or is wrong, is None, so that the rest can be checked before the report is raised.
    """
    if not isinstance(node, MapNode):
        wrong_type("a map", node, place, report)
        return None
    known = keys(cls)
    for key, _ in node.entries:
        if key.text not in known:
            _unknown(key, tuple(known), place, report)
    return _build(cls, node, place, report)


def _object(cls: type, node: Node, place: Place, report: Report) -> Any:
    values = decode_fields(cls, node, place, report)
    return BAD if values is None else cls(**values)


def _build(cls: type, node: MapNode, place: Place, report: Report) -> dict[str, Any]:
    entries = {key.text: (key, value) for key, value in node.entries}
    values: dict[str, Any] = {}
    for each in shape(cls):
        if each.inline:
            value = each.hint(**_build(each.hint, node, place, report))
        elif each.key in entries:
            value = _field(each, entries[each.key], place, report)
        elif each.required:
            where = f" in {place}" if place.path else ""
            here = Place((*place.path, each.key), place.origin)
            value = report.add(here, f"{each.key!r} is missing{where}", f"{each.key}: {each.doc}" if each.doc else None)
        else:
            continue
        if value is not BAD:
            values[each.name] = value
        elif each.required:
            values[each.name] = None
            report.incomplete = True
    return values


def _field(each: FieldShape, entry: tuple[ScalarNode, Node], place: Place, report: Report) -> Any:
    """A scalar's place is its own, that of a list or map is its key's: the line with the name on it."""
    key, value = entry
    origin = value.origin if isinstance(value, ScalarNode) and value.value is not None else key.origin
    return decode(each.hint, value, Place((*place.path, each.key), origin), report)


def _unknown(key: ScalarNode, known: tuple[str, ...], place: Place, report: Report) -> None:
    close = difflib.get_close_matches(key.text.lower(), [each.lower() for each in known], n=1, cutoff=0.7)
    meant = next((each for each in known if close and each.lower() == close[0]), None)
    where = f" in {place}" if place.path else ""
    guess = f"; did you mean {meant!r}?" if meant else ""
    here = Place((*place.path, key.text), key.origin)
    report.add(here, f"unknown key {key.text!r:.80}{where}{guess}", f"allowed here: {', '.join(known)}")


def _written(written: Written, node: Node, place: Place, report: Report) -> Any:
    value = decode(written.form, node, place, report)
    if value is BAD:
        return BAD
    try:
        return written.parse(value, place.origin)
    except ValueError as error:
        return report.add(place, f"{place}: {error}")


def _list(hint: Any, node: Node, place: Place, report: Report) -> Any:
    if not isinstance(node, ListNode):
        report.incomplete |= len(place.path) == 1
        return wrong_type("a list", node, place, report)
    values: list[Any] = []
    for item in node.items:
        mark = report.mark()
        value = decode(hint, item, Place((*place.path, len(values)), item.origin), report)
        if value is BAD:
            report.incomplete |= len(place.path) == 1
            report.forget_since(mark, place.path)
        else:
            values.append(value)
    return tuple(values)


def _pairs(node: Node, place: Place, report: Report) -> Any:
    if not isinstance(node, MapNode):
        return wrong_type("a map", node, place, report)
    pairs = []
    for key, value in node.entries:
        text = decode(str, value, Place((*place.path, key.text), value.origin), report)
        if text is not BAD:
            pairs.append((key.text, text))
    return tuple(pairs)


def _scalar(hint: Any, node: Node, place: Place, report: Report) -> Any:
    value = node.value if isinstance(node, ScalarNode) else BAD
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if value in allowed:
            return value
        return wrong_type(" or ".join(map(repr, allowed)), node, place, report)
    if type(value) in choices(hint):
        return value
    return wrong_type(" or ".join(_TYPE_NAMES[each] for each in choices(hint)), node, place, report)


_TYPE_NAMES = {str: "text", int: "a whole number", bool: "true or false"}
_TRUTH = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}


def wrong_type(wanted: str, node: Node, place: Place, report: Report) -> _Bad:
    """Note that `node` is not what was wanted there."""
    where = str(place) or "the document"
    return report.add(place, f"{where} is {kind(node)}, wanted {wanted}", _type_hint(wanted, node, place))


def _type_hint(wanted: str, node: Node, place: Place) -> str | None:
    name = next((part for part in reversed(place.path) if isinstance(part, str)), "")
    if isinstance(node, MapNode) and wanted == "a list":
        pairs = [f'"{key.text}={value.text}"' for key, value in node.entries if isinstance(value, ScalarNode)]
        if name == "env" and 0 < len(pairs) == len(node.entries):
            return f"say env: [{', '.join(pairs)}]"
        return 'begin each entry with "- "'
    if not isinstance(node, ScalarNode):
        return None
    if node.value is None:
        return f"remove {name!r} or give it a value" if name else None
    text = node.text if len(node.text) <= 40 else ""
    if wanted == "text" and text:
        return f"put it in quotes: '{text}'"
    if wanted == "a list" and name and text:
        return f"write it as a list: {name}: [{text!r}]"
    if wanted == "true or false" and text.lower() in _TRUTH:
        return f"write {_TRUTH[text.lower()]}, without quotes"
    if wanted == "a whole number" and text.isdecimal():
        return f"write {text}, without quotes"
    return None
