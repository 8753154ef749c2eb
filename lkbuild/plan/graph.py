"""The graph of a build: steps in an order in which they can run, and the files that come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from lkbuild.errors import LkbuildError
from lkbuild.plan.step import Step


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file to be written at `path` (absolute) from `output` of the step `step`: a recipe, or the bytes themselves."""

    path: str
    step: str
    output: str
    recipe: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One format of one machine: what `build:NAME:FORMAT` writes."""

    machine: str
    format: str
    files: tuple[OutputFile, ...]

    @property
    def name(self) -> str:
        """The task's name."""
        return f"build:{self.machine}:{self.format}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps whose outputs are written."""
        return tuple(dict.fromkeys(file.step for file in self.files))


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps, each after those it needs, names unique; and outputs, paths unique."""

    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]

    def step(self, name: str) -> Step:
        """The step called `name`; KeyError where there is none."""
        return next(step for step in self.steps if step.name == name)


def merge(graphs: Iterable[Graph]) -> Graph:
    """One graph of many: equal steps once, different steps of one name told apart, each output path written by one.

    Two specs that share an image share its steps; two that call different things by one name get `NAME@2`, `NAME@3`, in
    the order they come.
    """
    names: dict[Step, str] = {}
    used: dict[str, int] = {}
    steps: list[Step] = []
    outputs: list[Output] = []
    for graph in graphs:
        renamed: dict[str, str] = {}
        for original in graph.steps:
            step = _renamed(original, renamed)
            if step not in names:
                used[step.name] = number = used.get(step.name, 0) + 1
                names[step] = step.name if number == 1 else f"{step.name}@{number}"
                steps.append(replace(step, name=names[step]))
            renamed[original.name] = names[step]
        outputs += [_renamed_output(output, renamed) for output in graph.outputs]
    _refuse_shared_paths(outputs)
    return Graph(tuple(steps), tuple(outputs))


def _renamed(step: Step, names: Mapping[str, str]) -> Step:
    if not any(i.step and names.get(i.step, i.step) != i.step for i in step.inputs):
        return step
    return replace(step, inputs=tuple(replace(i, step=names[i.step]) if i.step else i for i in step.inputs))


def _renamed_output(output: Output, names: Mapping[str, str]) -> Output:
    return replace(output, files=tuple(replace(file, step=names[file.step]) for file in output.files))


def _refuse_shared_paths(outputs: Iterable[Output]) -> None:
    owner: dict[str, str] = {}
    for output in outputs:
        for file in output.files:
            other = owner.setdefault(file.path, output.name)
            if other != output.name:
                raise LkbuildError(
                    f"{other} and {output.name} would both write {file.path}",
                    "give them other names (name=NAME) or other directories (dir=DIR), or build one format at a time",
                )


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
