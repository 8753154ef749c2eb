"""Carrying out single steps in a store of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lkbuild.digest import Digest
from lkbuild.engine.events import Event
from lkbuild.engine.execute import Place, execute
from lkbuild.packages.params import DockerfileBuild
from lkbuild.plan.step import Input, Step
from lkbuild.reference import Reference
from lkbuild.sources.signatures import Looked
from lkbuild.steps.work import Progress, Work
from lkbuild.store import Blob, Result, Store
from lkbuild.trust.judge import Candidate


class NoWayOut:
    """Doors for steps that need none."""

    def fetch_layer(self, reference: Reference, blob: Blob, into: Path, progress: Progress) -> None:
        raise AssertionError(f"{reference}: fetched {blob}")

    def fetch_file(self, uri: str, blob: Blob, into: Path, progress: Progress) -> None:
        raise AssertionError(f"{uri}: fetched {blob}")

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Candidate | Looked]:
        raise AssertionError(f"{reference}: asked for signatures of {digest}")

    def build_dockerfile(self, params: DockerfileBuild, work: Work) -> None:
        raise AssertionError(f"built {params}")


def carry_out(store: Store, kind: str, params: Any, inputs: Mapping[str, Blob], doors: Any = None) -> Result:
    """The result of a step of this kind."""
    events: list[Event] = []
    roles = tuple(Input(role, blob=blob.digest, size=blob.size) for role, blob in inputs.items())
    return execute(Step(f"{kind}:test", kind, params, roles), inputs, Place(store, doors or NoWayOut(), events.append))
