"""What the engine needs from above it, each thing loaded when it is called for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.cli.calling import leave
from lkbuild.cli.show import open_show
from lkbuild.engine.arguments import Option, Order
from lkbuild.engine.events import Listener, Told
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.project import Project, Show

if TYPE_CHECKING:
    from lkbuild.engine.prepare import Prepared
    from lkbuild.sources import Source
    from lkbuild.trust.private import PrivateKey


def prepare(options: BuildOptions, listen: Listener, going_on: bool = False) -> Prepared:
    """See lkbuild.engine.prepare.prepare; the registry as the environment says."""
    from lkbuild.engine import prepare as preparing

    return preparing.prepare(options, listen, registry(), going_on=going_on)


def registry() -> Source:
    """Every registry, reached as the environment says."""
    from lkbuild.sources import LateRegistry, registry_options

    return LateRegistry(registry_options(os.environ))


def lock(order: Order, show: Show, renew: bool) -> int:
    """Write the lock files of an order's specs, which is told; returns what to exit with."""
    from lkbuild.engine.locking import write_locks

    paths = write_locks(order.options, show, registry(), renew)
    for path in paths:
        show(Told(f"wrote {path}"))
    if renew and len(paths) < len(order.options.machines):
        show(Told("specs without a lock file: the cache knows anew what their images and packages are"))
    return 0


def boot(order: Order, show: Show) -> int:
    """Run the machine that was built; returns what to exit with."""
    from lkbuild.cli.running import run_built

    return run_built(order, show)


def check_boot(order: Order) -> None:
    """UsageError where the machine could not be run by what is said of it, before it is built."""
    from lkbuild.cli.running import check_run

    check_run(order)


def dev(order: Order, show: Show) -> int:
    """Build the machine, run it, and change it with every save, until interrupted."""
    from lkbuild.cli.developing import develop

    return develop(order, show)


def dev_options() -> tuple[Option, ...]:
    """The words for that."""
    from lkbuild.cli.developing import DEV_OPTIONS

    return DEV_OPTIONS


def private_key(path: Path) -> PrivateKey:
    """The private key in a file."""
    from lkbuild.cli.signing import read_private_key

    return read_private_key(path)


def report(order: Order, show: Show) -> int:
    """Write the report of a build; returns what to exit with."""
    from lkbuild.cli.reporting import write_report

    return write_report(order, show)


def report_options() -> tuple[Option, ...]:
    """The words for reports."""
    from lkbuild.cli.reporting import REPORT_OPTIONS

    return REPORT_OPTIONS


def boot_options() -> tuple[Option, ...]:
    """The words for running a machine."""
    from lkbuild.cli.running import BOOT_OPTIONS

    return BOOT_OPTIONS


PROJECT = Project(
    open_show,
    leave,
    prepare,
    lock,
    check_boot,
    boot,
    dev,
    private_key,
    report,
    boot_options,
    dev_options,
    report_options,
)
