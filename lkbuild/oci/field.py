"""Small things the writers of runtime documents share: which field was wrong, and which JSON fields are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Document = dict[str, Any]


class FieldError(ValueError):
    """What field `name` of a ContainerConfig says cannot be written.  Whoever knows who said it says so."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Any ValueError raised inside is about field `name`."""
    try:
        yield
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError(name, str(error)) from error


def given(fields: Mapping[str, Any]) -> Document:
    """`fields` without those that are None, empty text or an empty list, as Go's `omitempty` leaves them out.

    NB: zero, False and an empty object stay; where Go leaves those out too, the caller passes None.
    """
    return {name: value for name, value in fields.items() if value is not None and value != "" and value != []}
