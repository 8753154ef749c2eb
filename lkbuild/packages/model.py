"""A package: what its build.yml asks for, turned into the params of the steps that make its image."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from lkbuild.errors import ImageError, Problem, SpecError
from lkbuild.frozen import frozen
from lkbuild.oci.image import CONFIG_LABEL, RunConfig
from lkbuild.packages.accounts import group, passwd
from lkbuild.packages.build_file import BuildFile
from lkbuild.packages.debian import DebianRequest
from lkbuild.packages.layout import merged, merged_target, points_at
from lkbuild.packages.params import (
    Concatenation,
    DebianLayer,
    DockerfileBuild,
    ImageDocuments,
    KernelLayer,
    LayerEntry,
    Ownership,
    PackageLayer,
    Pairs,
)
from lkbuild.packages.tree import TreeEntry
from lkbuild.spec.decode import Document
from lkbuild.spec.fields import shape

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""The environment of an image that sets no PATH of its own."""

Kind = Literal["layers", "kernel", "dockerfile"]


@frozen
class Package:
    """A package directory, checked.  `root` is the tree laid over, or a Dockerfile's context; None where there is none.

    The params of its steps follow from build.yml and the tree's entries (see `tree.snapshot`).
    """

    directory: Path
    kind: Kind
    document: Document[BuildFile]
    root: Path | None

    @property
    def build(self) -> BuildFile:
        """What build.yml says."""
        return self.document.value

    @property
    def name(self) -> str:
        """The image's name."""
        return self.build.image

    @property
    def watched(self) -> tuple[Path, ...]:
        """What a change to the package would show in: build.yml, and the tree (which need not be there yet)."""
        return (self.directory / "build.yml", self.root or self.directory / (self.build.root or "root"))

    def tree(self) -> Path | None:
        """The directory to take a snapshot of; None where there is none."""
        return self.root

    def check(self, architecture: str) -> None:
        """SpecError where the package is not for `architecture`."""
        arches = self.build.arches
        if arches is not None and architecture not in arches:
            message = f"the package {self.name} cannot be built for {architecture} (arches: {', '.join(arches)})"
            raise SpecError(
                [Problem(self.document.origin("arches"), message, "build for one of these, or add it there")]
            )
        if self.build.debian and not self.build.debian.wanted(architecture) and self.kind == "kernel":
            message = f"the package {self.name} names no Debian package with a kernel for {architecture}"
            raise SpecError([Problem(self.document.origin("debian"), message, f"add it under debian: {architecture}:")])

    def run_config(self, architecture: str) -> RunConfig:
        """What containers of the image run.  NB: for a Dockerfile's image only the label; the rest its config tells."""
        build = self.build
        env = build.env or ()
        if self.kind == "layers" and not any(each.startswith("PATH=") for each in env):
            env = (PATH, *env)
        return RunConfig(build.entrypoint or (), build.cmd or (), env, build.workdir or "", self.label())

    def label(self) -> str | None:
        """The text of the label org.mobyproject.config, JSON; None where build.yml has no `config`."""
        if self.build.config is None:
            return None
        return json.dumps(written(self.build.config), separators=(",", ":"), ensure_ascii=False)

    def request(self, architecture: str) -> DebianRequest | None:
        """The Debian packages wanted; None where there are none for this architecture."""
        debian = self.build.debian
        wanted = debian.wanted(architecture) if debian else ()
        if debian is None or not wanted:
            return None
        return DebianRequest(architecture, tuple(sorted(set(wanted))), tuple(sorted(set(debian.without or ()))))

    def debian_params(self, entries: Iterable[TreeEntry] = ()) -> DebianLayer | KernelLayer | None:
        """For the step on the Debian packages; None where there is no `debian`.

        `entries` are the tree's: a mode for one of them is not for this layer.
        """
        debian = self.build.debian
        if debian is None:
            return None
        if self.kind == "kernel":
            return KernelLayer(self.build.kernel.modules if self.build.kernel else None)
        own = {each.path for each in self._own_entries(entries)}
        modes = tuple(sorted(mode for mode in self._modes() if mode.path not in own))
        return DebianLayer(debian.only or (), debian.exclude or (), debian.keep or (), modes)

    def package_params(self, entries: Iterable[TreeEntry]) -> PackageLayer | None:
        """For the step on the package's own files; its inputs `file<N>` are `file_inputs(params, entries)`.

        None where there is nothing to lay over the Debian packages.  SpecError where a mode is for a file that is not
        there; with Debian packages, whose files are not known yet, their step says so.
        """
        base = self.build.debian is None
        own = self._own_entries(entries)
        joined = tuple(Concatenation(each.path, each.sources) for each in self.build.concatenate or ())
        if not own and not joined and not base:
            return None
        if base:
            self._check_modes({each.path for each in own})
        modes = {mode.path: mode for mode in self._modes()}
        return PackageLayer(tuple(_with_mode(entry, modes.get(entry.path)) for entry in own), joined, base)

    def documents_params(self, architecture: str) -> ImageDocuments:
        """For the step that writes the image's config and manifest."""
        return ImageDocuments(architecture, self.run_config(architecture), self._labels())

    def dockerfile_params(self, architecture: str, entries: Iterable[TreeEntry]) -> DockerfileBuild:
        """For the step that has a Dockerfile built; its inputs `file<N>` are `file_inputs(params, entries)`."""
        arguments = tuple((name, value) for name, _, value in (a.partition("=") for a in self.build.build_args or ()))
        files = tuple(LayerEntry(each.path, each.kind, each.mode, target=each.target) for each in sorted(entries))
        dockerfile = self.build.dockerfile or "Dockerfile"
        return DockerfileBuild(architecture, dockerfile, files, arguments, self._labels(), bool(self.build.network))

    def _labels(self) -> Pairs:
        label = self.label()
        own = {} if label is None else {CONFIG_LABEL: label}
        return tuple(sorted({**dict(self.build.labels or ()), **own}.items()))

    def _modes(self) -> tuple[Ownership, ...]:
        return tuple(
            Ownership(each.path, each.mode, each.uid, each.gid)
            for each in self.build.modes or ()
            if each.mode is not None
        )

    def _check_modes(self, there: set[str]) -> None:
        problems = [
            Problem(
                self.document.origin("modes", number),
                f"modes: {each.path}: the package has no such file",
                f"put it into {(self.root or self.directory / 'root').name}/, or drop its mode",
            )
            for number, each in enumerate(self.build.modes or ())
            if each.path not in there
        ]
        if problems:
            raise SpecError(problems)

    def _own_entries(self, entries: Iterable[TreeEntry]) -> tuple[LayerEntry, ...]:
        """All of the package's own layer, sorted by path.  What build.yml says in so many words wins over the tree."""
        build = self.build
        found: dict[str, LayerEntry] = {}
        for each in entries:
            path = merged(each.path)
            target = merged_target(each.path, each.target)
            if each.kind == "symlink" and points_at(path, target) == path:
                continue
            if path in found:
                raise ImageError(f"{self.root}: {path} is there twice, below usr/ and not", "keep the one below usr/")
            found[path] = LayerEntry(path, each.kind, each.mode, target=target)
        for place in build.directories or ():
            mode = 0o755 if place.mode is None else place.mode
            found[place.path] = LayerEntry(place.path, "directory", mode, place.uid, place.gid)
        for path, target in applet_links(build):
            found[path] = LayerEntry(path, "symlink", 0o777, target=target)
        for path, target in build.links or ():
            found[merged(path.strip("/"))] = LayerEntry(merged(path.strip("/")), "symlink", 0o777, target=target)
        if build.users is not None or build.groups is not None:
            users, groups = build.users or (), build.groups or ()
            for path, text in (("etc/passwd", passwd(users)), ("etc/group", group(users, groups))):
                found[path] = LayerEntry(path, "file", 0o644, contents=text)
        return tuple(found[path] for path in sorted(found))


