"""Several spec files as one: lists append, `kernel` is overridden key by key (LinuxKit's `AppendConfig`), `budget` too.

Nodes are merged before they are decoded, so that every value of the result still knows its file and line.
"""

from __future__ import annotations

from collections.abc import Sequence

from lkbuild.errors import Origin
from lkbuild.spec.decode import Place, Report, wrong_type
from lkbuild.spec.yaml_nodes import ListNode, MapNode, Node, ScalarNode

LISTS = frozenset({"init", "volumes", "onboot", "onshutdown", "services", "files", "outputs"})
_EMPTY_OVERRIDES_NOTHING = frozenset({"image", "cmdline", "binary"})

_Entry = tuple[ScalarNode, Node]


def merge(documents: Sequence[Node], report: Report) -> MapNode:
    """One map with the sections of all documents.  What is of the wrong type is left out and noted in `report`."""
    found: dict[str, list[_Entry]] = {}
    for document in documents:
        if isinstance(document, MapNode):
            for key, value in document.entries:
                found.setdefault(key.text, []).append((key, value))
        else:
            report.incomplete = True
            wrong_type("a map", document, Place((), document.origin), report)
    entries: list[_Entry] = []
    for name, same in found.items():
        if name in LISTS:
            entries += _lists(name, same, report)
        elif name in ("kernel", "trust", "budget"):
            entries += _maps(name, same, report)
        else:
            entries += same
    origin = documents[0].origin if documents else Origin("")
    return MapNode(origin, tuple(entries))


def _lists(name: str, same: list[_Entry], report: Report) -> list[_Entry]:
    items: list[Node] = []
    for key, value in same:
        if isinstance(value, ListNode):
            items += value.items
        else:
            report.incomplete = True
            wrong_type("a list", value, Place((name,), key.origin), report)
    return [(same[0][0], ListNode(same[0][0].origin, tuple(items)))]


def _maps(name: str, same: list[_Entry], report: Report) -> list[_Entry]:
    merged: dict[str, _Entry] = {}
    for key, value in same:
        if not isinstance(value, MapNode):
            wrong_type("a map", value, Place((name,), key.origin), report)
            continue
        for inner in value.entries:
            _put(name, merged, inner)
    if name == "kernel" and all(_is_empty(value) for _, value in merged.values()):
        return []
    return [(same[0][0], MapNode(same[0][0].origin, tuple(merged.values())))]


def _put(name: str, merged: dict[str, _Entry], inner: _Entry) -> None:
    key, value = inner
    old = merged.get(key.text)
    if old is None:
        merged[key.text] = inner
    elif name == "trust" and isinstance(old[1], ListNode) and isinstance(value, ListNode):
        merged[key.text] = (old[0], ListNode(old[1].origin, old[1].items + value.items))
    elif key.text not in _EMPTY_OVERRIDES_NOTHING or not _is_empty(value):
        merged[key.text] = inner


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == ""
