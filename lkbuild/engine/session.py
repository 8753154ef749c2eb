"""A build in progress: which steps must run, why, and what they made.

What runs is decided in two passes over the graph (`plan.graph.needed`).  Forward: a step whose inputs are known and
whose result is on record is known itself.  Backward from the outputs: a step runs if somebody needs its blobs and they
are not all there; nobody needs those of an output whose files are on disk as they should be.  So intermediates that
were thrown away are not made again for an output that is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Set

from lkbuild.digest import Digest
from lkbuild.engine.budgets import Budgets
from lkbuild.engine.events import Said, Started
from lkbuild.engine.execute import Place, execute, fixed_result, key_of, on_record
from lkbuild.engine.limits import Limits
from lkbuild.errors import Problem, SpecError, StepError
from lkbuild.plan.graph import Graph, Output, needed, reached, without
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.step import Step, located
from lkbuild.store import Blob, Result


class Session:
    """The state of one build of `graph`.  Threads may share one."""

    def __init__(self, graph: Graph, place: Place) -> None:
        self.place = place
        self.results: dict[str, Result] = {}
        self._keys: dict[str, Digest] = {}
        self._reasons: dict[str, str] = {}
        self._needed: set[str] = set()
        self._noted: set[str] = set()
        self._made: set[str] = set()
        self._guard = threading.Lock()
        self._take(graph)

    def _take(self, graph: Graph) -> None:
        self.graph = graph
        self.steps = {step.name: step for step in graph.steps}
        self.results = {name: result for name, result in self.results.items() if name in self.steps}
        self._gated = any(KINDS[step.kind].gate for step in graph.steps)
        self._limits = Limits(graph)
        self._budgets = Budgets(graph, self.place.store)

    def decide(self, outputs: Iterable[Output], is_current: Callable[[Output, Session], bool]) -> set[str]:
        """Look up what is known and return the names of the steps that must run for `outputs` to be written.

        Nothing but gates must run for an output that `is_current`, which is asked when all is looked up.
        """
        for step in self.graph.steps:
            self._look_up(step)
        store, whole = self.place.store, dict[str, bool]()

        def is_whole(name: str) -> bool:
            if name not in whole:
                whole[name] = all(store.has(blob) for blob in self.results[name].blobs)
            return whole[name]

        outputs = tuple(outputs)
        wanted = [name for output in outputs if not is_current(output, self) for name in output.needs]
        wanted += [name for output in outputs for name in self.gates(output.needs)]
        self._needed = needed(self.graph, wanted, self.results.__contains__, is_whole)
        for name in self._needed:
            if name in self.results and fixed_result(self.steps[name]) is None:
                self._reasons[name] = "its result is no longer whole in the cache"
        for name in self.results.keys() - self._needed - self._noted:
            self._noted.add(name)
            for note in self.results[name].notes:
                self.place.listen(Said(located(self.steps[name], note)))
        return self._needed

    def too_much(self) -> list[tuple[str, Problem]]:
        """Machines of which what is known already is too much for an output, or for their budget, and why."""
        return [*self._limits.problems(self.results), *self._budgets.problems(self.results)]

    def leave_out(self, machines: Set[str]) -> None:
        """Build all but these machines; `decide` is to be called anew."""
        self._take(without(self.graph, machines))

    def gates(self, names: Iterable[str]) -> list[str]:
        """The gates that stand before the steps `names`: verifications, above all of what is in the cache already."""
        if not self._gated:
            return []
        return sorted(name for name in reached(self.steps, names) if KINDS[self.steps[name].kind].gate)

    def is_open(self, names: Iterable[str]) -> bool:
        """Whether every gate before the steps `names` holds."""
        return all(name in self.results for name in self.gates(names))

    def must_run(self, name: str) -> bool:
        """Whether `decide` found that the step must run."""
        return name in self._needed

    def is_made(self, name: str) -> bool:
        """Whether the step's result is there: it need not run, or has."""
        return name in self._made or (name in self.results and name not in self._needed)

    def reason(self, name: str) -> str:
        """Why the step must run, in words; empty where it need not."""
        return self._reasons.get(name, "") if name in self._needed else ""

    def explain(self, name: str, reason: str) -> None:
        """Give a better reason for a step that must run."""
        self._reasons[name] = reason

    def key(self, name: str) -> Digest | None:
        """The key of the step's result, None while its inputs are not known."""
        known = self._keys.get(name)
        if known is not None:
            return known
        inputs = self.inputs(self.steps[name])
        return None if inputs is None else self._keyed(self.steps[name], inputs)

    def make(self, name: str) -> Result:
        """Make the step's result, and before it whatever input of it is missing.

        SpecError for a step that only such outputs need as cannot be, by what is known now, and for one that is made
        where an output to be written from it is more than its budget.
        """
        step = self.steps[name]
        if problem := self._limits.refused(name):
            raise SpecError([problem])
        for upstream in step.needs:
            result = self.results.get(upstream)
            if result is None or not all(map(self.place.store.has, result.blobs)):
                self.make(upstream)
        inputs = self.inputs(step)
        if inputs is None:
            raise StepError(f"{name}: the inputs of this step could not be made")
        self.place.listen(Started(name, self.reason(name)))
        result = execute(step, inputs, self.place, self._keyed(step, inputs))
        with self._guard:
            self.results[name] = result
            self._limits.made(name, self.results)
            self._made.add(name)
        for note in result.notes:
            self.place.listen(Said(located(step, note)))
        if problems := self._budgets.problems(self.results, name):
            raise SpecError([problem for _, problem in problems])
        return result

    def blob(self, name: str, output: str) -> Blob:
        """What the step `name` made under `output`; StepError where it made none."""
        try:
            return self.results[name][output]
        except KeyError:
            raise StepError(f"{name}: made no {output!r}") from None

    def _keyed(self, step: Step, inputs: Mapping[str, Blob]) -> Digest:
        """The key of a step whose inputs are these.  What an input is may yet change, if its step is made anew."""
        key = self._keys[step.name] = key_of(step, inputs)
        return key

    def inputs(self, step: Step) -> dict[str, Blob] | None:
        """What the step reads, by role; None while some of it is not known."""
        found: dict[str, Blob] = {}
        for wanted in step.inputs:
            if wanted.blob is not None:
                found[wanted.role] = Blob(wanted.blob, wanted.size)
                continue
            result = self.results.get(wanted.step or "")
            if result is None:
                return None
            found[wanted.role] = self.blob(wanted.step or "", wanted.output or "")
        return found

    def _look_up(self, step: Step) -> None:
        fixed = fixed_result(step)
        if fixed is not None:
            self.results[step.name] = fixed
            self._reasons[step.name] = "not fetched yet"
            return
        inputs = self.inputs(step)
        if inputs is None:
            self._reasons[step.name] = f"waits for {', '.join(n for n in step.needs if n not in self.results)}"
            return
        key = self._keyed(step, inputs)
        result = on_record(step, key, self.place.store)
        if result is None:
            self._reasons[step.name] = "never made from these inputs"
        else:
            self.results[step.name] = result
            self.place.store.touch(key)
