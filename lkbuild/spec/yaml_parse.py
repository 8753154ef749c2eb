"""YAML text to nodes: drives PyYAML's event parser, which neither recurses nor makes objects of tags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lkbuild.errors import Origin, Problem
from lkbuild.spec.yaml_nodes import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_WEIGHT,
    TAG,
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    kind,
    resolve,
)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COLLECTION_TAGS = {yaml.SequenceStartEvent: TAG + "seq", yaml.MappingStartEvent: TAG + "map"}
_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    TAG + "int": (int,),
    TAG + "bool": (bool,),
    TAG + "float": (float, int),
    TAG + "null": (type(None),),
}

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_UNQUOTED = re.compile(r"(?:^|[\s,\[:-])(@pkg:[^\s,\]}#\"']*)")
"""A package that is named without quotes, which YAML forbids: `@` is reserved (yaml.org/spec/1.2.2, 5.3)."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """The document cannot be read further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come yet."""

    origin: Origin
    is_map: bool
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    weight: int = 1


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """The text of a UTF-8 file; None, and a problem added, where it cannot be had."""
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.append(Problem(Origin(name), f"cannot read {name!r}: {reason}"))
        return None
    if len(data) > MAX_BYTES:
        problems.append(_too_long(name))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = data[error.start : error.start + 1].hex()
        problems.append(Problem(Origin(name, line), f"not UTF-8: byte 0x{found} cannot stand here", "save it as UTF-8"))
        return None


def parse_text(text: str, file: str, problems: list[Problem]) -> Node | None:
    """The one document in `text`, `file` being its name in messages.

    None, and a problem added, where there is no document that can be read; what is wrong within a document that can be
    (keys that stand twice) is added to `problems` too.
    """
    try:
        _check_size(text, file)
        return _Composer(file, problems).compose(text)
    except _Refused as refused:
        problems.append(refused.problem)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(error, text, file))
    return None


def _check_size(text: str, file: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise _Refused(Problem(Origin(file, line), "not Unicode text: a lone surrogate stands in it")) from error
    if size > MAX_BYTES:
        raise _Refused(_too_long(file))


def _too_long(file: str) -> Problem:
    hint = "put long contents into files of their own and name them with `source`"
    return Problem(Origin(file), f"longer than {MAX_BYTES >> 20} MiB", hint)


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        origin = Origin(file, text.count("\n", 0, position) + 1)
        character = getattr(error, "character", None)
        code = f" U+{character:04X}" if isinstance(character, int) else ""
        return Problem(origin, f"not YAML: the character{code} cannot stand here", 'write it as an escape in "quotes"')
    origin = Origin(file, mark.line + 1, mark.column + 1)
    # The scanner, which reads ahead of the events, has a bound of its own in newer libyamls.
    if "nesting depth" in (getattr(error, "problem", None) or ""):
        return Problem(origin, _TOO_DEEP)
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    what = [each for each in (getattr(error, "context", None), getattr(error, "problem", None)) if each]
    message = f"not YAML: {', '.join(what)}"
    if "\t" in line[: len(line) - len(line.lstrip())] or "\\t" in message:
        return Problem(origin, message, "indent with spaces; YAML allows no tabs there")
    if unquoted := _UNQUOTED.search(line):
        return Problem(origin, message, f'put it in quotes: "{unquoted[1]}"')
    return Problem(origin, message, "check the indentation, colons and quotes of this line and the one before it")


class _Composer:
    """Makes nodes of the events of one document."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.open: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}
        self.root: Node | None = None

    def compose(self, text: str) -> Node:
        documents = 0
        for event in _events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.refused(event, "a second document begins here", "one file holds one document")
            else:
                self.take(event)
        if self.root is None or (isinstance(self.root, ScalarNode) and self.root.value is None):
            raise _Refused(Problem(Origin(self.file), "the document is empty"))
        return self.root

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self.add(self.scalar(event), event)
        elif isinstance(event, yaml.AliasEvent):
            self.add(self.aliased(event), event)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if event.tag not in (None, "!", _COLLECTION_TAGS[type(event)]):
                raise self.refused(event, f"the tag {event.tag} is not understood", "remove the tag")
            if len(self.open) >= MAX_DEPTH:
                raise self.refused(event, _TOO_DEEP)
            if event.anchor:
                self.anchors[event.anchor] = None
            self.open.append(_Open(self.origin(event), isinstance(event, yaml.MappingStartEvent), event.anchor))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            done = self.open.pop()
            node = self.map(done) if done.is_map else ListNode(done.origin, tuple(done.children), done.weight)
            if done.anchor:
                self.anchors[done.anchor] = node
            self.add(node, event)

    def aliased(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            what = "stands within itself" if event.anchor in self.anchors else "has no anchor before it"
            raise self.refused(event, f"alias *{event.anchor} {what}")
        return node

    def add(self, node: Node, event: Any) -> None:
        if getattr(event, "anchor", None) and isinstance(event, yaml.ScalarEvent):
            self.anchors[str(event.anchor)] = node
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.children.append(node)
        parent.weight += node.weight
        if parent.weight > MAX_WEIGHT:
            raise self.refused(event, f"more than {MAX_WEIGHT:,} values once aliases are expanded")

    def scalar(self, event: Any) -> ScalarNode:
        text: str = event.value
        if _SURROGATE.search(text):
            raise self.refused(event, "not Unicode text: a lone surrogate stands in it")
        if event.implicit[0]:
            return ScalarNode(self.origin(event), text, resolve(text))
        tag = event.tag or "!"
        if tag in ("!", TAG + "str"):
            return ScalarNode(self.origin(event), text, text)
        value = resolve(text)
        if type(value) not in _SCALAR_TYPES.get(tag, ()):
            raise self.refused(event, f"the tag {tag} does not fit {text!r:.60}", "remove the tag")
        return ScalarNode(self.origin(event), text, value)

    def map(self, done: _Open) -> MapNode:
        """The map of alternating keys and values with `<<` merged in (yaml.org/type/merge): own keys win."""
        own: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[MapNode] = []
        for key, value in zip(done.children[::2], done.children[1::2], strict=True):
            if isinstance(key, ScalarNode) and key.value == "<<":
                merged += self.merged(value)
            elif not isinstance(key, ScalarNode) or type(key.value) not in (str, int):
                self.problems.append(Problem(key.origin, f"{kind(key)} is no key", "put the key in quotes"))
            elif key.text in own:
                first = own[key.text][0].origin.line
                self.problems.append(Problem(key.origin, f"key {key.text!r} stands twice (first in line {first})"))
            else:
                own[key.text] = (key, value)
        for each in merged:
            for key, value in each.entries:
                own.setdefault(key.text, (key, value))
        return MapNode(done.origin, tuple(own.values()), done.weight)

    def merged(self, value: Node) -> list[MapNode]:
        found = list(value.items) if isinstance(value, ListNode) else [value]
        if all(isinstance(each, MapNode) for each in found):
            return [each for each in found if isinstance(each, MapNode)]
        raise _Refused(Problem(value.origin, f"'<<' merges maps, found {kind(value)}"))

    def origin(self, event: Any) -> Origin:
        return Origin(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def refused(self, event: Any, message: str, hint: str | None = None) -> _Refused:
        return _Refused(Problem(self.origin(event), message, hint))


def _events(text: str) -> Iterator[Any]:
    """PyYAML's events of a text."""
    yield from yaml.parse(text, Loader=_LOADER)
