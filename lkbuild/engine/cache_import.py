"""Taking over a part of another machine's cache (engine.cache_layout), whole and checked, or nothing of it.

Digests are hashed and keys computed here, so whoever made it cannot pass one thing off as another.  But that a step
really makes what is said cannot be seen without carrying it out: take caches from those alone whose builds you would
use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lkbuild.digest import CHUNK
from lkbuild.engine.cache_layout import ARTIFACT, BLOB, CONFIG, FORMAT, MANIFEST, Exported, blob_of
from lkbuild.engine.execute import fixed_result
from lkbuild.engine.report import Worded, size_words
from lkbuild.errors import LkbuildError, StoreError
from lkbuild.frozen import frozen
from lkbuild.sources.tree import Directory, Tar, Tree, read
from lkbuild.store import Blob, Store
from lkbuild.store.check import Progress
from lkbuild.store.files import doing
from lkbuild.store.values import Result

_MAX_MACHINES = 1000
_MAX_INDEX, _MAX_MANIFEST, _MAX_CONFIG = 4 << 20, 64 << 20, 256 << 20
_HINT = "export it again, and see that it is copied whole"


@frozen
class Imported(Worded):
    """What was taken over: machines, results that were new, those that were there, blobs and bytes that were new.

    `strange`: results of steps that this lkbuild does not know or makes otherwise, which were left out.  `kept`: keys
    whose result here is another one, which was kept.
    """

    machines: tuple[str, ...]
    results: int
    known: int
    strange: int
    kept: tuple[str, ...]
    blobs: int
    bytes: int

    def words(self, verbose: bool) -> Iterator[str]:
        """See Worded."""
        yield (
            f"{', '.join(self.machines)}: {self.results} results and {self.blobs} blobs"
            f" ({size_words(self.bytes)}) were new, {self.known} results were here"
        )
        if self.strange:
            yield f"{self.strange} results are of steps that this lkbuild does not know, and were left out"
        for key in self.kept:
            yield f"the result of {key} here is another than that imported, and was kept"


@frozen
class _Part:
    machine: str
    exported: tuple[Exported, ...]


def import_cache(store: Store, source: Path, progress: Progress) -> Imported:
    """Take over everything in the layout at `source`, a directory or a tar, or nothing of its results.

    StoreError where it is no such layout, is not whole, or is not what it says.
    """
    try:
        tree: Tree = Directory(source) if source.is_dir() else Tar(source)
        parts = list(_parts(tree))
    except LkbuildError as error:
        raise StoreError(f"importing {source}: {error.message}", error.hint or _HINT) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"importing {source}: it is no cache of lkbuild: {error!s:.300}", _HINT) from error
    exported = {each.step.key: each for part in parts for each in part.exported}
    usable = {key: each for key, each in exported.items() if _is_usable(each)}
    wanted = dict.fromkeys(blob for each in usable.values() for blob in each.result.blobs)
    missing = [blob for blob in wanted if not store.has(blob)]
    total, done = sum(blob.size for blob in missing), 0
    for blob in missing:
        _take(store, tree, blob)
        done += blob.size
        progress(done, total)
    new, kept = 0, list[str]()
    for key, each in usable.items():
        here = store.result(key)
        if here is None:
            store.record(key, each.result, each.step.encode())
            new += 1
        elif here != each.result:
            kept.append(f"{each.step.name} ({key.short})")
    known = len(usable) - new - len(kept)
    machines = tuple(part.machine for part in parts)
    return Imported(machines, new, known, len(exported) - len(usable), tuple(kept), len(missing), total)


def _parts(tree: Tree) -> Iterator[_Part]:
    """The machines of a layout, all that is said of them checked, but for the blobs' bytes."""
    if json.loads(read(tree, "oci-layout", 1 << 10)).get("imageLayoutVersion") != "1.0.0":
        raise ValueError("its oci-layout is of another version than 1.0.0")
    manifests = json.loads(read(tree, "index.json", _MAX_INDEX))["manifests"]
    found = [_document(tree, blob_of(described, MANIFEST), _MAX_MANIFEST) for described in manifests[:_MAX_MACHINES]]
    if not any(manifest.get("artifactType") == ARTIFACT for manifest in found):
        raise ValueError(f"its index.json has no {ARTIFACT}")
    for manifest in found:
        if manifest.get("artifactType") != ARTIFACT:
            continue
        layers = {blob_of(each, BLOB) for each in manifest["layers"]}
        config = _document(tree, blob_of(manifest["config"], CONFIG), _MAX_CONFIG)
        if config["format"] != FORMAT:
            raise ValueError(f"it has format {config['format']!r:.20}, and this lkbuild reads {FORMAT}")
        part = _Part(str(config["machine"])[:200], tuple(map(Exported.of, config["results"])))
        for each in part.exported:
            for blob in each.result.blobs:
                if blob not in layers:
                    raise ValueError(f"{blob.digest} of {each.step.name!r:.100} is not among its layers")
                if tree.size(_path(blob)) != blob.size:
                    raise ValueError(f"{blob.digest} of {each.step.name!r:.100} is missing or of another size")
        yield part


def _document(tree: Tree, blob: Blob, limit: int) -> dict[str, Any]:
    """A JSON object that lies in a layout; ValueError where its bytes are not those that were meant."""
    if blob.size > limit:
        raise ValueError(f"{blob.digest} has {blob.size} bytes, more than {limit}")
    if tree.size(_path(blob)) != blob.size:
        raise ValueError(f"{blob.digest} is missing or of another size")
    data = read(tree, _path(blob), limit)
    if hashlib.new(blob.digest.algorithm, data).hexdigest() != blob.digest.hex or len(data) != blob.size:
        raise ValueError(f"{blob.digest} is something else than its name says")
    document = json.loads(data.decode("utf-8", "surrogateescape"))
    if not isinstance(document, dict):
        raise ValueError(f"{blob.digest} is no JSON object")
    return document


def _is_usable(each: Exported) -> bool:
    """Whether this lkbuild knows the step; StoreError where it is known to make something else."""
    try:
        step = each.step.step()
    except ValueError:
        return False
    fixed: Result | None = fixed_result(step)
    if fixed is not None and dict(fixed.outputs) != dict(each.result.outputs):
        raise StoreError(f"importing: {each.step.name!r:.100} cannot have made what is said", _HINT)
    return True


def _take(store: Store, tree: Tree, blob: Blob) -> None:
    """Copy a blob, no more of it than it is said to have; StoreError where it is another one."""
    with store.scratch() as directory:
        path, left = directory / "blob", blob.size
        writing = doing(f"writing {blob.digest} to the cache {store.root}")
        with writing, tree.open(_path(blob)) as source, path.open("wb") as file:
            while left and (chunk := source.read(min(CHUNK, left))):
                file.write(chunk)
                left -= len(chunk)
        store.add_file(path, blob.digest)


def _path(blob: Blob) -> str:
    return f"blobs/{blob.digest.algorithm}/{blob.digest.hex}"
