"""The words for running a machine, and running the one an order built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.engine.arguments import BUILD_OPTIONS, Option, Order
from lkbuild.engine.events import Told
from lkbuild.engine.project import Show
from lkbuild.errors import UsageError

if TYPE_CHECKING:
    from lkbuild.machine.options import MachineOptions

BOOT_OPTIONS = (
    Option("publish", "HOST:GUEST[/udp]", "make a port of the machine reachable; can be repeated"),
    Option("mem", "SIZE", "its memory, such as 512M or 2G; megabytes without a unit; 1024 where not said"),
    Option("cpus", "N", "its processors; 1 where not said"),
    Option("disk", "[size=SIZE,format=FORMAT,]file=FILE", "a disk for it; can be repeated"),
    Option("data", "STRING", "metadata it finds on a CD, in the file `config`"),
    Option("data_file", "FILE", "metadata from a file"),
    Option("accel", "auto|kvm|tcg", "how QEMU runs it; auto finds out, once per host"),
    Option("uefi", "yes|no", "boot by UEFI firmware"),
    Option("fw", "FILE", "the firmware"),
    Option("state", "DIR", "where its disks and MAC address are kept; NAME-state beside the outputs where not said"),
)

BUILT_OPTIONS = (
    *(option for option in BUILD_OPTIONS if option.name == "arch"),
    Option("format", "FORMAT", "which of the outputs is run; the first that is there where not said"),
    Option("verbose", "yes|no", "taken as `linuxkit run` takes it; all there is to say is said anyway"),
)
"""The words for building that say which output is run."""


def run_built(order: Order, show: Show) -> int:
    """Run the machine that an order built, with its serial console here; returns what to exit with."""
    from lkbuild.machine import media
    from lkbuild.machine.run import run

    found = media.find(order.options.directory / machine_name(order), _format(order))
    return run(machine_options(order), found, state_directory(order), lambda line: show(Told(line)))


def check_run(order: Order) -> None:
    """UsageError where what an order builds could not be run: by its words alone, so that nothing is built for it."""
    from lkbuild.machine.media import check_format

    machine_name(order)
    check_format(_format(order))
    machine_options(order)


def _format(order: Order) -> str:
    return (order.options.formats or ("",))[0]


def machine_options(order: Order) -> MachineOptions:
    """How the machine is to be run, from an order's words; UsageError for what they cannot mean."""
    from lkbuild.machine.options import (
        MachineOptions,
        data_of,
        parse_accel,
        parse_arch,
        parse_cpus,
        parse_disk,
        parse_memory,
        published,
    )

    single = dict(order.rest)
    return MachineOptions(
        arch=parse_arch(order.options.arch),
        cpus=parse_cpus(single.get("cpus", "1")),
        memory=parse_memory(single.get("mem", "1024")),
        publish=published(value for name, value in order.rest if name == "publish"),
        disks=tuple(parse_disk(value) for name, value in order.rest if name == "disk"),
        data=data_of(single.get("data"), single.get("data_file")),
        accel=parse_accel(single.get("accel", "auto")),
        uefi=single.get("uefi") == "yes" or "fw" in single,
        firmware=Path(single["fw"]).expanduser() if "fw" in single else None,
    )


def state_directory(order: Order) -> Path | None:
    """The state directory that was asked for."""
    single = dict(order.rest)
    return Path(single["state"]).expanduser() if "state" in single else None


def machine_name(order: Order) -> str:
    """What the outputs' names begin with."""
    if order.options.name:
        return order.options.name
    if len(order.options.machines) != 1:
        raise UsageError(f"{len(order.options.machines)} machines were built, one can be run", "name one: spec=FILE")
    return order.options.machines[0][0].stem
