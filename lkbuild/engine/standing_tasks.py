"""The tasks there are before any spec is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from doit.task import Task

from lkbuild.engine.arguments import BUILD_OPTIONS, Option
from lkbuild.engine.tasks import BUILD_DOC, Action, OurTask

OURS = ("build", "boot", "dev", "lock", "update", "plan", "why", "report")

DOCS = {
    "build": BUILD_DOC,
    "boot": "build a machine and run it under QEMU: spec=FILE, and what `lkbuild run qemu --help` lists",
    "dev": "build a machine, run it, and change it with every save: spec=FILE, service=NAME, and what `boot` takes",
    "lock": "write a lock file beside each spec: images by digest, packages by version; what is locked stays",
    "update": "write the lock files anew, as registries and package archives are now",
    "plan": "tell what a build would do: steps that would run and why, bytes to fetch and to write, seconds expected",
    "report": "write what the last build of the specs did, and what is in their images, as one HTML file",
    "why": "tell what changed since the machine was last built, and so why the tasks named after it would run, or ran",
}


def standing_tasks(work: Mapping[str, Callable[[], object]]) -> dict[str, OurTask]:
    """The tasks by name; `work` is what those besides `build` do."""
    tasks = {"build": OurTask(Task("build", None, has_subtask=True, doc=DOCS["build"]), lambda: "spec= names no spec")}
    for name, function in work.items():
        task = Task(name, [Action(function, DOCS[name])], doc=DOCS[name], io={"capture": False})
        tasks[name] = OurTask(task, lambda: "it is run whenever it is asked for")
    return tasks


def help_text(name: str, others: Mapping[str, Iterable[Option]]) -> str | None:
    """What a task does and the words it takes, `others` those besides the ones for building; None for other tasks."""
    if name not in DOCS:
        return None
    options = [Option("spec", "FILE", "files and globs, each match a machine; a.yml+b.yml merges; can be repeated")]
    options += [*BUILD_OPTIONS, *others.get(name, ())]
    rows = [(f"{option.name}={option.value}", option.meaning) for option in options]
    width = max(len(left) for left, _ in rows) + 2
    return "\n".join([f"{name}  {DOCS[name]}", "", *(f"  {left:{width}}{right}" for left, right in rows), ""])