def file_inputs(params: PackageLayer | DockerfileBuild, entries: Iterable[TreeEntry]) -> tuple[TreeEntry, ...]:
    """The tree's files that are the inputs `file0`, `file1`, … of a step with these params, in that order."""
    place = merged if isinstance(params, PackageLayer) else str
    by_path = {place(each.path): each for each in entries}
    return tuple(by_path[each.path] for each in params.entries if each.kind == "file" and each.contents is None)


def applet_links(build: BuildFile) -> tuple[tuple[str, str], ...]:
    """The links `applets` asks for, as (place, target)."""
    links = []
    for each in build.applets or ():
        directory = each.binary.rpartition("/")[0]
        for name in each.names:
            path = merged(name.strip("/")) if "/" in name else f"{directory}/{name}".lstrip("/")
            beside = path.rpartition("/")[0] == directory
            links.append((path, each.binary.rpartition("/")[2] if beside else f"/{each.binary}"))
    return tuple(links)


def written(value: Any) -> Any:
    """A value the decoder read, as the document it could be read from: YAML's keys, nothing that is None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {each.key: (each, getattr(value, each.name)) for each in shape(type(value)) if not each.inline}
        return {
            key: dict(inner) if _is_map(each.hint) else written(inner)
            for key, (each, inner) in found.items()
            if inner is not None
        }
    return [written(each) for each in value] if isinstance(value, tuple) else value


def _is_map(hint: Any) -> bool:
    return hint in (Pairs, Pairs | None)


def _with_mode(entry: LayerEntry, mode: Ownership | None) -> LayerEntry:
    return entry if mode is None else dataclasses.replace(entry, mode=mode.mode, uid=mode.uid, gid=mode.gid)
