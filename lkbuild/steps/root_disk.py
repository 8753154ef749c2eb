"""A root filesystem as a file system on a disk: the machine's tar, its files where they lie in the segments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from lkbuild import tools
from lkbuild.archive.entry import Entry, components, directory
from lkbuild.archive.sink import lost_attributes
from lkbuild.archive.tar import TarReader
from lkbuild.disk.erofs import erofs
from lkbuild.disk.iso import IsoOptions, iso
from lkbuild.disk.layout import Ranges, read
from lkbuild.disk.squashfs import SquashfsOptions, arguments, environment, newest, stream
from lkbuild.disk.tree import Member, tree
from lkbuild.errors import StepError, ToolError
from lkbuild.plan.root_kinds import RootDisk, SquashedRoot
from lkbuild.steps.rootfs import finish
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe

_BOOT = b"boot"
_LEVELS: dict[tuple[str, bool], int] = {("zstd", False): 3, ("gzip", False): 1, ("zstd", True): 19, ("gzip", True): 9}
"""By compressor, and whether the result is to be small."""


def root_disk(params: RootDisk, work: Work) -> None:
    """Writes `recipe`.  Its identifiers follow from the contents."""
    members = _members(params.boot, work)
    seed = bytes.fromhex(work.inputs["tar"].blob.digest.hex)
    if params.type == "erofs":
        finish(erofs(members, seed), work)
    else:
        lost: dict[bytes, list[bytes]] = {}
        finish(iso(_without_attributes(members, lost), IsoOptions(), seed), work)
        for warning in lost_attributes(lost, "an ISO"):
            work.note(warning)


def squashed_root(params: SquashedRoot, work: Work) -> None:
    """Writes `file`, by mksquashfs; ToolError where that is another than the one the build was planned with."""
    program = tools.mksquashfs()
    if program.version != params.version:
        raise ToolError(f"{program.path} is {program.version}, and was {params.version} a moment ago", "build again")
    root = tree(_members(params.boot, work))
    name = work.input("compressor").read_text("ascii") if "compressor" in work.inputs else "gzip"
    if name not in ("zstd", "gzip"):
        raise StepError(f"no such compressor: {name!r:.20}")
    options = SquashfsOptions("zstd" if name == "zstd" else "gzip", _LEVELS[name, params.small], time=newest(root))
    command = arguments(os.fspath(work.output("file")), options)
    tools.feed(program, command[1:], environment(options), read(stream(root), work.store.open_blob))


def _members(boot: bool, work: Work) -> Iterator[Member]:
    """What is in the input `tar`, later things after earlier ones, but for what lies below boot/.

    `boot`: there is a directory of that name, as in LinuxKit's tar.
    """
    recipe = Recipe.decode(work.input("tar").read_bytes())
    whole = Ranges(recipe.extents)
    reader = TarReader(read(recipe.extents, work.store.open_blob))
    if boot:
        yield Member(directory(_BOOT))
    hidden: dict[bytes, Member] = {}
    for entry in reader:
        path, target = b"/".join(components(entry.path)), entry.target
        if entry.kind == "hardlink":
            target = b"/".join(components(target))
        body = whole.cut(reader.position, entry.size) if entry.kind == "file" else ()
        member = Member(entry._replace(path=path, target=target), tuple(body))
        if path.startswith(_BOOT + b"/"):
            hidden[path] = member if entry.kind != "hardlink" else hidden.get(target, member)
        elif entry.kind == "hardlink" and target in hidden:
            yield _uncovered(member.entry, hidden)
        else:
            yield member


def _uncovered(link: Entry, hidden: dict[bytes, Member]) -> Member:
    """What a hard link to a file under boot/ becomes: the file, for the first; then a link to that."""
    file = hidden[link.target]
    if file.entry.path.startswith(_BOOT + b"/"):
        made = Member(file.entry._replace(path=link.path), file.extents)
        hidden.update({path: made for path, member in hidden.items() if member is file})
        return made
    return Member(link._replace(target=file.entry.path))


def _without_attributes(members: Iterable[Member], lost: dict[bytes, list[bytes]]) -> Iterator[Member]:
    """The members without their extended attributes, which are noted in `lost` with the paths that had them."""
    for member in members:
        for key, _ in member.entry.xattrs:
            lost.setdefault(key, []).append(member.entry.path)
        yield member
