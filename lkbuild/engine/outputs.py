"""Output files: written from what the steps made, left alone where they are as written, restored where they are not.

What was written where is kept in the store, `written/<digest of the path>`: the blob and the file's inode, size,
mtime_ns and ctime_ns, and the boot.  A file that differs in any of these was deleted or touched by somebody, or may
have been torn by a power failure (docs/adr/0003), and is written again.  Of a directory, this
holds for each of our files.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.events import Writing, Wrote
from lkbuild.engine.session import Session
from lkbuild.plan.graph import Output, OutputFile
from lkbuild.store import Blob, Store
from lkbuild.store.files import replace_note
from lkbuild.store.recipe import Recipe, Tree, stays_inside, whole, written_size
from lkbuild.store.verified import boot_id


def is_current(output: Output, session: Session) -> bool:
    """Whether every file of the output is on disk as it was written, from what the steps make now."""
    return all(file_is_current(file, session) for file in output.files)


def write(output: Output, session: Session) -> int:
    """Write the files of an output that are not there as they should be; returns how many."""
    count = 0
    for file in output.files:
        if not file_is_current(file, session):
            blob = session.blob(file.step, file.output)
            store, began = session.place.store, time.monotonic()
            session.place.listen(Writing(output.name, file.path))
            with store.lock(f"write-{_name(file.path)}"):
                if file.tree:
                    size = _write_tree(store, file.path, blob)
                elif _is_left_out(file, blob):
                    Path(file.path).unlink(missing_ok=True)
                    continue
                else:
                    size = _write_file(store, file.path, blob, file.recipe)
            session.place.listen(Wrote(output.name, file.path, size, time.monotonic() - began))
            count += 1
    return count


def size_of(file: OutputFile, session: Session) -> int | None:
    """Bytes of an output file (of all files of a directory); None where what it is written from is not here."""
    return written_size(session.place.store, session.blob(file.step, file.output), file.recipe, file.tree)


def _write_file(store: Store, path: str, blob: Blob, is_recipe: bool) -> int:
    recipe = Recipe.load(store, blob) if is_recipe else whole(blob)
    recipe.write(store, Path(path))
    _remember(store, path, _state(path, blob))
    return recipe.size


def _write_tree(store: Store, path: str, blob: Blob) -> int:
    """Write a directory's files that are not there as they should be, and take away those of ours it has no more.

    What others put into the directory stays.
    """
    files, before = Tree.decode(store.read(blob.digest)).files, _recall(store, path)
    for name, recipe in files.items():
        there = f"{path}/{name}"
        if not isinstance(before, dict) or name not in before or before[name] != _state(there, _content(recipe)):
            recipe.write(store, Path(there))
    for name in before if isinstance(before, dict) else ():
        if name not in files and stays_inside(name):
            with contextlib.suppress(OSError):
                Path(path, name).unlink()
    _remember(store, path, _tree_state(path, files))
    return sum(recipe.size for recipe in files.values())


def _tree_state(path: str, files: Mapping[str, Recipe]) -> dict[str, object]:
    return {name: _state(f"{path}/{name}", _content(recipe)) for name, recipe in files.items()}


def _content(recipe: Recipe) -> Blob:
    """What tells a recipe from others: the blob it would be."""
    data = recipe.encode()
    return Blob(Digest.of(data), len(data))


def file_is_current(file: OutputFile, session: Session) -> bool:
    """Whether a file, or a directory's files, are on disk as they were written, from what the steps make now."""
    result = session.results.get(file.step)
    if result is None:
        return False
    store, blob = session.place.store, session.blob(file.step, file.output)
    if _is_left_out(file, blob):
        return not os.path.lexists(file.path)
    written = _recall(store, file.path)
    if not file.tree:
        return written == _state(file.path, blob)
    return store.has(blob) and written == _tree_state(file.path, Tree.decode(store.read(blob.digest)).files)


def _is_left_out(file: OutputFile, blob: Blob) -> bool:
    return file.optional and not blob.size


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


def _remember(store: Store, path: str, state: object) -> None:
    """Losing this costs writing the file once more, so failing here is no failure of the build."""
    with contextlib.suppress(OSError):
        directory = store.root / "written"
        directory.mkdir(exist_ok=True)
        replace_note(directory / _name(path), json.dumps(state).encode())
