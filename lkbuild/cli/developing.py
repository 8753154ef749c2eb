"""The words for `dev`, and doing it for an order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.cli.running import BOOT_OPTIONS, machine_name, machine_options, state_directory
from lkbuild.engine.arguments import Option, Order
from lkbuild.engine.project import Show
from lkbuild.engine.report import Broke, Failed, Report
from lkbuild.errors import ToolError, UsageError

if TYPE_CHECKING:
    from lkbuild.dev.running import Boot
    from lkbuild.engine.building import Tell
    from lkbuild.engine.events import Listener
    from lkbuild.engine.options import BuildOptions
    from lkbuild.engine.prepare import Prepared
    from lkbuild.engine.stamp import Watch

DEV_OPTIONS = (
    Option("service", "NAME", "the one whose output is shown and for which a container waits; all where not said"),
    Option("swap", "yes|no", "put services that changed into the running machine; yes where not said, no: always boot"),
    *BOOT_OPTIONS,
)

_GUEST = Path(__file__).parents[1] / "dev" / "guest" / "lkbuild-dev.yml"
"""The spec of the segment that is added at boot."""


def develop(order: Order, show: Show) -> int:
    """Build the machine of an order, run it, and change it with every save, until interrupted."""
    from lkbuild.dev.loop import Doing, dev
    from lkbuild.plan.outputs import DEFAULT_FORMAT

    machine_name(order)
    if order.options.formats not in ((), (DEFAULT_FORMAT,)):
        raise UsageError(f"dev runs {DEFAULT_FORMAT}, not {', '.join(order.options.formats)}", "leave format= out")
    if order.options.key is not None:
        raise UsageError("dev signs no provenance", "leave key= out, and sign what is built in the end")
    options = machine_options(order)
    order = replace(order, options=replace(order.options, formats=(DEFAULT_FORMAT,)))
    agent = segment(order.options, show)

    def boot() -> Boot:
        from lkbuild.dev.running import Boot
        from lkbuild.machine import media

        found = media.find(order.options.directory / machine_name(order), DEFAULT_FORMAT)
        return Boot(options, found, agent, (state_directory(order) or found.state).absolute())

    doing = Doing(
        order.options,
        _prepare,
        lambda: _build(order, show),
        boot,
        dict(order.rest).get("service"),
        dict(order.rest).get("swap") != "no",
    )
    return dev(doing, show)


def _prepare(options: BuildOptions, listen: Listener, watch: Watch) -> Prepared:
    from lkbuild.cli.project import registry
    from lkbuild.engine.prepare import prepare

    return prepare(options, listen, registry(), watch)


def _build(order: Order, tell: Tell) -> int:
    """As `lkbuild build` does."""
    from lkbuild.cli.project import prepare
    from lkbuild.engine.building import Wish, build
    from lkbuild.engine.jobs import processors
    from lkbuild.engine.running import Manners

    return build(order, Wish(Manners(jobs=processors())), prepare, tell)


def segment(options: BuildOptions, tell: Tell) -> Path:
    """The segment with the agent, built like any machine, into the cache."""
    from lkbuild.engine.options import BuildOptions

    directory = options.cache.absolute() / "dev" / options.arch
    wanted = BuildOptions(
        machines=((_GUEST,),),
        arch=options.arch,
        directory=directory,
        pull="never" if options.pull == "never" else "missing",
        cache=options.cache,
    )
    directory.mkdir(parents=True, exist_ok=True)

    def wrong(report: Report) -> None:
        if isinstance(report, Failed | Broke):
            tell(report)

    if _build(Order(wanted), wrong):
        raise ToolError("the segment with the agent cannot be built", "see above")
    return directory / "lkbuild-dev-initrd.img"
