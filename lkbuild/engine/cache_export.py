"""Writing a part of a cache for other machines: an OCI image layout, a directory or a tar (engine.cache_layout)."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.cache_layout import LAYOUT, Exported, config_text, index_text, manifest_text
from lkbuild.engine.current import CurrentMachine
from lkbuild.errors import StoreError, UsageError
from lkbuild.store import Blob, Store
from lkbuild.store.check import Progress
from lkbuild.store.files import doing
from lkbuild.store.steps import recorded_step

_FETCHED = ("pull", "deb")
"""Steps whose params say what they make."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def export(store: Store, machines: Sequence[CurrentMachine], target: Path, progress: Progress) -> int:
    """Write what these machines need to `target`; a tar where its name ends in .tar.  Returns the bytes written.

    StoreError where a machine's results are no longer all there, UsageError where something is at `target`.
    """
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise UsageError(f"{target} is there already", "name a file or directory that is not")
    texts: dict[Digest, bytes] = {}
    blobs: dict[Blob, None] = {}
    manifests: list[tuple[str, Blob]] = []
    for machine in machines:
        found = (_exported(store, machine.name, name, key) for name, key in machine.keys)
        exported = [each for each in found if each is not None]
        mine = dict.fromkeys(blob for each in exported for blob in each.result.blobs)
        config = _note(config_text(machine.name, exported), texts)
        manifest = _note(manifest_text(machine.name, config, mine), texts)
        manifests.append((_name(machine.name, [name for name, _ in manifests]), manifest))
        blobs.update(mine)
    total = sum(blob.size for blob in blobs)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    index = index_text(manifests)
    with doing(f"writing {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer = _Tar(temporary) if target.suffix == ".tar" else _Directory(temporary)
            done = _write(writer, store, (blobs, texts), progress)
            writer.text("oci-layout", LAYOUT)
            writer.text("index.json", index)
            writer.close()
            temporary.replace(target)
        except BaseException:
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)
            raise
    progress(total, total)
    return done


def _write(
    writer: _Tar | _Directory, store: Store, what: tuple[Iterable[Blob], dict[Digest, bytes]], progress: Progress
) -> int:
    blobs, texts = what
    total, done = sum(blob.size for blob in blobs), 0
    for blob in blobs:
        writer.file(_path(blob.digest), store.path(blob.digest), blob.size)
        done += blob.size
        progress(done, total)
    for digest, data in texts.items():
        writer.text(_path(digest), data)
    return done + sum(map(len, texts.values()))


def _exported(store: Store, machine: str, name: str, key: Digest) -> Exported | None:
    """A result and its step; None for what was fetched and is gone, since nothing waits for it that is there."""
    step, result = recorded_step(store, key), store.result(key)
    if step is None or result is None:
        if name.partition(":")[0] in _FETCHED:
            return None
        what = "how it was made is not on record" if result else "it is no longer in the cache"
        raise StoreError(f"{machine} cannot be exported: of {name}, {what}", f"build {machine} again first")
    return Exported(step, result)


def _note(data: bytes, texts: dict[Digest, bytes]) -> Blob:
    digest = Digest.of(data)
    texts[digest] = data
    return Blob(digest, len(data))


def _name(machine: str, taken: Sequence[str]) -> str:
    """A name for a manifest that tools take on their command lines, each its own."""
    base = name = _NOT_IN_NAMES.sub("-", machine).strip("-.") or "machine"
    number = 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


class _Directory:
    """A layout that is a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def file(self, name: str, source: Path, _size: int) -> None:
        """Copy a file."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)

    def text(self, name: str, data: bytes) -> None:
        """Write a file."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def close(self) -> None:
        """All is written."""


class _Tar:
    """A layout that is a tar, of root's files of no date."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "x", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by close()

    def file(self, name: str, source: Path, size: int) -> None:
        """Copy a file."""
        with source.open("rb") as file:
            self._tar.addfile(_member(name, size), file)

    def text(self, name: str, data: bytes) -> None:
        """Write a file."""
        self._tar.addfile(_member(name, len(data)), io.BytesIO(data))

    def close(self) -> None:
        """Write the end."""
        self._tar.close()


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member
