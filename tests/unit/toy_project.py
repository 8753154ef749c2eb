"""A project with the toy engine in a directory, and both commands called in it as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import doit

REPOSITORY = Path(__file__).parents[2]

DODO = """
from lkbuild.dodo import *
import dataclasses, importlib
LKBUILD = dataclasses.replace(LKBUILD, prepare=lambda *o: importlib.import_module("tests.unit.toy").prepare(*o))
"""

THEIRS = """
from doit import get_var
LKBUILD_VARIABLES = ("stage",)
def task_deploy():
    return {"actions": ["echo deployed"], "task_dep": ["build"]}
def task_lint():
    return {"actions": ["echo linted %s" % get_var("stage", "dev")], "verbosity": 2}
"""

DOIT = """
from doit.__main__ import main
main()
"""

NAMED = """
import sys
sys.argv[0] = "doit"
"""

WITHOUT_PLUGINS = """
import doit.plugin
doit.plugin.entry_points_impl = lambda: lambda group: ()
"""

CLI = """
import dataclasses, sys
from lkbuild.cli import build_verb, main, plan_verb, project, why_verb
import importlib
prepare = lambda *o: importlib.import_module("tests.unit.toy").prepare(*o)
for verb in (build_verb, plan_verb, why_verb):
    verb.PROJECT = dataclasses.replace(project.PROJECT, prepare=prepare)
sys.exit(main())
"""

NGINX = "base: hello\nmid < base: sleep 0.01\ntop < base mid: world\n"


@dataclass(frozen=True)
class Said:
    """What a command printed and exited with."""

    out: str
    err: str
    code: int

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class ToyProject:
    """A directory with a dodo.py; `installed` is where lkbuild's entry points are, `plugins` whether doit sees them."""

    root: Path
    installed: Path
    plugins: bool = True

    @classmethod
    def make(cls, root: Path, dodo: str = DODO) -> ToyProject:
        project = cls(root / "project", root / "installed")
        project.root.mkdir()
        project.write("dodo.py", dodo)
        project.write("nginx.yml", NGINX)
        install(project.installed)
        return project

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def doit(self, *words: str) -> Said:
        return self._said([sys.executable, "-c", NAMED + ("" if self.plugins else WITHOUT_PLUGINS) + DOIT, *words])

    def lkbuild(self, *words: str, stdout: int = subprocess.PIPE) -> Said:
        return self._said([sys.executable, "-c", CLI, *words], stdout)

    def stopped(self, number: signal.Signals, when: str, *words: str) -> Said:
        """`doit`, sent a signal when the path `when` appears."""
        process = subprocess.Popen(
            [sys.executable, "-c", DOIT, *words],
            cwd=self.root,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 20
        while not (self.root / when).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        return Said(out, err, process.returncode)

    def _said(self, argv: list[str], stdout: int = subprocess.PIPE) -> Said:
        done = subprocess.run(
            argv, cwd=self.root, env=self._environment(), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        return Said(done.stdout, done.stderr, done.returncode)

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join((str(self.installed), str(REPOSITORY), str(Path(doit.__file__).parents[1])))
        return {"PATH": os.environ["PATH"], "HOME": str(self.root), "PYTHONPATH": path}


def install(directory: Path) -> None:
    """lkbuild's entry points as `pip install` leaves them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    metadata = directory / "lkbuild-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lkbuild\nVersion: 0\n")
    points = "".join(f"{name} = {place}\n" for name, place in project["entry-points"]["doit.COMMAND"].items())
    (metadata / "entry_points.txt").write_text(f"[doit.COMMAND]\n{points}")
