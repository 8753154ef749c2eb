"""Why a step runs: what of it is not as it was in an earlier build, back to what no step made: a param, a file, a tag.

Comparing two sides needs no clock and no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from lkbuild.engine.differences import NOTHING, differences, shortened
from lkbuild.engine.sides import Made, Side, Source
from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.step import Step

NONE = "nothing"
"""The old value of what is new, and the new one of what is gone."""


@frozen
class Change:
    """One thing of a step that is not as it was: what it is, its old and new value, the place in the spec.

    `step`: the step it comes from, whose own causes say more.
    """

    what: str
    old: str
    new: str
    place: str = ""
    step: str = ""


@frozen
class Cause:
    """A step and what of it changed; where nothing did, or nobody knows, `note` says so."""

    step: str
    changes: tuple[Change, ...] = ()
    note: str = ""


@frozen
class _Pair:
    """An input before and after, either None where there was, or is, none; `source` is the later of them."""

    old: Source | None
    new: Source | None
    source: Source

    @property
    def differs(self) -> bool:
        return self.old is None or self.new is None or self.old.digest != self.new.digest


def causes(name: str, old: Side, new: Side, planned: Mapping[str, Step]) -> tuple[Cause, ...]:
    """What of the step `name` changed, then what of the steps that made what it reads, back to the roots.

    `planned` has the steps as they are planned now, for their places in the spec.
    """
    found: dict[str, Cause] = {}
    pending = [name]
    while pending:
        each = pending.pop(0)
        if each not in found:
            found[each] = cause(each, old, new, planned.get(each))
            pending += [change.step for change in found[each].changes if change.step]
    return tuple(found.values())


def cause(name: str, old: Side, new: Side, planned: Step | None) -> Cause:
    """What of the step `name` alone changed."""
    before, after = old.made(name), new.made(name)
    if after is None:
        return Cause(name, note="is gone, or what it was made from is no longer in the cache")
    if before is None:
        return Cause(name, note="changed, but what it was made from before is no longer in the cache")
    changes = tuple(_changes(before, after, planned))
    return Cause(name, changes, "" if changes else "is as it was")


def _changes(old: Made, new: Made, planned: Step | None) -> Iterator[Change]:
    if old.kind != new.kind:
        yield Change("kind", old.kind, new.kind)
        return
    if old.version != new.version:
        yield Change(f"version of {new.kind} steps", str(old.version), str(new.version))
    files = {source.file for source in (*old.sources, *new.sources)} - {""}
    params = tuple(_param_changes(old, new, planned, files))
    yield from _fetched(old, new) if params and new.unkeyed else params
    yield from _input_changes(old, new)


def _param_changes(old: Made, new: Made, planned: Step | None, files: Set[str]) -> Iterator[Change]:
    """Params; entries that came or went whole and are inputs too are told of as those."""
    kind = KINDS.get(new.kind)
    for each in differences(kind.params if kind else Any, old.params, new.params):
        if NOTHING in (each.old, each.new) and each.path[-1].strip("[]") in files:
            continue
        one, other = shortened(each.old, each.new)
        yield Change(f"params.{each.where}", one, other, _place(planned, each.path))


def _fetched(old: Made, new: Made) -> Iterator[Change]:
    """What is fetched by digest: people know it by its name, which now means something else."""
    for name, value in new.unkeyed.items():
        before = old.unkeyed.get(name)
        if name == "uri":
            yield Change("package", str(before).rpartition("/")[2], str(value).rpartition("/")[2])
        elif name == "reference":
            one, other = (", ".join(_layers(made.params)) for made in (old, new))
            yield Change(f"layers of {value}", one, other)


def _layers(params: Mapping[str, Any]) -> list[str]:
    layers = params.get("layers")
    return [str(each.get("digest")) for each in layers] if isinstance(layers, list) else []


def _place(planned: Step | None, path: Iterable[str]) -> str:
    """The place in the spec of what `path` names, as near as the step knows."""
    if planned is None:
        return ""
    places = dict(planned.places)
    found: Origin | None = planned.origin
    for part in path:
        found = places.get(part.strip("[]"), found)
    return str(found) if found else ""


def _input_changes(old: Made, new: Made) -> Iterator[Change]:
    """Inputs that hold something else, that came or went, those of one step taken together; or their order."""
    together: dict[tuple[str, bool, bool], list[_Pair]] = {}
    for pair in _paired(old.sources, new.sources):
        if pair.differs:
            whose = pair.source.maker or f"={pair.source.role}"
            together.setdefault((whose, pair.old is None, pair.new is None), []).append(pair)
    yield from map(_changed, together.values())
    if not together and [source.digest for source in old.sources] != [source.digest for source in new.sources]:
        yield Change("order of the inputs", _order(old), _order(new))


def _changed(pairs: list[_Pair]) -> Change:
    """Inputs out of one step, as one change."""
    first = pairs[0]
    what, maker = first.source.called, first.source.maker
    if maker:
        known = {step for step, _ in first.old.makers} if first.old else set()
        instead = f" in place of {first.old.maker}" if first.old and known and maker not in known else ""
        what = f"{', '.join(pair.source.role for pair in pairs)} ({maker}{instead})"
    old, new = (source.contents if source else NONE for source in (first.old, first.new))
    return Change(what, old, new, step=maker if first.new else "")


def _paired(old: Iterable[Source], new: Iterable[Source]) -> Iterator[_Pair]:
    """Inputs before and after: those that come out of the same step, or are the same file; else of the same role."""
    left = list(old)
    waiting: list[Source] = []
    for source in new:
        same = next((each for each in left if _same_origin(each, source)), None)
        if same is None:
            waiting.append(source)
        else:
            left.remove(same)
            yield _Pair(same, source, source)
    for source in waiting:
        same = next((each for each in left if each.role == source.role and not source.file), None)
        if same is not None:
            left.remove(same)
        yield _Pair(same, source, source)
    for source in left:
        yield _Pair(source, None, source)


def _same_origin(old: Source, new: Source) -> bool:
    if new.makers:
        return any(maker in old.makers for maker in new.makers)
    return not old.makers and (old.file or old.role) == (new.file or new.role)


def _order(made: Made) -> str:
    return ", ".join(dict.fromkeys(source.maker or source.role for source in made.sources))
