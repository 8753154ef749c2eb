"""The first layer of a package's image: Debian packages unpacked, as dpkg would, without running anything of theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

from lkbuild.archive.deb import DebEntry, control, entries, fields
from lkbuild.errors import StepError
from lkbuild.frozen import frozen
from lkbuild.packages.layout import matcher, merged, merged_target, points_at
from lkbuild.packages.params import DebianLayer, LayerEntry
from lkbuild.steps.layer_tar import LayerTar, chunks
from lkbuild.steps.reading import Reading, reading
from lkbuild.steps.work import Work

RECORDS = "var/lib/dpkg/status.d"
"""Where each package's control file is kept, for programs that list an image's contents (as distroless images do)."""

DROPPED = tuple(
    f"usr/share/{name}/**" for name in ("bash-completion", "bug", "doc", "info", "lintian", "locale", "man")
)
"""Left out unless `keep` names it."""
KEPT = ("usr/share/doc/*/copyright",)
"""Kept although `DROPPED` names it: the licences, which most of them ask to keep with the program."""


@frozen
class Package:
    """A Debian package as an input: its file, its name and what it replaces."""

    path: Path
    name: str
    control: bytes
    replaces: frozenset[str]


def debian_layer(params: DebianLayer, work: Work) -> None:
    """The inputs `deb<N>` as one layer, output `layer`: moved to the merged /usr, filtered, each path once."""
    packages = in_order(read_packages(work))
    unpacking = _Unpacking(params, reading(work, "deb"))
    with LayerTar(work.output("layer")) as tar:
        tar.merged_root()
        for package in packages:
            unpacking.package(tar, package)
        add_records(tar, packages)
    unpacking.check()


def read_packages(work: Work) -> list[Package]:
    """The inputs `deb<N>`, sorted by name; two of one name are refused."""
    found: dict[str, Package] = {}
    for item in work.numbered("deb"):
        raw = control(item.path)
        stanza = fields(raw)
        name = stanza.get("package", "")
        if not name or "/" in name or name in found:
            raise StepError(f"two Debian packages are called {name!r}, or one has no proper name")
        replaces = frozenset(part.split()[0] for part in stanza.get("replaces", "").split(",") if part.strip())
        found[name] = Package(item.path, name, raw, replaces)
    return [found[name] for name in sorted(found)]


def in_order(packages: list[Package]) -> list[Package]:
    """As given, but a package that replaces files of another before that one: the first to bring a path keeps it."""
    order: dict[str, Package] = {}
    seen: set[str] = set()

    def place(package: Package) -> None:
        if package.name in seen:
            return
        seen.add(package.name)
        for other in packages:
            if package.name in other.replaces:
                place(other)
        order[package.name] = package

    for package in packages:
        place(package)
    return list(order.values())


def add_records(tar: LayerTar, packages: list[Package]) -> None:
    """Each package's control file under RECORDS."""
    for package in sorted(packages, key=lambda p: p.name):
        tar.add(LayerEntry(f"{RECORDS}/{package.name}", "file", 0o644), len(package.control), [package.control])


class _Unpacking:
    """What has been unpacked so far: who a path is of, and what the filters let through."""

    def __init__(self, params: DebianLayer, progress: Reading) -> None:
        self._progress = progress
        self._owner: dict[str, Package] = {}
        self._modes = {mode.path: mode for mode in params.modes}
        self._used: set[str] = set()
        self._only = matcher(params.only) if params.only else lambda path: True
        self._exclude, self._keep = matcher(params.exclude), matcher(params.keep)
        self._dropped, self._kept = matcher(DROPPED), matcher(KEPT)

    def wanted(self, path: str) -> bool:
        """Whether the filters let `path` through."""
        if self._keep(path):
            return True
        dropped = self._dropped(path) and not self._kept(path)
        return self._only(path) and not self._exclude(path) and not dropped

    def package(self, tar: LayerTar, package: Package) -> None:
        """Write what is wanted of `package`."""
        for entry, body in entries(package.path, self._progress.count):
            path = merged(entry.path)
            if entry.kind == "directory":
                self._directory(tar, package, path, entry)
            elif self.wanted(path):
                self._file(tar, package, path, entry, body)

    def check(self) -> None:
        """StepError where a mode was given for a file that is not there."""
        missing = sorted(self._modes.keys() - self._used)
        if missing:
            raise StepError(
                f"modes: {', '.join(missing)}: neither the Debian packages nor root/ have such a file",
                "is it left out by `only` or `exclude`, or called otherwise in this version?",
            )

    def _directory(self, tar: LayerTar, package: Package, path: str, entry: DebEntry) -> None:
        if tar.written.get(path, "directory") != "directory":
            raise self._collision(package, path, "a directory", tar.written[path])
        placed = self._placed(LayerEntry(path, "directory", entry.mode, entry.uid, entry.gid))
        tar.directories.setdefault(path, (placed, entry.mtime))
        if self.wanted(path):
            self._owner.setdefault(path, package)
            tar.directory(path)

    def _file(self, tar: LayerTar, package: Package, path: str, entry: DebEntry, body: BinaryIO | None) -> None:
        target = merged_target(entry.path, entry.target) if entry.kind == "symlink" else merged(entry.target)
        if entry.kind == "symlink" and points_at(path, target) == path:
            return  # /bin/x -> /usr/bin/x: both are one place now.
        if path in tar.written:
            first = self._owner.get(path)
            if first is None or package.name not in first.replaces:
                raise self._collision(package, path, f"a {entry.kind}", tar.written[path])
            return
        self._owner[path] = package
        kind: Literal["file", "symlink"] = "symlink" if entry.kind == "symlink" else "file"
        placed = self._placed(LayerEntry(path, kind, entry.mode, entry.uid, entry.gid, target=target))
        if entry.kind == "hardlink":
            tar.hard_link(placed, entry.mtime)
        else:
            tar.add(placed, entry.size, chunks(body, entry.size) if body else (), entry.mtime)

    def _placed(self, entry: LayerEntry) -> LayerEntry:
        """`entry` with the mode and owner that were asked for."""
        own = self._modes.get(entry.path)
        if own is None:
            return entry
        self._used.add(entry.path)
        return replace(entry, mode=own.mode, uid=own.uid, gid=own.gid)

    def _collision(self, package: Package, path: str, kind: str, there: str) -> StepError:
        first = self._owner.get(path)
        who = f"of {first.name}" if first else "of the merged /usr"
        return StepError(
            f"{path} is {kind} of the Debian package {package.name}, and a {there} {who}",
            f"leave one of the packages out (`without`), or the path (`exclude: [{path}]`) where none is needed",
        )
