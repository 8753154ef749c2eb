"""The spec as it was built, for `files: - metadata: yaml|json`: one text for one spec, whatever library wrote it.

What is recorded is what the spec files say, merged: sections and keys in LinuxKit's order, image references in full (no
tag is added), sections that are empty left out.  `trust` and `outputs` do not enter the machine and are left out too.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from lkbuild.reference import Reference
from lkbuild.spec.fields import Pairs, Written, annotation, choices, shape
from lkbuild.spec.model import ImageName, Spec
from lkbuild.spec.names import PACKAGE_PREFIX, OptionalImage
from lkbuild.spec.yaml_nodes import ListNode, MapNode, Node, ScalarNode, resolve

SECTIONS = ("kernel", "init", "onboot", "onshutdown", "services", "files", "volumes")
"""The sections that make the machine, in the order of LinuxKit's `Moby`."""

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*")
# What some YAML reader takes for something else than text: YAML 1.1 has more truths than 1.2.
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def metadata_json(spec: Spec, images: Mapping[str, str] | None = None) -> str:
    """The spec as JSON, indented by four, with a newline at the end; `images` as for `metadata_yaml`."""
    return json.dumps(_document(spec, images), ensure_ascii=False, indent=4) + "\n"


def metadata_yaml(spec: Spec, images: Mapping[str, str] | None = None) -> str:
    """The spec as YAML.  `images` gives what to write in place of an image, by its full name or `@pkg:` text."""
    return "".join(f"{line}\n" for line in _lines(_document(spec, images)))


def as_written(root: MapNode) -> dict[str, Any]:
    """What the machine's sections of a merged spec that decoded well say, as plain lists, dicts and scalars."""
    hints = {each.key: each.hint for each in shape(Spec)}
    nodes = [(section, root.get(section)) for section in SECTIONS]
    plain = {section: _plain(hints[section], node) for section, node in nodes if node is not None}
    return {section: value for section, value in plain.items() if value}


def document_of(cls: type, node: Node) -> Any:
    """What a file that decoded well as `cls` says, as plain lists, dicts and scalars: neither comments nor quoting."""
    return _plain(cls, node)


def _plain(hint: Any, node: Node) -> Any:
    if hint in (ImageName, OptionalImage):
        return _full_name(node)
    hint, extra = annotation(hint)
    if isinstance(extra, Written):
        return _plain(extra.form, node)
    members = choices(hint)
    if len(members) == 1 and members[0] is not hint:
        return _plain(members[0], node)
    if isinstance(node, ListNode):
        return [_plain(typing.get_args(hint)[0], item) for item in node.items]
    if isinstance(node, MapNode):
        entries = {key.text: value for key, value in node.entries}
        if hint == Pairs:
            return {key: _plain(str, entries[key]) for key in sorted(entries)}
        return {key: _plain(inner, entries[key]) for key, inner in _ordered(hint) if key in entries}
    return _scalar(node)


def _ordered(cls: Any) -> Iterator[tuple[str, Any]]:
    for each in shape(cls):
        if each.inline:
            yield from _ordered(each.hint)
        else:
            yield each.key, each.hint


def _scalar(node: ScalarNode) -> Any:
    return int(node.value) if isinstance(node.value, float) else node.value


def _full_name(node: Node) -> str:
    """The reference in full, but with no more tag than was written."""
    text = node.text if isinstance(node, ScalarNode) else ""
    if not text or text.startswith(PACKAGE_PREFIX):
        return text
    reference = Reference.parse(text)
    tagged = ":" in text.partition("@")[0].rpartition("/")[2]
    return str(reference if tagged else dataclasses.replace(reference, tag=None))


def _document(spec: Spec, images: Mapping[str, str] | None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(spec.written)
    if images:
        places = [document.get("kernel", {})]
        places += [
            each for section in ("onboot", "onshutdown", "services", "volumes") for each in document.get(section, [])
        ]
        for place in places:
            if "image" in place:
                place["image"] = images.get(place["image"], place["image"])
        if "init" in document:
            document["init"] = [images.get(each, each) for each in document["init"]]
    return document


def _lines(value: Any) -> Iterator[str]:
    """Block YAML of a map or list that is not empty, or the one line of anything else."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            first, *rest = _lines(inner)
            if isinstance(inner, (dict, list)) and inner:
                yield f"{_text(key)}:"
                indent = "  " if isinstance(inner, dict) else ""
                yield from (f"{indent}{line}" for line in (first, *rest))
            else:
                yield f"{_text(key)}: {first}"
    elif isinstance(value, list) and value:
        for inner in value:
            first, *rest = _lines(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    elif isinstance(value, str):
        yield _text(value)
    else:
        yield json.dumps(value)


def _text(text: str) -> str:
    """A text without quotes where nobody could take it for something else, otherwise in double quotes, as JSON."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT and isinstance(resolve(text), str):
        return text
    return printable(json.dumps(text, ensure_ascii=False))


def printable(quoted: str) -> str:
    """JSON as YAML takes it too: what cannot be printed escaped, each character by itself and not as a pair."""
    return "".join(c if c.isprintable() else _escape(c) for c in quoted)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
