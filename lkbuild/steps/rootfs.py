"""Putting segments together: an initrd or a tar as a recipe of blobs, and what must stand between them.

"A later path wins" is not all a kernel does with several archives (init/initramfs.c); `archive.overlay` says where a
few entries must come between two of them, and where nothing helps.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from lkbuild.archive.entry import Entry
from lkbuild.archive.index import Index, IndexEntry
from lkbuild.archive.overlay import Fixup, check_indexes
from lkbuild.archive.sink import CpioSink, TarSink
from lkbuild.archive.tarwrite import END_OF_ARCHIVE, header, padding
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.plan.kinds import ArchiveFormat, Rootfs
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe
from lkbuild.store.values import Blob

ALIGNMENT = 4
"""Archives of an initrd begin at multiples of this (Documentation/driver-api/early-userspace/buffer-format.rst)."""
_RECORD = 10240
"""GNU tar reads and writes in records of 20 blocks."""

DOCKERFILE = b"""
FROM scratch

COPY . ./

ENTRYPOINT ["/bin/rc.init"]
"""
"""LinuxKit's (moby/build/build.go), so that what reads its format reads this one."""


def initrd(params: Rootfs, work: Work) -> None:
    """Writes `recipe`: microcode first, which the kernel looks for at the very start, then the segments."""
    extents: list[Extent] = []
    if params.ucode:
        extents += _aligned(work.inputs["ucode"].blob)
    extents += _in_order(params, work)
    finish(extents, work)


def tar(params: Rootfs, work: Work) -> None:
    """Writes `recipe`: the segments, and the end of the archive."""
    finish(ended(_in_order(params, work)), work)


def docker(params: Rootfs, work: Work) -> None:
    """Writes `recipe`: a tar that `docker build -` takes.  Its Dockerfile comes last, and so wins over any other."""
    finish(ended([*_in_order(params, work), *member(b"Dockerfile", [Data(DOCKERFILE)])]), work)


def member(name: bytes, contents: list[Extent], mode: int = 0o644) -> list[Extent]:
    """A file of a tar."""
    size = sum(extent.length for extent in contents)
    return [Data(header(Entry(name, "file", mode, size=size))), *contents, Data(padding(size))]


def ended(members: Iterable[Extent]) -> list[Extent]:
    """The members of a tar, its end, and zeros up to a whole record."""
    extents = [*members, Data(END_OF_ARCHIVE)]
    return [*extents, Zeros(-sum(extent.length for extent in extents) % _RECORD)]


def finish(extents: Iterable[Extent], work: Work) -> None:
    """Write `recipe`, the recipe of these extents, and note the blobs it needs."""
    recipe = Recipe.of(extents)
    refer([recipe], work)
    with work.output("recipe").open("wb") as file:
        file.writelines(recipe.pieces())


def refer(recipes: Iterable[Recipe], work: Work) -> None:
    """Note the blobs these recipes need."""
    slices = (extent for recipe in recipes for extent in recipe.extents if isinstance(extent, Slice))
    needed = dict.fromkeys(extent.digest for extent in slices)
    work.refers += [Blob(digest, work.store.path(digest).stat().st_size) for digest in needed]


def _in_order(params: Rootfs, work: Work) -> Iterator[Extent]:
    """The segments, each after the fix-ups that go before it."""
    indexes = [Index(item.path.read_bytes()) for item in work.numbered("index")]
    fixups = check_indexes(list(zip(params.names, indexes, strict=True)))
    # What `files` lead to is known: if that lies in a directory of one segment alone, all was looked at.
    _note_changed_directories(params.names, [index.known for index in indexes], work)
    for number, item in enumerate(work.numbered("segment")):
        yield from _between(fixups, number, params.archive)
        yield from _aligned(item.blob)
    yield from _between(fixups, len(indexes), params.archive)


def _between(fixups: Iterable[Fixup], number: int, archive: ArchiveFormat) -> Iterator[Extent]:
    for fixup in fixups:
        if fixup.before == number:
            raw = io.BytesIO()
            sink = CpioSink(raw, "none") if archive == "cpio" else TarSink(raw)
            for entry in fixup.entries:
                sink.add(entry)
            sink.close()
            yield Data(raw.getvalue())


def _aligned(blob: Blob) -> Iterator[Extent]:
    yield Slice(blob.digest, 0, blob.size)
    yield Zeros(-blob.size % ALIGNMENT)


def _note_changed_directories(names: tuple[str, ...], indexes: list[list[IndexEntry]], work: Work) -> None:
    """Say where the directories that lead to `files` change the mode or owner of one that is there already."""
    there: dict[bytes, IndexEntry] = {}
    for name, index in zip(names, indexes, strict=True):
        for entry in index:
            before = there.get(entry.path)
            if name == "files" and before is not None and before.kind == entry.kind == "directory":
                was, now = ((e.mode, e.uid, e.gid) for e in (before, entry))
                if was != now:
                    path = entry.path.decode("utf-8", "surrogateescape")
                    work.note(
                        f"{path}: becomes {now[0]:04o} {now[1]}:{now[2]} by `files`"
                        f" (it was {was[0]:04o} {was[1]}:{was[2]});"
                        " give the entry a mode, or name the directory with `directory: true`"
                    )
            if entry.kind == "directory":
                there[entry.path] = entry
