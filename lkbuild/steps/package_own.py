"""The upper layer of a package's image: its own files, links, directories and accounts, and files joined of others."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from lkbuild.errors import StepError
from lkbuild.packages.layout import matcher
from lkbuild.packages.params import Concatenation, LayerEntry, PackageLayer
from lkbuild.steps.layer_tar import LayerTar, chunks
from lkbuild.steps.reading import Reading, reading
from lkbuild.steps.work import Work

MAX_JOINED = 16 << 20
"""The most bytes a file made of others may have; Debian's CA certificates are 220 kB."""


def package_layer(params: PackageLayer, work: Work) -> None:
    """`entries`, those without contents from the inputs `file<N>`, and `concatenate`, as output `layer`.

    What is concatenated stands in `entries` or in the layer below, the input `debian` where there is one.
    """
    files, progress = _files(params, work), reading(work, "file")
    entries = {entry.path: entry for entry in params.entries}
    joined = {each.path: _joined(each, params, files, work) for each in params.concatenate}
    with LayerTar(work.output("layer"), whole=params.base) as tar:
        if params.base:
            tar.merged_root()
        for path in sorted(entries.keys() | joined.keys()):
            if path in joined:
                tar.add(LayerEntry(path, "file", 0o644), len(joined[path]), [joined[path]])
            else:
                _add(tar, entries[path], files.get(path), progress)


def _files(params: PackageLayer, work: Work) -> dict[str, Path]:
    """Where the bytes of each file without contents are."""
    wanted = [entry.path for entry in params.entries if entry.kind == "file" and entry.contents is None]
    return dict(zip(wanted, (item.path for item in work.numbered("file")), strict=True))


def _add(tar: LayerTar, entry: LayerEntry, source: Path | None, progress: Reading) -> None:
    if entry.kind == "directory" and tar.written.get(entry.path) == "directory":
        return
    if entry.contents is not None:
        data = entry.contents.encode("utf-8", "surrogateescape")
        tar.add(entry, len(data), [data])
    elif source is None:
        tar.add(entry)
    else:
        with progress.open(source) as file:
            size = source.stat().st_size
            tar.add(entry, size, chunks(file, size))


def _joined(wanted: Concatenation, params: PackageLayer, files: dict[str, Path], work: Work) -> bytes:
    """The contents of the files `wanted` names, by path, each ending in a newline."""
    named = matcher(wanted.sources)
    below = work.inputs.get("debian")
    found = dict(_lower(below.path, named)) if below else {}
    for entry in params.entries:
        if entry.path != wanted.path and named(entry.path) and entry.kind == "file":
            text = (entry.contents or "").encode("utf-8", "surrogateescape")
            found[entry.path] = files[entry.path].read_bytes() if entry.path in files else text
    if not found:
        raise StepError(
            f"concatenate: no file answers to {', '.join(wanted.sources)}, of which {wanted.path} is to be made",
            "are they left out by `only` or `exclude`?",
        )
    data = b"".join(text if text.endswith(b"\n") else text + b"\n" for text in (found[path] for path in sorted(found)))
    if len(data) > MAX_JOINED:
        raise StepError(f"concatenate: {wanted.path} would have {len(data)} bytes, and {MAX_JOINED} is the most")
    return data


def _lower(layer: Path, named: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The files of a layer that are named, and their contents."""
    with tarfile.open(layer, "r:", encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            if info.isreg() and named(info.name):
                if info.size > MAX_JOINED:
                    raise StepError(f"concatenate: {info.name} has {info.size} bytes, and {MAX_JOINED} is the most")
                yield info.name, cast(BinaryIO, tar.extractfile(info)).read()
