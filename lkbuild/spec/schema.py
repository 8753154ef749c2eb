"""The JSON Schema of a spec (draft 2020-12), made from the same classes that the decoder reads.

`python -m lkbuild.spec.schema` writes it to standard output; `spec.schema.json` beside this module is that output.  It
is for editors: it knows keys, types and patterns, not what one part of a spec must know of another.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from pathlib import Path
from typing import Any

from lkbuild.spec.fields import Pairs, Pattern, Written, annotation, choices, keys
from lkbuild.spec.model import Kernel, Spec

SCHEMA_FILE = Path(__file__).with_name("spec.schema.json")
"""The schema as it is installed with the package."""

# A file that only overrides another's kernel need not name its image, so one file's schema cannot ask for it.
_MAY_BE_PARTIAL: frozenset[type] = frozenset({Kernel})

_TYPES = {str: "string", int: "integer", bool: "boolean"}
_Schema = dict[str, Any]


def schema() -> _Schema:
    """The schema of a spec file."""
    definitions: dict[str, _Schema] = {}
    top = _class_schema(Spec, definitions)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:lkbuild:spec"}
    top |= {"title": "lkbuild spec", "description": "A LinuxKit machine image specification, as lkbuild reads it."}
    return head | top | {"$defs": dict(sorted(definitions.items()))}


def schema_text() -> str:
    """The schema as the text of a file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _class_schema(cls: type, definitions: dict[str, _Schema]) -> _Schema:
    known = keys(cls)
    properties: dict[str, _Schema] = {}
    for key, each in known.items():
        properties[key] = _hint_schema(each.hint, definitions) | ({"description": each.doc} if each.doc else {})
    found: _Schema = {
        "title": cls.__name__,
        "description": " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()),
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    needed = [key for key, each in known.items() if each.required]
    return found | {"required": needed} if needed and cls not in _MAY_BE_PARTIAL else found


def _hint_schema(hint: Any, definitions: dict[str, _Schema]) -> _Schema:
    hint, extra = annotation(hint)
    if isinstance(extra, Written):
        return _hint_schema(extra.form, definitions) | ({"pattern": extra.pattern} if extra.pattern else {})
    if isinstance(extra, Pattern):
        pattern = {"pattern": extra.regex}
        form = {"anyOf": [{"enum": list(extra.values)}, pattern]} if extra.values else pattern
        return _hint_schema(hint, definitions) | form
    members = choices(hint)
    if len(members) == 1 and members[0] is not hint:
        return _hint_schema(members[0], definitions)
    if len(members) > 1:
        return {"type": sorted(_TYPES[each] for each in members)}
    if hint == Pairs:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _hint_schema(typing.get_args(hint)[0], definitions)}
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(typing.get_args(hint))}
    if dataclasses.is_dataclass(hint):
        return _reference(typing.cast(type, hint), definitions)
    return {"type": _TYPES[hint]}


def _reference(cls: type, definitions: dict[str, _Schema]) -> _Schema:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}
        definitions[cls.__name__] = _class_schema(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
