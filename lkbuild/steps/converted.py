"""A raw disk in the formats of hypervisors and clouds: recipes where bytes stay as they are, else files."""

from __future__ import annotations

from collections.abc import Callable

from lkbuild.digest import identity
from lkbuild.disk.extents import Extent, Slice, Zeros
from lkbuild.disk.gcp import gcp
from lkbuild.disk.layout import Disk, total
from lkbuild.disk.limits import too_large
from lkbuild.disk.qcow2 import qcow2
from lkbuild.disk.vhd import dynamic_vhd, fixed_vhd
from lkbuild.disk.vhdx import vhdx
from lkbuild.disk.vmdk import stream_vmdk
from lkbuild.plan.media_kinds import Converted
from lkbuild.steps.reading import Reading
from lkbuild.steps.rootfs import finish
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe


def converted(params: Converted, work: Work) -> None:
    """Writes `recipe`, or `file` for the formats that compress."""
    raw = Recipe.decode(work.input("raw").read_bytes()).extents
    size = total(raw)
    if params.size is not None:
        if size > params.size << 20:
            raise too_large(f"the disk needs {size} bytes, and size is {params.size} MB", [], "give a larger size")
        size = params.size << 20
    seed = bytes.fromhex(identity([params, work.inputs["raw"].blob.digest]).hex)
    if params.format in RECIPES:
        finish(RECIPES[params.format](list(raw), size, seed), work)
        return
    held = sum(extent.length for extent in raw if isinstance(extent, Slice))
    disk = Disk(raw, size, Reading(work, held).open_blob)
    with work.output("file").open("wb") as target:
        if params.format == "vmdk":
            stream_vmdk(disk, seed, target, 0)
        else:
            gcp(disk, target, 0)


RECIPES: dict[str, Callable[[list[Extent], int, bytes], list[Extent]]] = {
    "raw": lambda raw, size, seed: [*raw, Zeros(size - total(raw))],
    "qcow2": lambda raw, size, seed: qcow2(raw, size),
    "vhd": fixed_vhd,
    "dynamic-vhd": dynamic_vhd,
    "vhdx": vhdx,
}
FORMATS = frozenset({*RECIPES, "vmdk", "gcp"})
