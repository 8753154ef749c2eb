"""What a build did, as values: a record of each build that looked at its graph, and what each machine then came to.

Times are whole microseconds: of a build since 1970, of what happened in it since it began.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Literal

import xxhash

from lkbuild.digest import Digest, canonical
from lkbuild.engine.options import BuildOptions
from lkbuild.frozen import frozen
from lkbuild.plan.graph import Graph, reached
from lkbuild.plan.typed import typed

FORMAT = 2
"""The version of the record.  One of another version is passed over."""

Ended = Literal["done", "failed", "interrupted", "broke"]
How = Literal["ran", "cached", "waited", "failed", "unfinished"]
"""As the event `finished` has it; `failed`; or still running when the build was interrupted."""

_NUMBER = re.compile(r"@[0-9]+\Z")


@frozen
class StepRun:
    """A step whose turn came in a build.

    `key` is None where it was not reached.  `worker` numbers threads from 0.  `bytes_in`, `bytes_out`: its inputs and
    its outputs, those only referred to left out.  `needs`: the steps whose outputs it reads.
    """

    name: str
    kind: str
    key: Digest | None
    reason: str
    start: int
    end: int
    worker: int
    how: How
    bytes_in: int
    bytes_out: int
    needs: tuple[str, ...]


@frozen
class FileWritten:
    """An output file (or directory) that was written."""

    output: str
    path: str
    bytes: int
    start: int
    end: int
    worker: int


@frozen
class MachineRecord:
    """A machine of a build: its spec files, its outputs' files, and the state it came to (`HistoryFiles.state`)."""

    name: str
    id: str
    files: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: int
    state: str
    built: bool


@frozen
class RefusedRecord:
    """A machine that could not be prepared, and was not built: its spec files, and why, in a line."""

    files: tuple[str, ...]
    why: str


@frozen
class BuildRecord:
    """A build from its beginning to its end.  `prepared`: when the graph was made and what must run was decided.

    `request` is what was asked for, option by option, machines that were `refused` left out.  `steps` holds those whose
    turn came; that of all others came in no build, since their results were there: `machines` tells how many there
    were, and their states which.
    """

    began: int
    prepared: int
    end: int
    ended: Ended
    lkbuild: str
    jobs: int
    request: tuple[tuple[str, tuple[str, ...]], ...]
    machines: tuple[MachineRecord, ...]
    refused: tuple[RefusedRecord, ...]
    steps: tuple[StepRun, ...]
    written: tuple[FileWritten, ...]

    def encode(self) -> bytes:
        """The record as JSON, its first member the version of its format."""
        return b'{"format":%d,"build":%s}\n' % (FORMAT, canonical(self))

    @classmethod
    def decode(cls, data: bytes) -> BuildRecord:
        """The record in `data`; ValueError where it is none, or of another format."""
        try:
            document = json.loads(data.decode("utf-8", "surrogateescape"))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(document, dict) or "format" not in document:
            raise ValueError("no record of a build")
        if document["format"] != FORMAT or type(document["format"]) is not int:
            raise ValueError(f"a record in format {document['format']!r:.20}, and this lkbuild reads {FORMAT}")
        return typed(cls, document.get("build"), "build")


def request_of(options: BuildOptions) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Options as text, those without a value left out; `machines` are their files, joined by `+`."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name == "machines":
            found.append((field.name, tuple("+".join(map(os.fspath, files)) for files in value)))
        elif isinstance(value, tuple):
            found.append((field.name, tuple(map(str, value))))
        elif value not in (None, False):
            found.append((field.name, (str(value),)))
    return tuple(found)


# -- machines ----------------------------------------------------------------------------------------------------------


@frozen
class MachineSteps:
    """A machine of a graph and its steps, in the graph's order.

    `names` holds each step's name in the graph by the name it has in this machine alone: which other machines are
    built along with it changes nothing there.  `id` tells the machine from all others in one cache.
    """

    name: str
    id: str
    files: tuple[str, ...]
    outputs: tuple[str, ...]
    names: Mapping[str, str]


def machines_of(graph: Graph, options: BuildOptions) -> tuple[MachineSteps, ...]:
    """The machines of a graph, in the order they come.

    NB: two specs may make machines of one name, in different formats.  Then they are one here, without files.
    """
    steps = {step.name: step for step in graph.steps}
    order = {step.name: number for number, step in enumerate(graph.steps)}
    wanted: dict[str, list[str]] = {}
    paths: dict[str, list[str]] = {}
    for output in graph.outputs:
        wanted.setdefault(output.machine, []).extend(output.needs)
        paths.setdefault(output.machine, []).extend(file.path for file in output.files)
    clear = len(wanted) == len(options.machines)
    found = []
    for number, (name, needs) in enumerate(wanted.items()):
        files = tuple(os.path.abspath(file) for file in options.machines[number]) if clear else ()  # noqa: PTH100
        members = sorted(reached(steps, needs), key=order.__getitem__)
        identity = xxhash.xxh3_128_hexdigest(canonical([name, options.arch, files]))
        found.append(MachineSteps(name, identity, files, tuple(paths[name]), own_names(members)))
    return tuple(found)


def base_name(name: str) -> str:
    """A step's name without the number that tells it from others of that name in one graph."""
    return _NUMBER.sub("", name)


def own_names(names: Iterable[str]) -> dict[str, str]:
    """Names of a graph of many machines by those they have in a graph of one: only there `@2` and so on is needed."""
    found: dict[str, str] = {}
    for name in names:
        base = own = base_name(name)
        number = 2
        while own in found:
            own, number = f"{base}@{number}", number + 1
        found[own] = name
    return found


# -- states ------------------------------------------------------------------------------------------------------------

State = Mapping[str, Digest]
"""The key of each step's result, by the step's name in its machine."""


def encode_state(state: State) -> bytes:
    """A line `KEY NAME` for each step, in the order given.  A name that is no line is left out."""
    lines = (f"{key.hex} {name}\n" for name, key in state.items() if "\n" not in name)
    return "".join(lines).encode("utf-8", "surrogateescape")


def decode_state(data: bytes) -> State:
    """The state in `data`; ValueError where it is none."""
    found: dict[str, Digest] = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        key, _, name = line.partition(" ")
        if not name or name in found:
            raise ValueError(f"no step and its key: {line!r:.100}")
        found[name] = Digest.parse(f"sha256:{key}")
    return found


def state_id(text: bytes) -> str:
    """The name of a state: a fingerprint of its text, which leaves this machine never."""
    return xxhash.xxh3_128_hexdigest(text)


def state_path(root: Path, name: str) -> Path:
    """Where a state lies below a history."""
    return root / "states" / name[:2] / name
