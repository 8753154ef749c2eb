"""The words for running a machine, and running the one an order built."""

from __future__ import annotations

from lkbuild.engine.arguments import BUILD_OPTIONS, Option, Order
from lkbuild.engine.project import Show
from lkbuild.errors import MachineError

BOOT_OPTIONS = (
    Option("publish", "HOST:GUEST[/udp]", "make a port of the machine reachable; can be repeated"),
    Option("mem", "MB", "its memory; 1024 where not said"),
    Option("cpus", "N", "its processors; 1 where not said"),
    Option("disk", "[size=SIZE,format=FORMAT,]file=FILE", "a disk for it; can be repeated"),
    Option("data", "STRING", "metadata it finds on a disk, in the file `config`"),
    Option("data_file", "FILE", "metadata from a file"),
    Option("accel", "kvm|tcg|hvf", "how QEMU runs it; found out where not said"),
    Option("uefi", "yes|no", "boot by UEFI firmware"),
    Option("fw", "FILE", "the firmware"),
)

BUILT_OPTIONS = tuple(option for option in BUILD_OPTIONS if option.name in ("arch", "format", "verbose"))
"""The words for building that say which output is run."""


def run_built(order: Order, show: Show) -> int:
    """Run the machine that an order built, with its serial console here; returns what to exit with."""
    raise MachineError("running machines is not there yet")
