"""doit's commands, as they are for a dodo.py of lkbuild's; for any other they are doit's own, unchanged.

They take the place of doit's by the entry points `doit.COMMAND`, which count for every project of an environment.  So
each loads the dodo.py first and steps aside unless it holds a Project (lkbuild.engine.project).  This module is
imported by all those projects: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from doit import (
    cmd_clean,
    cmd_dumpdb,
    cmd_forget,
    cmd_help,
    cmd_ignore,
    cmd_info,
    cmd_list,
    cmd_resetdep,
    cmd_run,
    cmd_strace,
)
from doit.cmd_base import DodoTaskLoader
from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidDodoFile


class _Deferring:
    """A command that is doit's own unless the dodo.py is lkbuild's."""

    def parse_execute(self, in_args: list[str]) -> Any:
        """See doit.cmd_base.Command: what is wrong with an option is said in our words."""
        try:
            return super().parse_execute(in_args)  # type: ignore[misc]
        except CmdParseError as error:
            if not _is_lkbuilds(Path("dodo.py")):
                raise
            from lkbuild.engine.running import parse_words

            raise CmdParseError(parse_words(error)) from error

    def execute(self, params: Any, args: list[str]) -> Any:
        """See doit.cmd_base.Command."""
        self.loader: Any
        self.loader.setup(params)
        self.loader.setup = _is_set_up
        if "LKBUILD" not in (getattr(self.loader, "namespace", None) or {}):
            return super().execute(params, args)  # type: ignore[misc]
        from lkbuild.engine.doit_commands import Call
        from lkbuild.engine.project import project_of

        project = project_of(self.loader)
        if project is None:
            return super().execute(params, args)  # type: ignore[misc]
        return Call(self, project, params, tuple(args)).guarded()

    def theirs(self, params: Any, args: Sequence[str]) -> Any:
        """The command as doit has it."""
        return super().execute(params, list(args))  # type: ignore[misc]


def _is_lkbuilds(dodo: Path) -> bool:
    """Whether a dodo.py that is not loaded looks like one of lkbuild's."""
    return dodo.is_file() and b"lkbuild.dodo" in dodo.read_bytes()


def _is_set_up(_params: object) -> None:
    """The dodo.py is loaded already."""


class Run(_Deferring, cmd_run.Run):  # type: ignore[misc]
    """`doit run`, and `doit TASK`."""

    name = "run"


class List(_Deferring, cmd_list.List):  # type: ignore[misc]
    """`doit list`."""

    name = "list"


class Info(_Deferring, cmd_info.Info):  # type: ignore[misc]
    """`doit info`."""

    name = "info"

    @staticmethod
    def get_reasons(reasons: Mapping[str, list[str]]) -> str:
        """See doit.cmd_info.Info: why a task is not up to date."""
        ours = [f" * {reason}" for reason in reasons.get("lkbuild", ())]
        return "\n".join(ours) if ours else str(cmd_info.Info.get_reasons(reasons))


class Clean(_Deferring, cmd_clean.Clean):  # type: ignore[misc]
    """`doit clean`."""

    name = "clean"


class Forget(_Deferring, cmd_forget.Forget):  # type: ignore[misc]
    """`doit forget`."""

    name = "forget"


class Ignore(_Deferring, cmd_ignore.Ignore):  # type: ignore[misc]
    """`doit ignore`."""

    name = "ignore"


class ResetDep(_Deferring, cmd_resetdep.ResetDep):  # type: ignore[misc]
    """`doit reset-dep`."""

    name = "reset-dep"


class Strace(_Deferring, cmd_strace.Strace):  # type: ignore[misc]
    """`doit strace`."""

    name = "strace"


class Help(cmd_help.Help):  # type: ignore[misc]
    """`doit help`; of a task of ours, what it takes."""

    name = "help"

    def execute(self, params: Any, args: list[str]) -> Any:
        """See doit.cmd_base.Command."""
        if len(args) != 1 or args[0] == "task" or args[0] in self.cmds:
            return super().execute(params, args)
        try:
            self.loader.setup(params)
        except InvalidDodoFile:
            return super().execute(params, args)
        self.loader.setup = _is_set_up
        if "LKBUILD" in (getattr(self.loader, "namespace", None) or {}):
            from lkbuild.engine.project import project_of
            from lkbuild.engine.standing_tasks import help_text

            project = project_of(self.loader)
            others = {}
            if project is not None:
                others = {"boot": project.boot_options(), "dev": project.dev_options()}
                others["report"] = project.report_options()
            text = help_text(args[0], others) if project else None
            if text is not None:
                self.outstream.write(text)
                return 0
        return super().execute(params, args)


class DumpDB(cmd_dumpdb.DumpDB):  # type: ignore[misc]
    """`doit dumpdb`, which loads no dodo.py: it is lkbuild's where the one in this directory is."""

    name = "dumpdb"

    def execute(self, opt_values: Any, pos_args: list[str]) -> Any:
        """See doit.cmd_base.Command."""
        if Path(opt_values["dep_file"]).exists() or list(Path().glob(f"{opt_values['dep_file']}.*")):
            return super().execute(opt_values, pos_args)
        dodo = Path("dodo.py")
        if not _is_lkbuilds(dodo):
            return super().execute(opt_values, pos_args)
        loader = DodoTaskLoader()
        loader.setup({"dodoFile": "dodo.py", "cwdPath": None, "seek_file": False})
        from lkbuild.engine.doit_commands import Call
        from lkbuild.engine.project import project_of

        project = project_of(loader)
        if project is None:
            return super().execute(opt_values, pos_args)
        self.loader = loader
        return Call(self, project, opt_values, tuple(pos_args)).guarded()

    def theirs(self, params: Any, args: Sequence[str]) -> Any:
        """The command as doit has it."""
        return super().execute(params, list(args))
