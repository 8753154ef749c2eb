"""`lkbuild diff`: how two builds differ, file by file."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.cli.flags import BUILD_FLAGS, Command, Flag, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.engine.arguments import BUILD_OPTIONS, order
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.project import Show
from lkbuild.errors import UsageError

if TYPE_CHECKING:
    from lkbuild.report.listing import Listing

_TAKES = (
    "arch",
    "pull",
    "offline",
    "cache",
    "images",
    "docker",
    "sbom",
    "sbom_output",
    "supplier",
    "lock",
    "trust",
    "json",
)
_SPECS = (".yml", ".yaml")
_OUTPUTS = (
    "-initrd.img", ".tar", ".tar.gz", ".docker", "-oci", "-initrd.tar", "-firecracker", ".efi",
    "-squashfs.img", "-erofs.img", ".iso", "-efi.iso", "-efi-initrd.iso", "-hybrid.iso",
    "-bios.img", "-efi.img", "-hybrid.img", ".qcow2", "-efi.qcow2", "-hybrid.qcow2",
    ".raw", ".img.tar.gz", ".vhd", ".vhdx", ".vmdk",
)  # fmt: skip
"""How what is compared ends, files and directories, in the order in which they are looked for."""


def work(given: Given, show: Show) -> int:
    """Compare two builds; 0 where they are the same, 1 where they differ."""
    if len(given.names) != 2:
        raise UsageError(f"diff compares two builds, {len(given.names)} are named", "say lkbuild diff A B")
    from lkbuild.cli.difference_table import table
    from lkbuild.report.difference import compare

    words = tuple(word for word in given.words if word[0] != "times")
    old, new = (_listing(name, order(words, Path()).options, show) for name in given.names)
    found = compare(old, new, ("times", "yes") in given.words)
    if ("json", "yes") in given.words:
        document = {"event": "compared", "equal": found.equal, **dataclasses.asdict(found)}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(found))
    return 0 if found.equal else 1


def _listing(name: str, options: BuildOptions, show: Show) -> Listing:
    from lkbuild.report.builds import read_listing

    path = Path(name).expanduser()
    if path.suffix in _SPECS:
        return _built(path, options, show)
    return read_listing(_output(path))


def _output(path: Path) -> Path:
    """What is meant: the file or directory itself, the output of that path and name, or the one in a directory."""
    if _is_build(path):
        return path
    for ending in _OUTPUTS:
        if _is_output(file := Path(f"{path}{ending}")):
            return file
    if not path.is_dir():
        wanted = ", ".join(_OUTPUTS)
        hint = f"there is neither it nor a file with one of {wanted} behind; a spec ends in .yml"
        raise UsageError(f"there is no build {path}", hint)
    found = sorted(file for file in path.iterdir() if _is_output(file))
    if len(found) != 1:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        names = (", ".join(file.name for file in found[:5]) or "none") + more
        raise UsageError(f"{path} has {len(found)} builds that can be compared: {names}", "name one of them")
    return found[0]


def _is_build(path: Path) -> bool:
    from lkbuild.report.builds import is_firecracker, is_layout

    return path.is_file() or (path.is_dir() and (is_layout(path) or is_firecracker(path)))


def _is_output(path: Path) -> bool:
    """Whether it is called as an output is, and is one; an initrd that only mounts a root is no machine."""
    from lkbuild.machine.media import mounts_root

    return path.name.endswith(_OUTPUTS) and _is_build(path) and not (path.is_file() and mounts_root(path))


def _built(spec: Path, options: BuildOptions, show: Show) -> Listing:
    """The listing of what a spec comes to now: its tar, made in the cache, of which it is removed again."""
    from lkbuild.engine.build import build
    from lkbuild.engine.events import Event, Said
    from lkbuild.report.builds import read_listing
    from lkbuild.store import Store

    def listen(event: Event) -> None:
        if isinstance(event, Said):
            show(event)

    with closing(Store.open(options.cache)) as store, store.scratch() as scratch:
        wanted = dataclasses.replace(
            options, machines=((spec,),), formats=("tar",), directory=scratch, provenance=False
        )
        prepared = PROJECT.prepare(wanted, listen)
        try:
            build(prepared)
            (file,) = (
                Path(file.path) for file in prepared.session.graph.outputs[0].files if file.path.endswith(".tar")
            )
        finally:
            prepared.close()
        return read_listing(file)


command = Command(
    "lkbuild diff [FLAGS] A B",
    "Compare two builds file by file.  Each is an output of any format, a path such as build/nginx that has one\n"
    "with -initrd.img, .tar, .iso and so on behind it, a directory with one in it, or a spec, built into the cache\n"
    "as a tar.  Exits with 0 when they are the same, 1 when they differ, 2 when they cannot be compared, as diff does.",
    (
        Flag(("times",), "times", "compare modification times too", bare="yes"),
        *flags_of(tuple(option for option in BUILD_OPTIONS if option.name in _TAKES)),
        *(flag for flag in BUILD_FLAGS if "no-lock" in flag.names),
    ),
    work,
    fault=2,
)
