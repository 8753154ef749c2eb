"""What a machine may weigh at most, against what it does: told before anything is written.

A spec's `budget` gives two limits: `image`, the bytes of an output's files, and `memory`, what the machine needs to
unpack its initrd.  Both are known when the steps are done whose outputs are written, often before the build began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lkbuild.archive.index import MAX_INDEX, IndexEntry, parse_index
from lkbuild.archive.initramfs import memory_needed
from lkbuild.archive.weight import heaviest, in_memory, weigh
from lkbuild.disk.limits import size_text
from lkbuild.engine.parts import Part, parts
from lkbuild.errors import Problem
from lkbuild.frozen import frozen
from lkbuild.plan.budget import Limit
from lkbuild.plan.graph import Graph, Output, reached
from lkbuild.plan.step import Step
from lkbuild.store import Result, Store
from lkbuild.store.recipe import written_size

Results = Mapping[str, Result]
_BLAMED, _DIRECTORIES = 4, 2
_ROOTS = ("initrd", "tar", "docker")
_HINT = "make these smaller, or give a larger budget; `lkbuild report` draws all of it"


@frozen
class Used:
    """What an output takes of one of its machine's limits, in bytes."""

    output: Output
    limit: Limit
    bytes: int


class Budgets:
    """The outputs of a graph that have a budget."""

    def __init__(self, graph: Graph, store: Store) -> None:
        self._store = store
        self._steps = {step.name: step for step in graph.steps}
        self._outputs = [output for output in graph.outputs if output.budget is not None]

    def problems(self, results: Results, made: str | None = None) -> list[tuple[str, Problem]]:
        """What is more than its budget of all that is known; where a step is `made`, of what is written from it.

        Each with its machine.
        """
        if not self._outputs:
            return []
        outputs = [output for output in self._outputs if made is None or made in output.needs]
        used = self.used(outputs, results)
        return [(each.output.machine, self._problem(each, results)) for each in used if each.bytes > each.limit.bytes]

    def used(self, outputs: Iterable[Output], results: Results) -> Iterator[Used]:
        """What outputs take of their limits, as far as it is known."""
        for output in outputs:
            known = all(name in results for name in output.needs)
            for limit in output.budget.limits if output.budget is not None and known else ():
                size = self._size(output, results) if limit.which == "image" else self._memory(output, results)
                if size is not None:
                    yield Used(output, limit, size)

    def _size(self, output: Output, results: Results) -> int | None:
        files = ((file, results[file.step][file.output]) for file in output.files)
        sizes = [written_size(self._store, blob, file.recipe, file.tree) for file, blob in files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def _memory(self, output: Output, results: Results) -> int | None:
        """None for an output whose initrd, if it has one, is not known or no longer here."""
        step = self._root(output, ("initrd",))
        found = None if step is None else self._parts(step, results)
        if step is None or found is None or step.name not in results:
            return None
        packed = written_size(self._store, results[step.name]["recipe"], recipe=True)
        if packed is None:
            return None
        unpacked = sum(in_memory(self._rows(part)) for part in found)
        return memory_needed(packed, unpacked, "" if output.budget is None else output.budget.cmdline)

    def _root(self, output: Output, kinds: tuple[str, ...]) -> Step | None:
        """The step that puts the segments together which the output is made of."""
        names = reached(self._steps, output.needs)
        steps = [self._steps[name] for name in sorted(names)]
        return next((step for kind in kinds for step in steps if step.kind == kind), None)

    def _parts(self, step: Step, results: Results) -> list[Part] | None:
        makers = {each.role: each.step or "" for each in step.inputs}
        if any(each.step is not None and each.step not in results for each in step.inputs):
            return None
        inputs = {i.role: results[i.step or ""][i.output or ""] for i in step.inputs if i.step is not None}
        found = list(parts(inputs, makers))
        return found if all(self._store.has(part.index) for part in found) else None

    def _rows(self, part: Part) -> list[IndexEntry]:
        return parse_index(self._store.read(part.index.digest, MAX_INDEX))

    def _problem(self, used: Used, results: Results) -> Problem:
        what = "has" if used.limit.which == "image" else "needs, to unpack its initrd,"
        message = (
            f"{used.output.name} {what} {size_text(used.bytes)}, and the budget is {size_text(used.limit.bytes)}:"
            f" {size_text(used.bytes - used.limit.bytes)} too much"
        )
        blamed = self._blamed(used, results)
        return Problem(used.limit.origin, f"{message}; the largest parts: {blamed}" if blamed else message, _HINT)

    def _blamed(self, used: Used, results: Results) -> str:
        """The largest parts, each with its largest directories: by packed bytes for an image, else by unpacked ones."""
        step = self._root(used.output, _ROOTS)
        found = None if step is None else self._parts(step, results)
        packed = used.limit.which == "image"
        groups: dict[str, list[Part]] = {}
        for part in found or ():
            groups.setdefault(part.group, []).append(part)
        sizes: dict[str, int] = {}
        inside: dict[str, str] = {}
        for group, members in groups.items():
            weights = [weigh(self._rows(part)) for part in members]
            sizes[group] = sum(
                part.segment.size if packed else weight.size for part, weight in zip(members, weights, strict=True)
            )
            heavy = heaviest(max(weights, key=lambda weight: weight.size), _DIRECTORIES)
            inside[group] = ", ".join(f"{_text(path)} {size_text(size)}" for path, size in heavy if size)
        if packed:
            sizes.update(self._others(used.output, results, step))
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:_BLAMED]
        return "; ".join(
            f"{name} {size_text(sizes[name])}" + (f" (unpacked: {inside[name]})" if inside.get(name) else "")
            for name in largest
        )

    def _others(self, output: Output, results: Results, root: Step | None) -> Iterator[tuple[str, int]]:
        """The output's files that are blobs by themselves: the kernel above all."""
        for file in output.files:
            if not file.recipe and not file.tree and (root is None or file.step != root.name):
                yield file.path.rpartition("/")[2], results[file.step][file.output].size


def _text(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)
