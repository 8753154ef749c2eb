"""What the media of a graph can hold, against what is known of their contents: nothing is made that cannot fit.

What is known grows while a build runs: at first what the store has of it, then each segment that is made.  A part that
is not made yet counts as nothing, since how well it compresses is not to be foreseen.  So what is refused could never
be; what is not may still be refused, to the byte, by the step that lays the medium out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lkbuild.disk.room import LIMITS, Contents, Part
from lkbuild.errors import Origin, Problem, StepError
from lkbuild.frozen import frozen
from lkbuild.plan.graph import Graph, Output, reached
from lkbuild.plan.media_kinds import Medium, Rpi3
from lkbuild.plan.step import Input, Step
from lkbuild.store import Result

Results = Mapping[str, Result]


@frozen
class _Limited:
    """A step that lays out a medium: the limit it has, and which inputs of which steps are its kernel and initrd."""

    step: Step
    limit: str
    size: int | None
    kernel: tuple[Input, ...]
    initrd: tuple[Input, ...]

    @property
    def sources(self) -> set[str]:
        """The steps its contents come from."""
        return {part.step for part in (*self.kernel, *self.initrd) if part.step}

    def error(self, steps: Mapping[str, Step], results: Results) -> StepError | None:
        """Why it cannot be made; None as far as is known."""
        kernel, initrd = (tuple(_known(part, steps, results)) for part in (self.kernel, self.initrd))
        return LIMITS[self.limit](Contents(kernel, initrd), self.size)


class Limits:
    """The media of a graph, and the steps that are not to run because no output can come of them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._steps = {step.name: step for step in graph.steps}
        self._media = [medium for step in graph.steps if (medium := _limited(step, self._steps)) is not None]
        self._by_source: dict[str, list[_Limited]] = {}
        for medium in self._media:
            for name in medium.sources:
                self._by_source.setdefault(name, []).append(medium)
        self._impossible: set[str] = set()
        self._refused: dict[str, Problem] = {}

    def problems(self, results: Results) -> list[tuple[str, Problem]]:
        """Why outputs cannot be made, by what is known; each with its machine."""
        return [
            (machine, problem)
            for medium in self._media
            if (problem := self._problem(medium, results))
            for machine in dict.fromkeys(output.machine for output in self._outputs(medium))
        ]

    def made(self, name: str, results: Results) -> None:
        """A step was made: more is known of the media it is part of."""
        for medium in self._by_source.get(name, ()):
            if medium.step.name not in self._impossible and (problem := self._problem(medium, results)):
                self._impossible.add(medium.step.name)
                self._give_up(problem)

    def refused(self, name: str) -> Problem | None:
        """Why a step is not to be made: all outputs that need it cannot be."""
        return self._refused.get(name)

    def _problem(self, medium: _Limited, results: Results) -> Problem | None:
        error = medium.error(self._steps, results)
        if error is None:
            return None
        formats = ", ".join(dict.fromkeys(output.format for output in self._outputs(medium)))
        return Problem(medium.step.origin or Origin(medium.step.name), f"{formats}: {error.message}", error.hint)

    def _outputs(self, medium: _Limited) -> list[Output]:
        """The outputs that need a medium."""
        return [o for o in self._graph.outputs if medium.step.name in reached(self._steps, o.needs)]

    def _give_up(self, problem: Problem) -> None:
        closures = [reached(self._steps, output.needs) for output in self._graph.outputs]
        kept = {name for closure in closures if closure.isdisjoint(self._impossible) for name in closure}
        for name in set().union(*closures) - kept:
            self._refused.setdefault(name, problem)


def _limited(step: Step, steps: Mapping[str, Step]) -> _Limited | None:
    """What limits a step, None for one that lays out no medium or one that has no limit."""
    match step.params:
        case Medium(maker) if maker in LIMITS:
            limit, size = maker, step.params.bytes
        case Rpi3():
            limit, size = "rpi3", None
        case _:
            return None
    inputs = {item.role: item for item in step.inputs}
    initrd = steps[inputs["initrd"].step or ""]
    segments = tuple(item for item in initrd.inputs if item.role == "ucode" or item.role.startswith("segment"))
    return _Limited(step, limit, size, (inputs["kernel"],), segments)


def _known(parts: Iterable[Input], steps: Mapping[str, Step], results: Results) -> Iterator[Part]:
    """Those of the parts whose size is known, by the names of their steps; of a local file it is known at once."""
    for part in parts:
        step, result = steps[part.step or ""], results.get(part.step or "")
        if result is not None:
            yield step.name, result[part.output or ""].size
        elif step.kind == "text" and step.inputs:
            yield step.name, step.inputs[0].size
