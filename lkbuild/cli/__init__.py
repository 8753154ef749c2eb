"""The `lkbuild` command: one module per verb, loaded when it is called.

The only places that print and exit are here and in `lkbuild.dodo`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

VERBS = {
    "build": "build machines from specs, as `linuxkit build` does",
    "run": "run a machine that was built, under QEMU",
    "dev": "run a machine and change it with every save: services are swapped while it runs",
    "lock": "write lock files beside specs; what is locked already stays",
    "update": "write lock files anew, as registries and package archives are now",
    "list": "list output formats; with specs, their tasks and how they stand",
    "sbom": "list what is in a machine: packages, versions, licences",
    "sign": "sign images in registries, and files, with a key",
    "verify-image": "verify that images are signed by whom they should be",
    "verify": "verify the detached signatures of files",
    "plan": "tell what a build would do, fetch and write, and how long it would take",
    "why": "say what changed since a machine was last built, and so why a task would run",
    "affected": "name the specs that changes since a revision reach",
    "diff": "compare two builds: files, services, settings of containers",
    "report": "write what a build did, and what is in its image, as one HTML file",
    "rebuild": "build a finished image again from what it carries, and compare",
    "audit": "make a sample of the cache's results again, and compare",
    "cache": "see, shrink and check the cache, carry it elsewhere: ls, gc, verify, export, import",
    "schema": "print the JSON schema of specs",
    "version": "print the version",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns what to exit with: 0, 1 the user's fault, 2 ours, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words[0].removeprefix("--") if words else "help"
    if verb in ("help", "-h"):
        sys.stdout.write(usage())
        return 0 if words else 1
    if verb not in VERBS:
        from lkbuild.cli.calling import complain

        return complain(f"there is no command {words[0]!r}", words[0], tuple(VERBS))
    try:
        from lkbuild.cli.calling import call

        return call(import_module(f"lkbuild.cli.{verb.replace('-', '_')}_verb").command, words[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def run() -> NoReturn:
    """The command itself.  When all is said it ends at once: Python would take 15 ms to put everything away."""
    _open_streams()
    code = 0
    try:
        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass  # whoever read it has seen enough
    except OSError as error:
        code = code or _unsaid(error)
    os._exit(code)


def _open_streams() -> None:
    """Lead streams that are closed (`>&-`) to nowhere: Python has None for them, and the next file would get their
    number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - to the end


def _unsaid(error: OSError) -> int:
    """Tell, where that can be told, that what was said could not be written; returns what to exit with."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {error.strerror}\n")
        sys.stderr.flush()
    return 1


def usage() -> str:
    """What there is."""
    lines = ["usage: lkbuild COMMAND ...", "", *(f"  {verb:14}{about}" for verb, about in VERBS.items()), ""]
    return "\n".join(
        [*lines, "`lkbuild COMMAND --help` says more; `doit list` in a directory with a dodo.py, too.", ""]
    )
