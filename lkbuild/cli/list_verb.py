"""`lkbuild list`: output formats; with specs, the tasks they come to."""

from __future__ import annotations

from lkbuild.cli.flags import Command, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.cli.spec_names import each_spec
from lkbuild.engine.arguments import BUILD_OPTIONS
from lkbuild.engine.events import Told, nobody
from lkbuild.engine.project import Show


def work(given: Given, show: Show) -> int:
    """List formats, or the tasks of specs with why each must run."""
    asked = each_spec(given, needed=False)
    if not asked.options.machines:
        from lkbuild.plan.outputs import FORMATS

        width = max(map(len, FORMATS)) + 2
        for known in FORMATS.values():
            show(Told(f"{known.name:{width}}{known.summary}"))
        return 0
    from lkbuild.engine.building import store_writing
    from lkbuild.engine.tasks import build_tasks

    prepared = PROJECT.prepare(asked.options, nobody)
    try:
        session = prepared.session
        for name, ours in build_tasks(session, session.graph.outputs, store_writing()).items():
            show(Told(f"{name}: {ours.reason() or 'up to date'}"))
    finally:
        prepared.close()
    return 0


command = Command(
    "lkbuild list [FLAGS] [SPEC ...]",
    "List output formats; with specs, their tasks and why each would run.",
    flags_of(BUILD_OPTIONS),
    work,
    ("spec", *(option.name for option in BUILD_OPTIONS)),
)
