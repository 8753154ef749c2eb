"""`lkbuild audit`: a sample of what the cache holds, made again and compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.cli.spec_names import each_spec
from lkbuild.engine.arguments import BUILD_OPTIONS, cache
from lkbuild.engine.events import Checked, Event, Said, Told
from lkbuild.engine.project import Show
from lkbuild.engine.report import Failed
from lkbuild.errors import StoreError

_TAKES = (
    "format", "arch", "name", "pull", "offline", "cache", "images", "docker", "compression", "profile", "size",
    "bootloader", "decompress_kernel", "sbom", "sbom_output", "supplier", "lock", "json", "quiet", "verbose",
)  # fmt: skip

AUDIT_OPTIONS = tuple(option for option in BUILD_OPTIONS if option.name in _TAKES)


def work(given: Given, show: Show) -> int:
    """Audit the cache, or what of it the specs named are built from; 1 where something is not what it should be."""
    from lkbuild.engine.audit import DEFAULT_SAMPLE, Sample, audit, every_key
    from lkbuild.store import Store

    said = dict(given.words)
    sample = Sample.parse(said.get("sample", DEFAULT_SAMPLE), said.get("seed", ""))
    given = Given(tuple(word for word in given.words if word[0] not in ("sample", "seed")), given.names)

    def listen(event: Event) -> None:
        show(event)
        if isinstance(event, Checked) and event.outcome in ("differs", "damaged"):
            what = f" ({', '.join(event.outputs)})" if event.outputs else ""
            reason = f": {event.reason}" if event.reason else ": made again, it is another"
            show(Failed(StoreError(f"{event.step} ({event.key}){what}{reason}")))

    if given.names or "spec" in said:
        prepared = PROJECT.prepare(
            each_spec(given).options, lambda event: show(event) if isinstance(event, Said) else None
        )
        try:
            session = prepared.session
            keys = [key for key in map(session.key, session.steps) if key is not None]
            found = audit(session.place.store, keys, sample, listen)
        finally:
            prepared.close()
    else:
        root = cache(said.get("cache"), Path())
        if not (root / "results").is_dir():
            raise StoreError(f"{root} is no cache of lkbuild", "name it with --cache DIR or LKBUILD_CACHE")
        store = Store.open(root)
        try:
            found = audit(store, list(every_key(store)), sample, listen)
        finally:
            store.close()
    counts = Counter[str](each.outcome for each in found)
    show(
        Told(
            ", ".join(f"{counts[outcome]} {words}" for outcome, words in _OUTCOMES.items() if counts[outcome]) or _NONE
        )
    )
    return 1 if counts["differs"] or counts["damaged"] else 0


_NONE = "there is nothing in the cache that could be made again"
_OUTCOMES = {
    "same": "made again, the same",
    "differs": "differ",
    "damaged": "damaged and dropped",
    "skipped": "could not be made again",
}

command = Command(
    "lkbuild audit [FLAGS] [SPEC ...]",
    "Make a sample of the cache's results again, of those the specs need if any are named, and compare.",
    (
        Flag(("sample",), "sample", "how many: a number, or percent of all; 10% if nothing is said", "N|N%"),
        Flag(("seed",), "seed", "another text chooses another sample", "TEXT"),
        *flags_of(AUDIT_OPTIONS),
    ),
    work,
    ("spec", *_TAKES),
)
