"""Building inside the test process, and telling what ran."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lkbuild.engine.build import build
from lkbuild.engine.events import Event, Finished, Said, Wrote
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import prepare
from lkbuild.sources import Registry, RegistryOptions

CONFORMANCE = Path(__file__).parents[1] / "conformance"
IMAGES = CONFORMANCE / "images"


@dataclass(frozen=True)
class Built:
    """What a build did."""

    ran: tuple[str, ...]
    wrote: tuple[str, ...]
    said: tuple[str, ...]


def run(options: BuildOptions, registries: RegistryOptions | None = None) -> Built:
    """Build, and say which steps ran, which files were written (their names), and what was said."""
    events: list[Event] = []
    registry = Registry(registries or RegistryOptions())
    prepared = prepare(options, events.append, registry)
    try:
        build(prepared)
    finally:
        prepared.close()
        registry.close()
    return Built(
        tuple(e.step for e in events if isinstance(e, Finished) and e.how == "ran"),
        tuple(Path(e.path).name for e in events if isinstance(e, Wrote)),
        tuple(e.text for e in events if isinstance(e, Said)),
    )


def offline(spec: Path, cache: Path, out: Path, **more: object) -> BuildOptions:
    """Options for a build from the conformance images alone; without SBOM, provenance, record: no golden has them."""
    given: dict[str, object] = {
        "machines": ((spec,),),
        "directory": out,
        "cache": cache,
        "images": (IMAGES,),
        "pull": "never",
        "sbom": "no",
        "provenance": False,
        "lock": False,
        **more,
    }
    return BuildOptions(**given)  # type: ignore[arg-type]


def digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file below `directory`, by its path there."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def kinds(steps: Iterable[str]) -> Counter[str]:
    """How many steps of each kind of name (`tree:…`, `bundle:…`) there are."""
    return Counter(step.partition(":")[0] for step in steps)
