"""What a container is configured to be: the entry of the spec over the image's label."""

from __future__ import annotations

import dataclasses
from typing import Any

from lkbuild.oci.field import reading
from lkbuild.spec.model import ContainerConfig
from lkbuild.spec.syntax import parse_capabilities

# Empty text does not beat the label here: LinuxKit has no other way to leave these fields out.
_EMPTY_IS_NOT_GIVEN = frozenset({"cwd", "net", "pid", "ipc", "uts", "userns", "hostname"})
_MERGED_INSIDE = frozenset({"runtime", "bind_ns"})


def merge(entry: ContainerConfig, label: ContainerConfig) -> ContainerConfig:
    """`entry` over `label`, field by field and whole lists at a time; of `runtime` and its `bindNS` the fields count.

    The entry's `capabilities.add` and `binds.add` extend the label's list where the entry has no list of its own; a
    label's own `.add` is ignored.  The result has no `.add`.  FieldError where a list that is extended cannot be read.
    """
    merged: ContainerConfig = _over(entry, label)
    return dataclasses.replace(
        merged,
        capabilities=_capabilities(entry, label),
        capabilities_add=None,
        binds=entry.binds if entry.binds is not None else _joined(label.binds, entry.binds_add),
        binds_add=None,
    )


def _over(upper: Any, lower: Any) -> Any:
    """`upper` with each field it does not give taken from `lower`, a value of the same class."""
    not_given = _EMPTY_IS_NOT_GIVEN if isinstance(upper, ContainerConfig) else frozenset()
    values = {}
    for field in dataclasses.fields(upper):
        above, below = getattr(upper, field.name), getattr(lower, field.name)
        if above == "" and field.name in not_given:
            above = None
        if field.name in _MERGED_INSIDE and above is not None and below is not None:
            values[field.name] = _over(above, below)
        else:
            values[field.name] = below if above is None else above
    return type(upper)(**values)


def _capabilities(entry: ContainerConfig, label: ContainerConfig) -> tuple[str, ...] | None:
    if entry.capabilities is not None:
        return entry.capabilities
    if entry.capabilities_add is None:
        return label.capabilities
    # `all` and `none` stand for a list only while they are alone in one, so each side is read by itself.
    with reading("capabilities_add"):
        added = parse_capabilities(entry.capabilities_add)
    with reading("capabilities"):
        return parse_capabilities(label.capabilities or ()) + added


def _joined(base: tuple[str, ...] | None, added: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if base is None or added is None:
        return base if added is None else added
    return base + added
