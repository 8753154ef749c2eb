"""What doit's commands do in a project of lkbuild's."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from doit import doit_cmd, loader
from doit.cmd_base import TaskLoader2
from doit.cmdparse import CmdParseError
from doit.dependency import Dependency
from doit.task import Task

from lkbuild.engine import jobs
from lkbuild.engine.arguments import Order, manner, order, switched
from lkbuild.engine.building import EVERYTHING, Others, Wish, build, store_writing
from lkbuild.engine.events import Said, nobody
from lkbuild.engine.project import VARIABLES, Project, Show, guarded, said, where
from lkbuild.engine.running import Manners, parse_words, unknown
from lkbuild.engine.specs import no_spec
from lkbuild.engine.standing_tasks import OURS, standing_tasks
from lkbuild.engine.tasks import OurTask, Standing, build_tasks
from lkbuild.errors import UsageError

_MEANINGLESS = {
    "forget": (
        "there is nothing to forget: what is up to date is told by the contents of files, not by a record of past runs",
        "`doit clean spec=FILE` removes outputs, pull=always asks anew, `lkbuild cache gc` shrinks the cache",
    ),
    "ignore": (
        "a step cannot be left out, since the image would not be what the spec says",
        "name what you want instead: `doit build:NAME:FORMAT spec=FILE`",
    ),
    "reset-dep": (
        "there is nothing to reset: what is up to date is told by the contents of files, not by a record of past runs",
        "`doit info TASK spec=FILE` says how a task stands and why",
    ),
    "dumpdb": (
        "there is no database: what was made is in the cache, by the digest of what it was made from",
        "`doit info TASK spec=FILE` says how a task stands, `lkbuild cache ls` what the cache holds",
    ),
    "strace": (
        "steps are no commands that could be traced: they run in threads of this process",
        "`strace -f doit build spec=FILE` traces all of it, `doit info TASK spec=FILE` says what a task depends on",
    ),
}


@dataclasses.dataclass(slots=True)
class Call:
    """A command of doit's called in a project: `params` are its options, `args` its other words."""

    command: Any
    project: Project
    params: Any
    args: tuple[str, ...]

    def guarded(self) -> int:
        """Do it; returns what to exit with."""
        words = self._words()
        verbose = ("verbose", "yes") in words or self.params.get("verbosity") == 2
        show = self.project.show(manner(words), verbose)
        return guarded(lambda: self._do(show), show, self.project.leave)

    def _words(self) -> tuple[tuple[str, str], ...]:
        return switched(said(sys.argv[1:], doit_cmd._CMDLINE_VARS or {}))

    def _do(self, show: Show) -> int:
        if self.command.name == "dumpdb":
            raise UsageError(*_MEANINGLESS["dumpdb"])
        config = {"default_tasks": ["build"], **self.command.loader.load_doit_config()}
        self.params.update_defaults(config)
        theirs = self._their_tasks()
        self._options_after_tasks(theirs)
        selection = self.args or tuple(config["default_tasks"])
        named = any(name == "spec" for name, _ in self._words())
        if not named and selection and self._only_theirs(selection, theirs):
            return int(self.command.theirs(self.params, self.args) or 0)
        if self.command.name in _MEANINGLESS:
            raise UsageError(*_MEANINGLESS[self.command.name])
        if self.command.name == "run":
            return self._run(show, selection, theirs)
        return self._look(show, theirs, config)

    # -- what was asked for --------------------------------------------------------------------------------------------

    def _their_tasks(self) -> dict[str, Task]:
        """The tasks of the dodo.py that are not ours."""
        loaded = self.command.loader.load_tasks(cmd=self.command, pos_args=list(self.args))
        return {task.name: task for task in loaded if task.name not in OURS}

    def _options_after_tasks(self, theirs: Mapping[str, Task]) -> None:
        """Take options after the names of tasks: `build -n 4`.  What follows a task of theirs is that task's."""
        names, rest = list(self.args[:1]), list(self.args[1:])
        try:
            while rest and names[-1] not in theirs:
                _, rest = self.command.cmdparser.parse_only(rest, self.params)
                names += rest[:1]
                rest = rest[1:]
        except CmdParseError as error:
            raise UsageError(parse_words(error), f"see `doit help {self.command.name}`") from error
        self.args = (*names, *rest)

    def _only_theirs(self, selection: Sequence[str], theirs: Mapping[str, Task]) -> bool:
        """Whether nothing of ours is selected or needed."""
        targets = {target: task.name for task in theirs.values() for target in task.targets}
        pending, seen = [name for name in selection if name[:1] != "-"], set[str]()
        while pending:
            name = pending.pop()
            name = targets.get(name, name)
            if name in seen:
                continue
            if name not in theirs:
                return False
            seen.add(name)
            pending += [*theirs[name].task_dep, *theirs[name].setup_tasks]
        return True

    def _order(self) -> Order:
        """The words as an order; names that the dodo.py declares for its own tasks are left to them."""
        own = set((self.command.loader.namespace or {}).get(VARIABLES, ()))
        words = [word for word in self._words() if word[0] not in own]
        others = (*self.project.dev_options(), *self.project.report_options())
        return order(words, where(loader.initial_workdir), others)

    def _no_spec(self, names: Sequence[str], theirs: Mapping[str, Task]) -> UsageError:
        """The error for tasks that need a spec where none is named, or that are none."""
        strange = [n for n in names if n.partition(":")[0] not in OURS and n not in theirs and "*" not in n]
        return unknown(strange[0], (*OURS, *theirs)) if strange else no_spec(where(loader.initial_workdir))

    # -- run -----------------------------------------------------------------------------------------------------------

    def _run(self, show: Show, selection: Sequence[str], theirs: Mapping[str, Task]) -> int:
        wanted = self._order()
        if selection == ("report",):
            return self.project.report(wanted, show)
        if not wanted.options.machines:
            raise self._no_spec(selection, theirs)
        if selection[0] in ("why", "plan"):
            return self._ask(show, wanted, selection)
        for name in selection:
            if name in ("lock", "update"):
                self.project.lock(wanted, show, name == "update")
        if "dev" in selection:
            return self._dev(show, wanted, selection)
        rest = [name for name in selection if name not in ("lock", "update", "boot")]
        if "boot" in selection and not any(name.partition(":")[0] == "build" for name in rest):
            rest.append("build")
        if "boot" in selection and len(wanted.options.machines) > 1:
            raise UsageError(f"boot runs one machine, but spec= names {len(wanted.options.machines)}", "name one")
        if "boot" in selection:
            self.project.check_boot(wanted)
        code = self._build(show, wanted, tuple(rest), theirs) if rest else 0
        return self.project.boot(wanted, show) if "boot" in selection and not code else code

    def _dev(self, show: Show, wanted: Order, selection: Sequence[str]) -> int:
        if set(selection) - {"dev", "lock", "update"}:
            raise UsageError("dev builds and runs by itself, and does not end", "leave the other tasks out")
        return self.project.dev(wanted, show)

    def _ask(self, show: Show, wanted: Order, selection: Sequence[str]) -> int:
        if selection[0] == "why":
            return self._why(show, wanted, selection[1:])
        if len(selection) > 1:
            raise UsageError(
                f"plan tells of whole machines, not of {selection[1]}", f"doit why {selection[1]}, perhaps"
            )
        return self._plan(show, wanted)

    def _plan(self, show: Show, wanted: Order) -> int:
        from lkbuild.engine.asking import plan  # loads all of the engine, which a build with nothing to do need not

        return plan(wanted, self._jobs(show), self.project.prepare, show)

    def _why(self, show: Show, wanted: Order, tasks: Sequence[str] = ()) -> int:
        from lkbuild.engine.asking import why

        return why(wanted, tasks, self.project.prepare, show)

    def _build(self, show: Show, wanted: Order, selection: tuple[str, ...], theirs: Mapping[str, Task]) -> int:
        for task in theirs.values():
            task.io.capture = False  # doit captures by swapping sys.stdout, which threads share
        manners = Manners(
            jobs=self._jobs(show),
            keep_going=bool(self.params["continue"]),
            always=bool(self.params["always"]),
            single=bool(self.params["single"]),
            theirs=self.command.reporters["console"](self.command.outstream, {}) if theirs else None,
        )
        if set(selection) == set(EVERYTHING):
            selection = EVERYTHING
        others = Others(tuple(theirs.values()), self._standing(wanted, show), self._dependencies)
        wish = Wish(manners, selection, others, key=self.project.private_key)
        return build(wanted, wish, self.project.prepare, show)

    def _jobs(self, show: Show) -> int:
        chosen = self.params._non_default_keys
        if "par_type" in chosen and self.params["par_type"] == "process":
            show(Said("steps run in threads, which share the cache's bookkeeping: -P process is taken as -P thread"))
        if "num_process" in chosen or self.params["num_process"] > 0:
            return max(1, int(self.params["num_process"]))
        return jobs.processors()

    def _dependencies(self) -> Any:
        """doit's own dependency manager, for tasks that are not ours."""
        return Dependency(
            self.command._backends.get(self.params["backend"]),
            self.params["dep_file"],
            checker_cls=self.command.get_checker_cls(self.params["check_file_uptodate"]),
            codec_cls=self.command.get_codec_cls(self.params["codec_cls"]),
        )

    def _standing(self, wanted: Order, show: Show) -> dict[str, OurTask]:
        return standing_tasks(
            {
                "boot": lambda: self.project.boot(wanted, show),
                "dev": lambda: self.project.dev(wanted, show),
                "lock": lambda: self.project.lock(wanted, show, False),
                "update": lambda: self.project.lock(wanted, show, True),
                "plan": lambda: self._plan(show, wanted),
                "report": lambda: self.project.report(wanted, show),
                "why": lambda: self._why(show, wanted),
            }
        )

    # -- list, info, clean ---------------------------------------------------------------------------------------------

    def _look(self, show: Show, theirs: Mapping[str, Task], config: Mapping[str, object]) -> int:
        """Commands that run no step: doit's own, over our tasks."""
        wanted = self._order()
        needs_spec = self.command.name == "clean" or any(name not in (*OURS, *theirs) for name in self.args)
        if needs_spec and not wanted.options.machines:
            raise self._no_spec(self.args, theirs)
        with self._graph(wanted) as graph:
            if self.command.name == "list" and not self.args:
                _list_outputs(graph)
            ours = {**self._standing(wanted, show), **graph}
            for name in self.args:
                if name not in ours and name not in theirs and "*" not in name:
                    raise unknown(name, {**ours, **theirs})
            tasks = [mine.task for mine in ours.values()] + [t for t in theirs.values() if t.name not in ours]
            args = self._with_members(ours) if self.command.name == "clean" else self.args
            self.command.loader = _Loaded(self.command.loader, tasks, config)
            self.command.dep_manager = Standing(ours, self._dependencies)
            code = int(self.command.theirs(self.params, args) or 0)
        if self.command.name == "list" and self.params.get("subtasks") and not wanted.options.machines:
            show(Said("without spec=FILE there are no machines and no steps to list"))
        return code

    @contextmanager
    def _graph(self, wanted: Order) -> Iterator[dict[str, OurTask]]:
        if not wanted.options.machines:
            yield {}
            return
        prepared = self.project.prepare(wanted.options, nobody)
        try:
            ours = build_tasks(prepared.session, prepared.session.graph.outputs, store_writing())
            if self.command.name == "info":
                from lkbuild.engine.asking import with_causes

                ours.update(with_causes(self.args, ours, prepared.session, wanted.options))
            yield ours
        finally:
            prepared.close()

    def _with_members(self, ours: Mapping[str, OurTask]) -> tuple[str, ...]:
        """The names to clean with the members of groups, which doit takes one level down only."""
        found: dict[str, None] = {}
        pending = list(reversed(self.args or ("build",)))
        while pending:
            name = pending.pop()
            found[name] = None
            if name in ours and ours[name].task.has_subtask:
                pending += reversed(ours[name].task.task_dep)
        return tuple(found)


def _list_outputs(graph: Mapping[str, OurTask]) -> None:
    """Have machines and their outputs listed also where steps are not: doit lists no subtask without `--all`."""
    for name, mine in graph.items():
        if name.startswith("build:"):
            mine.task.subtask_of = None


class _Loaded(TaskLoader2):  # type: ignore[misc]
    """A loader whose dodo.py is loaded, and whose tasks are made."""

    def __init__(self, inner: Any, tasks: Sequence[Task], config: Mapping[str, object]) -> None:
        super().__init__()
        self.cmd_options = inner.cmd_options
        self._tasks = list(tasks)
        self._config = dict(config)

    def load_doit_config(self) -> dict[str, object]:
        """See doit.cmd_base.TaskLoader2."""
        return self._config

    def load_tasks(self, cmd: Any, pos_args: Sequence[str]) -> list[Task]:
        """See doit.cmd_base.TaskLoader2."""
        return self._tasks
