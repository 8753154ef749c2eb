"""Which specs a change reaches, told without building: from what git says has changed, and what a spec's inputs are.

Inputs are the spec's files, its lock, the sources of its `files`, its package directories, the image layouts that
builds look into, the project's dodo.py, and lkbuild itself where it lies in the repository.  Of spec files it counts
what they say and not how: a comment changes nothing.  Of everything else, bytes count; what is built may come out the
same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from pathlib import Path

from lkbuild.engine.refusing import brief
from lkbuild.engine.specs import expand, specs_near
from lkbuild.errors import LkbuildError, UsageError
from lkbuild.frozen import frozen
from lkbuild.lock import lock_path
from lkbuild.sources.git import Repository
from lkbuild.spec.load import load
from lkbuild.spec.model import PackageDir, Spec

Files = tuple[Path, ...]


@frozen
class Affected:
    """A machine that a change reaches: its spec files, as they were named, and why.

    `unreadable`: why its spec cannot be read, in a line; such a one counts as reached.
    """

    files: tuple[str, ...]
    reasons: tuple[str, ...]
    unreadable: str = ""

    @property
    def spec(self) -> str:
        """What `spec=` takes."""
        return "+".join(self.files)


@frozen
class Answer:
    """The machines that are reached, and names of specs that were there once and are no more."""

    affected: tuple[Affected, ...]
    deleted: tuple[str, ...]


@frozen
class Question:
    """Since which revision, for which specs (empty: those in specs/ and here), looking into which image layouts."""

    since: str
    names: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    own: Path = field(default=Path(__file__).parents[1])


def affected(question: Question, base: Path) -> Answer:
    """What is affected of what lies in the repository around `base`, which relative names are relative to.

    UsageError where there is no repository, revision or spec of that name.
    """
    repository = Repository.around(base)
    commit = repository.base(question.since)
    changes = _Changes(repository, commit, tuple(repository.changed(commit)))
    machines, deleted = _machines(question, base, changes)
    everyone = list(_everyones(question, base, changes))
    found = []
    for files in machines:
        unreadable = ""
        try:
            reasons = everyone or list(dict.fromkeys(_reasons(files, load(files), changes)))
        except LkbuildError as error:
            unreadable = brief(error)
            reasons = [f"it cannot be read: {unreadable}"]
        if reasons:
            found.append(Affected(tuple(map(os.fspath, files)), tuple(reasons), unreadable))
    return Answer(tuple(found), tuple(deleted))


@frozen
class _Changes:
    """The paths that changed since a commit."""

    repository: Repository
    commit: str
    paths: tuple[str, ...]

    def below(self, path: Path) -> Iterator[str]:
        """The changed paths that are `path` or what it leads to, lie below, or are a link or submodule above."""
        for place in places(path):
            for changed in self.paths:
                if changed == place or changed.startswith(f"{place}/") or place.startswith(f"{changed}/"):
                    yield os.path.relpath(changed, self.repository.root)

    def text(self, path: Path) -> bytes | None:
        """What a file held."""
        return self.repository.text(self.commit, os.path.realpath(path))


def places(path: Path) -> set[str]:
    """The absolute paths that what is found at `path` depends on: its own, each link on the way, where they lead."""
    found: set[str] = set()
    pending = [os.path.abspath(path)]  # noqa: PTH100 - as text, links are followed one by one
    while pending:
        at = pending.pop()
        if at in found:
            break
        found.add(at)
        parts = at.split("/")
        for end in range(2, len(parts) + 1):
            prefix = "/".join(parts[:end])
            if os.path.islink(prefix):  # noqa: PTH114
                found.add(prefix)
                target = os.path.join(os.path.dirname(prefix), os.readlink(prefix))  # noqa: PTH115, PTH118, PTH120
                pending.append(os.path.normpath("/".join([target, *parts[end:]])))
                break
    return found


def _machines(question: Question, base: Path, changes: _Changes) -> tuple[list[Files], list[str]]:
    """The machines that are asked about, and what is no longer there."""
    if not question.names:
        # Relative to the directory, as somebody would name them.
        near = [Path(os.path.relpath(path, base)) for path in specs_near(base)]
        gone = (path for path in changes.paths if _looks_like_a_spec(path, base) and not os.path.lexists(path))
        return [(base / path if base != Path() else path,) for path in near], [os.path.relpath(p, base) for p in gone]
    machines, deleted = dict[Files, None](), list[str]()
    for name in question.names:
        try:
            machines.update(dict.fromkeys(expand([name], base)))
        except UsageError:
            paths = [base / part for part in name.split("+")]
            if all(path.exists() or changes.text(path) is not None for path in paths):
                deleted.append(name)
            else:
                raise
    return list(machines), deleted


def _looks_like_a_spec(path: str, base: Path) -> bool:
    directory = os.path.dirname(path)  # noqa: PTH120
    return path.endswith((".yml", ".yaml")) and directory in (os.path.realpath(base), os.path.realpath(base / "specs"))


def _everyones(question: Question, base: Path, changes: _Changes) -> Iterator[str]:
    """Why every spec is reached."""
    for path in changes.below(base / "dodo.py"):
        yield f"the project's tasks: {path}"
    inside = os.path.realpath(question.own).startswith(f"{changes.repository.root}/")
    for path in changes.below(question.own) if inside else ():
        yield f"lkbuild itself: {path}"
    for layout in question.images:
        for path in changes.below(layout):
            yield f"images: {path}"


def _reasons(files: Files, now: Spec, changes: _Changes) -> Iterator[str]:
    """Why a spec is reached, which reads `now` as it does."""
    yield from _spec_changes(files, now, changes)
    for path in changes.below(lock_path(files[0])):
        yield f"its lock: {path}"
    for file in now.files:
        for path in changes.below(Path(file.source)) if file.source is not None else ():
            yield f"the file {file.path}: {path}"
    for package in sorted({name for name in _images(now) if isinstance(name, PackageDir)}, key=lambda each: each.path):
        for place in (Path(package.path), *_links_out(Path(package.path))):
            for path in changes.below(place):
                yield f"the package {package}: {path}"


def _spec_changes(files: Files, now: Spec, changes: _Changes) -> Iterator[str]:
    """Whether the spec says something else than it did."""
    changed = {file: list(changes.below(file)) for file in files}
    if not any(changed.values()):
        return
    names = ", ".join(dict.fromkeys(path for paths in changed.values() for path in paths))
    texts: dict[Path, str] = {}
    for file, paths in changed.items():
        before = changes.text(file) if paths else None
        if before is None and paths:
            yield f"the spec is new: {names}"
            return
        if before is not None:
            texts[file] = before.decode("utf-8", "replace")
    try:
        then = load(files, text=texts)
    except LkbuildError:
        yield f"the spec, which could not be read then: {names}"
        return
    told = any(file.metadata is not None for file in now.files)
    if then != now or (told and then.written != now.written):
        yield f"the spec: {names}"


def _images(spec: Spec) -> Iterable[object]:
    """Every image that a spec names."""
    sections: Sequence[Iterable[object]] = (
        () if spec.kernel is None else (spec.kernel.image,),
        spec.init,
        (volume.image for volume in spec.volumes),
        (container.image for container in (*spec.onboot, *spec.onshutdown, *spec.services)),
    )
    return (image for section in sections for image in section)


def _links_out(directory: Path) -> Iterator[Path]:
    """The symbolic links in a package's directory: where they lead may count."""
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = Path(parent, name)
            if path.is_symlink():
                yield path
