"""The files a record names by digest, looked for in the cache and in a directory of the user's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen
from lkbuild.plan.record import Record
from lkbuild.rebuild.scan import files_in
from lkbuild.store import Blob, Store

_SHOWN = 10
"""How many missing files are named."""


@frozen
class Wanted:
    """A file by its contents, and what it is called where it is missed."""

    blob: Blob
    name: str


def wanted(record: Record) -> tuple[Wanted, ...]:
    """The files of packages, and the sources of `files`."""
    found = [
        Wanted(Blob(entry.digest, entry.size), f"{each.package.name}/{each.package.root or '.'}/{entry.path}")
        for each in record.packages
        for entry in each.package.entries
        if entry.digest is not None
    ]
    found += [Wanted(Blob(each.digest, each.size), f"the source of files[{each.number}]") for each in record.files]
    return tuple(found)


def find(files: Iterable[Wanted], cache: Store | None, context: Path | None) -> dict[Digest, Path]:
    """Where each file lies, its bytes seen to be the right ones; LkbuildError names those that are nowhere."""
    files = tuple(files)
    found: dict[Digest, Path] = {}
    for each in files:
        if cache is not None and cache.has(each.blob):
            found[each.blob.digest] = cache.path(each.blob.digest)
    if context is not None:
        found.update(_in_context(context, [each.blob for each in files if each.blob.digest not in found]))
    missing = [each for each in files if each.blob.digest not in found]
    if missing:
        raise LkbuildError("\n".join(_told(missing, cache, context)), _HINT)
    return found


_HINT = (
    "name the directory they lie in, by whatever names, with --context DIR; a checkout of what was built for instance"
)


def _in_context(context: Path, blobs: list[Blob]) -> dict[Digest, Path]:
    sizes = {blob.size for blob in blobs}
    digests = {blob.digest for blob in blobs}
    found: dict[Digest, Path] = {}
    for path in files_in(context) if sizes else ():
        try:
            if path.stat().st_size in sizes and (digest := Digest.of_file(path)) in digests:
                found[digest] = path
        except OSError:
            continue
    return found


def _told(missing: list[Wanted], cache: Store | None, context: Path | None) -> Iterable[str]:
    yield f"{len(missing)} files that the machine was built from were not found:"
    for each in missing[:_SHOWN]:
        yield f"  {each.name}: {each.blob.size} bytes, {each.blob.digest}"
    if len(missing) > _SHOWN:
        yield f"  and {len(missing) - _SHOWN} more"
    yield f"looked for in: {'no cache' if cache is None else f'the cache {cache.root}'}, " + (
        "no directory" if context is None else str(context)
    )
