"""What a step's function is given, and the shape all of them have: `def initrd(params: Rootfs, work: Work) -> None`.

A function reads its inputs, writes files into `work.directory` (each becomes an output under its name) and returns.
What it brought into the store itself it puts into `work.made`.
It asks nothing of the clock, the environment or the network; `work.fetch` alone reaches out, and what it brings is
checked against a digest that is part of the params.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lkbuild.digest import Digest
from lkbuild.frozen import frozen
from lkbuild.store import Blob, Store

if TYPE_CHECKING:
    from lkbuild.packages.params import DockerfileBuild
    from lkbuild.reference import Reference
    from lkbuild.sources.signatures import Looked
    from lkbuild.trust.judge import Candidate

_CHUNK = 1 << 18

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes to do."""


class Doors(Protocol):
    """How the steps that may reach the network do so."""

    def fetch_layer(self, reference: Reference, blob: Blob, into: Path, progress: Progress) -> None:
        """Bring a layer of an image to `into`, resuming what is there; ImageError where that cannot be."""

    def fetch_file(self, uri: str, blob: Blob, into: Path, progress: Progress) -> None:
        """Bring the file at `uri` to `into`, resuming what is there; ImageError where that cannot be."""

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Candidate | Looked]:
        """What is found where the signatures of the image `digest` lie; ImageError where nobody can be asked."""

    def build_dockerfile(self, params: DockerfileBuild, work: Work) -> None:
        """Have the Docker daemon build an image and write its manifest, config and layers into `work.directory`."""


@frozen
class InputFile:
    """An input as a file to be read, not written."""

    path: Path
    blob: Blob

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a piece at a time."""
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@dataclass(slots=True)
class Work:
    """One execution of a step.

    `made` is for outputs that are blobs of the store already and need not be written into `directory`; `refers` for
    blobs the outputs need besides themselves.
    """

    inputs: Mapping[str, InputFile]
    directory: Path
    doors: Doors
    progress: Progress
    store: Store
    refers: list[Blob] = field(default_factory=list)
    made: dict[str, Blob] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def input(self, role: str) -> Path:
        """The input called `role`; KeyError where the plan gave none."""
        return self.inputs[role].path

    def numbered(self, role: str) -> Iterator[InputFile]:
        """The inputs called `role`0, `role`1, … in order."""
        number = 0
        while (found := self.inputs.get(f"{role}{number}")) is not None:
            yield found
            number += 1

    def output(self, name: str) -> Path:
        """Where the output called `name` is to be written."""
        return self.directory / name

    def have(self, blob: Blob) -> Path | None:
        """Where the store has a blob, whole; None where it has not."""
        return self.store.path(blob.digest) if self.store.has(blob) else None

    def note(self, text: str) -> None:
        """Something the user should know of this result; kept with it and said again when it is used again."""
        self.notes.append(text)
