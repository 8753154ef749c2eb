"""The graph of a build: steps in an order in which they can run, and the files that come of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import replace

from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen
from lkbuild.plan.budget import Budget
from lkbuild.plan.step import Input, Step

_NUMBER = re.compile(r"@[0-9]+\Z")

SHARED_PATH = "give them other names (name=NAME) or other directories (dir=DIR), or build one format at a time"
"""What to do where two outputs would be one file."""


@frozen
class OutputFile:
    """A file to be written at `path` (absolute) from `output` of the step `step`: a recipe, or the bytes themselves.

    With `tree`, `path` is a directory, and the output a JSON object (`store.recipe.Tree`) of the files in it.  With
    `optional`, there is to be no file where the bytes are none.
    """

    path: str
    step: str
    output: str
    recipe: bool = False
    tree: bool = False
    optional: bool = False


@frozen
class Output:
    """One format of one machine: what `build:NAME:FORMAT` writes, and what it may weigh.

    `beside`: it tells of the others, and is no form of the machine itself.
    """

    machine: str
    format: str
    files: tuple[OutputFile, ...]
    beside: bool = False
    budget: Budget | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return f"build:{self.machine}:{self.format}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps whose outputs are written."""
        return tuple(dict.fromkeys(file.step for file in self.files))


@frozen
class Graph:
    """Steps, each after those it needs, names unique; and outputs, paths unique."""

    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]

    def step(self, name: str) -> Step:
        """The step called `name`; KeyError where there is none."""
        return next(step for step in self.steps if step.name == name)


class StepSet:
    """Steps being collected, each after those it needs: equal ones once, and different ones of one name told apart.

    The second that wants a name gets `NAME@2`, the third `NAME@3`.  NB: a name's `@N` does not tell steps apart, so
    that sets collected apart share what they have in common.
    """

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._names: dict[Step, str] = {}

    @property
    def all(self) -> tuple[Step, ...]:
        """The steps in the order they came."""
        return tuple(self._steps.values())

    def add(self, step: Step) -> str:
        """Take a step in, unless one equal to it is there; returns the name it has here."""
        known = step if "@" not in step.name else _named(step, _NUMBER.sub("", step.name))
        found = self._names.get(known)
        if found is None:
            found, number = step.name, 2
            while found in self._steps:
                found, number = f"{known.name}@{number}", number + 1
            self._names[known] = found
            self._steps[found] = _named(step, found)
        return found

    def add_all(self, steps: Iterable[Step]) -> dict[str, str]:
        """Take in steps that name each other, each after those it needs; returns the name each has here by its own."""
        names: dict[str, str] = {}
        for step in steps:
            inputs = renamed(step.inputs, names)
            names[step.name] = self.add(step if inputs is step.inputs else replace(step, inputs=inputs))
        return names


def _named(step: Step, name: str) -> Step:
    return step if step.name == name else replace(step, name=name)


def renamed(inputs: tuple[Input, ...], names: Mapping[str, str]) -> tuple[Input, ...]:
    """Inputs of the steps that have other names now; those `names` does not hold stay as they are."""
    if all(i.step is None or names.get(i.step, i.step) == i.step for i in inputs):
        return inputs
    return tuple(replace(i, step=names.get(i.step, i.step)) if i.step else i for i in inputs)


def merge(graphs: Iterable[Graph]) -> Graph:
    """One graph of many: equal steps once, different steps of one name told apart, each output path written by one.

    Two specs that share an image share its steps; two that call different things by one name get `NAME@2`, `NAME@3`, in
    the order they come.
    """
    steps = StepSet()
    outputs: list[Output] = []
    for graph in graphs:
        names = steps.add_all(graph.steps)
        outputs += [_renamed_output(output, names) for output in graph.outputs]
    _refuse_shared_paths(outputs)
    return Graph(steps.all, tuple(outputs))


def _renamed_output(output: Output, names: Mapping[str, str]) -> Output:
    return replace(output, files=tuple(replace(file, step=names[file.step]) for file in output.files))


def _refuse_shared_paths(outputs: Iterable[Output]) -> None:
    owner: dict[str, str] = {}
    for output in outputs:
        for file in output.files:
            other = owner.setdefault(file.path, output.name)
            if other != output.name:
                raise LkbuildError(f"{other} and {output.name} would both write {file.path}", SHARED_PATH)


Writer = tuple[int, str]
"""The number of a graph, and the name of one of its outputs."""


def at_odds(graphs: Mapping[int, Graph]) -> Iterator[tuple[Writer, Writer, str]]:
    """Each two graphs that would write one path, and the path."""
    owner: dict[str, Writer] = {}
    for number, graph in graphs.items():
        for output in graph.outputs:
            for file in output.files:
                first = owner.setdefault(file.path, (number, output.name))
                if first[0] != number:
                    yield first, (number, output.name), file.path


def without(graph: Graph, machines: Set[str]) -> Graph:
    """The graph without these machines, and without the steps that only they need; names stay."""
    outputs = tuple(output for output in graph.outputs if output.machine not in machines)
    steps = {step.name: step for step in graph.steps}
    wanted = reached(steps, (name for output in outputs for name in output.needs))
    return Graph(tuple(step for step in graph.steps if step.name in wanted), outputs)


def reached(steps: Mapping[str, Step], names: Iterable[str]) -> set[str]:
    """These steps, and all that they need, and those again."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += steps[name].needs
    return found


def needed(graph: Graph, wanted: Iterable[str], known: Callable[[str], bool], whole: Callable[[str], bool]) -> set[str]:
    """The steps that must run so that the outputs of the steps `wanted` are there.

    `known(name)` says whether the step's result is on record, `whole(name)` whether its blobs are all there too.
    A step on record whose blobs are gone runs only if one that must run, or a wanted output, reads them.
    """
    steps = {step.name: step for step in graph.steps}
    run: set[str] = set()
    pending = [name for name in wanted if not (known(name) and whole(name))]
    while pending:
        name = pending.pop()
        if name in run:
            continue
        run.add(name)
        pending += [upstream for upstream in steps[name].needs if not (known(upstream) and whole(upstream))]
    return run
