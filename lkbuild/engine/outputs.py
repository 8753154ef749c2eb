"""Output files: written from what the steps made, left alone where they are as written, restored where they are not.

What was written where is kept in the store, `written/<digest of the path>`: the blob and the file's inode, size,
mtime_ns and ctime_ns, and the boot.  A file that differs in any of these was deleted or touched by somebody, or may have
been torn by a power failure (docs/adr/0003), and is written again.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.events import Wrote
from lkbuild.engine.session import Session
from lkbuild.plan.graph import Output, OutputFile
from lkbuild.store import Blob, Store
from lkbuild.store.recipe import Recipe, whole
from lkbuild.store.verified import boot_id


def is_current(output: Output, session: Session) -> bool:
    """Whether every file of the output is on disk as it was written, from what the steps make now."""
    return all(_file_is_current(file, session) for file in output.files)


def write(output: Output, session: Session) -> int:
    """Write the files of an output that are not there as they should be; returns how many."""
    count = 0
    for file in output.files:
        if not _file_is_current(file, session):
            blob = session.blob(file.step, file.output)
            store = session.place.store
            recipe = Recipe.decode(store.read(blob.digest)) if file.recipe else whole(blob)
            with store.lock(f"write-{_name(file.path)}"):
                recipe.write(store, Path(file.path))
                _remember(store, file.path, blob)
            session.place.listen(Wrote(output.name, file.path, recipe.size))
            count += 1
    return count


def _file_is_current(file: OutputFile, session: Session) -> bool:
    result = session.results.get(file.step)
    if result is None:
        return False
    return _recall(session.place.store, file.path) == _state(file.path, session.blob(file.step, file.output))


def _state(path: str, blob: Blob) -> list[object] | None:
    try:
        status = Path(path).lstat()
    except OSError:
        return None
    return [str(blob.digest), boot_id(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _name(path: str) -> str:
    return Digest.of(os.fsencode(path)).hex


def _recall(store: Store, path: str) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((store.root / "written" / _name(path)).read_text("utf-8"))
    return False


def _remember(store: Store, path: str, blob: Blob) -> None:
    """Losing this costs writing the file once more, so failing here is no failure of the build."""
    with contextlib.suppress(OSError):
        directory = store.root / "written"
        directory.mkdir(exist_ok=True)
        temporary = directory / f".{_name(path)}.{os.getpid()}"
        temporary.write_text(json.dumps(_state(path, blob)), "utf-8")
        temporary.replace(directory / _name(path))
