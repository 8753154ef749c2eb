"""A toy engine: specs of lines `NAME [< DEPENDENCY ...]: TEXT`, each a step that joins what it depends on and TEXT.

A line `crash` is a mistake of ours.
TEXT may be `sleep SECONDS`, `mark FILE SECONDS` (make a file, run a program that long), `note WORDS`, `fail` or
`crash`.  The last line's step is the output.  It lets tests of tasks, stamps and the command line run without images.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lkbuild.engine.execute import Place
from lkbuild.engine.outputs import is_current
from lkbuild.engine.refusing import Files, Refusal, Refusals
from lkbuild.engine.session import Session
from lkbuild.engine.stamp import Watch
from lkbuild.errors import Origin, Problem, SpecError, StepError
from lkbuild.plan.graph import Graph, Output, OutputFile, merge
from lkbuild.plan.kinds import KINDS, Kind
from lkbuild.plan.step import Input, Step
from lkbuild.steps.functions import FUNCTIONS
from lkbuild.store import Store


@dataclass(frozen=True, slots=True)
class Toy:
    text: str


def toy(params: Toy, work: Any) -> None:
    word, _, rest = params.text.partition(" ")
    if word == "sleep":
        time.sleep(float(rest))
    elif word == "mark":
        name, seconds = rest.split()
        Path(name).touch()
        subprocess.run(["sleep", seconds], check=True)
    elif word == "fail":
        raise StepError("this toy is broken", "mend it")
    elif word == "crash":
        raise ZeroDivisionError("toy")
    elif word == "note":
        work.note(rest)
    text = "".join(file.path.read_text() for file in work.numbered("part"))
    work.output("out").write_text(text + params.text + "\n")


KIND = Kind("toy", 1, Toy)
"""Known from the first `prepare` on, and not by loading this: the record of every build names all kinds there are."""


@dataclass(frozen=True, slots=True)
class ToyPrepared:
    session: Session
    watch: Watch
    machines: tuple[Files, ...]
    refused: tuple[Refusal, ...]

    def close(self) -> None:
        self.session.place.store.close()


def prepare(options: Any, listen: Any, going_on: bool = False) -> ToyPrepared:
    KINDS.setdefault("toy", KIND)
    FUNCTIONS.setdefault("toy", toy)
    watch, refusals = Watch(), Refusals(options.machines, going_on)
    store = Store.open(options.cache)
    graphs = refusals.each(lambda number: _graph(options.machines[number], options, watch.part(number)))
    refusals.settle()
    session = Session(merge(graphs.values()), Place(store, None, listen))  # type: ignore[arg-type]
    session.decide(session.graph.outputs, is_current)
    watch.keep(refusals.left)
    machines = tuple(options.machines[number] for number in refusals.left)
    return ToyPrepared(session, watch, machines, refusals.found)


def _graph(files: tuple[Path, ...], options: Any, watch: Watch) -> Graph:
    machine = options.name or files[-1].stem
    steps: list[Step] = []
    for file in files:
        watch.add_file(file)
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line == "crash":
                raise ZeroDivisionError("toy")
            match = re.fullmatch(r"(\w+)(?: <((?: \w+)+))?: (.*)", line)
            if match is None:
                raise SpecError([Problem(Origin(str(file), number), f"{line!r} is no step", "write NAME: TEXT")])
            parts = (match[2] or "").split()
            inputs = tuple(Input(f"part{n}", f"toy:{machine}/{part}", "out") for n, part in enumerate(parts))
            steps.append(Step(f"toy:{machine}/{match[1]}", "toy", Toy(match[3]), inputs, Origin(str(file), number)))
    outputs = []
    for name in options.formats or ("tar",):
        path = str(options.directory.absolute() / f"{machine}.{name}")
        outputs.append(Output(machine, name, (OutputFile(path, steps[-1].name, "out"),)))
    return Graph(tuple(steps), tuple(outputs))
