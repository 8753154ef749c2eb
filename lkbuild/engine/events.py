"""What happens during a build, as values; whoever shows it listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lkbuild.frozen import frozen


@frozen
class Started:
    """A step began."""

    step: str
    reason: str


@frozen
class Progressed:
    """A step fetched or worked through bytes: `done` of `total`, which is 0 where nobody knows."""

    step: str
    done: int
    total: int


@frozen
class Finished:
    """A step is done.  `how`: it ran, its result was there, or another process made it meanwhile."""

    step: str
    how: Literal["ran", "cached", "waited"]
    seconds: float


@frozen
class Writing:
    """An output file is being written."""

    output: str
    path: str


@frozen
class Wrote:
    """An output file was written (`bytes`), which took `seconds`."""

    output: str
    path: str
    bytes: int
    seconds: float = 0.0


@frozen
class Said:
    """A warning."""

    text: str


@frozen
class Told:
    """Something is going on, or was done, that is worth a line, and no warning."""

    text: str


@frozen
class Contains:
    """A package of a machine: the places and the image it is in, and what is known of it ("" what is not)."""

    machine: str
    places: str
    image: str
    package: str
    version: str
    license: str
    supplier: str
    purl: str


@frozen
class Compared:
    """A finished image was laid beside what its record makes; `differences` are told in words, none where identical."""

    machine: str
    format: str
    files: tuple[str, ...]
    differences: tuple[str, ...]


@frozen
class Checked:
    """A result of the cache was made again: the step and its key, and how that came out.

    `outputs`: those that are others now, for `differs`.  `reason`: why it could not be made again, for `skipped`.
    """

    step: str
    kind: str
    key: str
    outcome: Literal["same", "differs", "damaged", "skipped"]
    outputs: tuple[str, ...] = ()
    reason: str = ""


Event = Started | Progressed | Finished | Writing | Wrote | Said | Told | Contains | Compared | Checked
Listener = Callable[[Event], None]


def nobody(_: Event) -> None:
    """A listener that does not listen."""
