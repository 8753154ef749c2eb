"""What a plan is made from: images found, packages read and resolved, local files taken into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lkbuild.contents.bill import ImageTitle
from lkbuild.digest import Digest
from lkbuild.engine.dockerfiles import Dockerfiles
from lkbuild.engine.execute import Place
from lkbuild.engine.finding import Finder, Record
from lkbuild.engine.layouts import image_name, planned_layout, platforms, whole_images
from lkbuild.engine.stamp import Watch
from lkbuild.engine.trusting import Demand
from lkbuild.errors import ImageError, LkbuildError, Origin, Problem, SpecError
from lkbuild.frozen import frozen
from lkbuild.lock import Lock
from lkbuild.oci.image import RunConfig, check_layer, layer_history
from lkbuild.packages import Deb, DebianRequest, Package, TreeEntry, read_package, snapshot
from lkbuild.packages.read import BUILD_FILE
from lkbuild.plan.images import (
    PackageFiles,
    PlannedImage,
    PlannedLayout,
    behind,
    package_files,
    packaged,
    packaged_layout,
    pulled,
    told,
)
from lkbuild.plan.materials import Materials
from lkbuild.reference import Reference
from lkbuild.sources import Image
from lkbuild.spec.model import ImageName, PackageDir, Spec, Volume

_ASKED_AT_ONCE = 8
"""The images that are asked for at a time."""
_SOURCE = "a source is relative to the spec that names it; optional: true leaves out what is missing"


def image_origins(spec: Spec) -> dict[ImageName, Origin]:
    """Every image a spec names (volumes kept whole aside), with the place where it first does."""
    found: dict[ImageName, Origin] = {}

    def named(image: ImageName, *path: str | int) -> None:
        found.setdefault(image, spec.origin(*path))

    if spec.kernel:
        named(spec.kernel.image, "kernel", "image")
    for number, image in enumerate(spec.init):
        named(image, "init", number)
    for number, volume in enumerate(spec.volumes):
        if volume.image is not None and volume.format == "filesystem":
            named(volume.image, "volumes", number, "image")
    for section in ("onboot", "onshutdown", "services"):
        for number, container in enumerate(getattr(spec, section)):
            named(container.image, section, number, "image")
    return found


def references(spec: Spec) -> set[Reference]:
    """Every image a spec names that is found somewhere, packages aside."""
    names = (*image_origins(spec), *(name for _, name, _ in whole_images(spec)))
    return {name for name in names if isinstance(name, Reference)}


@frozen
class Terms:
    """What holds for one machine: its lock, who is told what was looked at, and what must be verified.

    `loaders`: one of its formats needs boot loaders.
    """

    lock: Lock | None
    watch: Watch
    demand: Demand | None = None
    loaders: bool = True


class Gathering:
    """Finds what the specs of one build name, each thing once however many specs name it.

    `bootloader` is an image besides those, None where no format needs one.
    """

    def __init__(self, finder: Finder, place: Place, bootloader: ImageName | None = None) -> None:
        self.finder = finder
        self.bootloader = bootloader
        self.dockerfiles = Dockerfiles(place, finder.platform.architecture, finder.sources.pull == "always")
        self._images: dict[Reference, Image] = {}
        self._missing: dict[Reference, ImageError] = {}
        self._read: dict[str, Package] = {}
        self._sources: dict[str, tuple[tuple[str, Digest], ...]] = {}
        self._files_of: dict[tuple[str, Lock | None], PackageFiles] = {}
        self._packages: dict[tuple[str, Lock | None], PlannedImage] = {}
        self._failed: dict[tuple[str, Lock | None], LkbuildError] = {}
        self._records: dict[tuple[str, Lock | None], tuple[Record, ...]] = {}

    @property
    def missing(self) -> bool:
        """Whether images that were looked for were not found."""
        return bool(self._missing)

    def find_images(self, specs: Iterable[Spec]) -> None:
        """Find the images of all specs, and that of boot loaders.  `materials` tells of those that are missing.

        Those that must be asked for are, several at a time.
        """
        wanted = dict.fromkeys(name for spec in specs for name in image_origins(spec) if isinstance(name, Reference))
        if isinstance(self.bootloader, Reference):
            wanted[self.bootloader] = None

        def found(reference: Reference, find: Callable[[Reference], Image | None]) -> Image | ImageError | None:
            try:
                return find(reference)
            except ImageError as error:
                return error

        answers = {reference: found(reference, self.finder.at_hand) for reference in wanted}
        if asked := [reference for reference, answer in answers.items() if answer is None]:
            from concurrent.futures import ThreadPoolExecutor  # which loads `logging`

            with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
                answers.update(zip(asked, pool.map(lambda name: found(name, self.finder.image), asked), strict=True))
        self._missing.update((name, answer) for name, answer in answers.items() if isinstance(answer, ImageError))
        self._images.update((name, answer) for name, answer in answers.items() if isinstance(answer, Image))

    def materials(self, spec: Spec, terms: Terms) -> Materials:
        """What the plan of `spec` is made from; SpecError names everything that is missing or wrong, with its line.

        Its images are looked for before, with `find_images`.
        """
        images: dict[ImageName, PlannedImage] = {}
        layouts: dict[str, PlannedLayout] = {}
        problems: list[Problem] = []
        wanted, whole = image_origins(spec), list(whole_images(spec))
        if self.bootloader is not None and terms.loaders:
            wanted.setdefault(self.bootloader, Origin("bootloader"))
        if wrong := self._wrong_packages([*wanted.items(), *((n, o) for _, n, o in whole)], terms.watch):
            missing = [Problem(o, self._missing[n].message, self._missing[n].hint)
                       for n, o in wanted.items() if isinstance(n, Reference) and n in self._missing]  # fmt: skip
            raise SpecError([*wrong, *missing])
        for name, origin in wanted.items():
            with _noting(problems, origin):
                images[name] = self._planned(name, origin, terms)
        for volume, name, origin in whole:
            with _noting(problems, origin):
                layouts[volume.name] = self._layout(volume, name, origin, terms)
        files = self._files(spec, terms.watch, problems)
        if problems or wanted.keys() - images.keys() or {volume.name for volume, _, _ in whole} - layouts.keys():
            raise SpecError(problems)
        named = (*wanted, *(name for _, name, _ in whole))
        sources = [each for name in named if isinstance(name, PackageDir) for each in self._sources[name.path]]
        sources += [(f"files: {f.path}", files[f.source][0]) for f in spec.files if f.source in files]
        locked = None if terms.lock is None else Digest.of(terms.lock.encode().encode())
        packages = {name: self._files_of[name.path, terms.lock] for name in named if isinstance(name, PackageDir)}
        return Materials(images, layouts, files, tuple(dict.fromkeys(sources)), locked, packages)

    def _wrong_packages(self, named: list[tuple[ImageName, Origin]], watch: Watch) -> list[Problem]:
        """Why packages are not as they should be, or not for this machine: before apt is asked."""
        problems: list[Problem] = []
        for name, origin in named:
            if isinstance(name, PackageDir):
                with _noting(problems, origin):
                    self._package(name, watch).check(self.finder.platform.architecture)
        return problems

    def _planned(self, name: ImageName, origin: Origin, terms: Terms) -> PlannedImage:
        if isinstance(name, Reference):
            return self._pulled(name, origin, terms)
        package, key = self._package(name, terms.watch), (name.path, terms.lock)
        if key in self._failed:
            raise self._failed[key]
        if key not in self._packages:
            try:
                self._packages[key], self._records[key] = self._made(package, origin, terms.lock)
            except LkbuildError as error:  # which many specs may name: it is not tried again for each
                self._failed[key] = error
                raise
        terms.watch.add_seen(self._records[key])
        return self._packages[key]

    def _pulled(self, name: Reference, origin: Origin, terms: Terms) -> PlannedImage:
        """An image that was found, behind its verification where the spec asks for one."""
        if name in self._missing:
            raise self._missing[name]
        image, gate = self._images[name], None
        terms.watch.add_seen(self.finder.image_records(name))
        if terms.demand is not None and terms.demand.covers(name):
            name, image = self.finder.verifiable(name, image)
            gate = terms.demand.gate(name, image.index or image.digest, self.finder, origin)
        for layer in image.layers:
            check_layer(layer.media_type)
        run = RunConfig.from_config(image.config)
        planned = pulled(image_name(image), name, image.layers, image.sboms, run)
        planned = told(planned, layer_history(image.config, len(image.layers)))
        return planned if gate is None else behind(gate, planned)

    # -- packages ------------------------------------------------------------------------------------------------------

    def _package(self, name: PackageDir, watch: Watch) -> Package:
        """What build.yml says; `watch` is told of all that counts before it is read."""
        watch.add_tree(Path(name.path))
        package = self._read.get(name.path)
        if package is None:
            package = self._read[name.path] = read_package(Path(name.path))
        for path in package.watched:
            watch.add_tree(path)
        return package

    def _made(self, package: Package, origin: Origin, lock: Lock | None) -> tuple[PlannedImage, tuple[Record, ...]]:
        """A package's image, and what of the store decided about it."""
        architecture = self.finder.platform.architecture
        package.check(architecture)
        tree = package.tree()
        entries = snapshot(tree, self.finder.take) if tree is not None else ()
        self._sources[str(package.directory)] = _sources(package, entries)
        request = package.request(architecture) if package.kind != "dockerfile" else None
        locked = lock.debs(request) if lock and request is not None else None
        debs = locked or (self._debs(package, request) if request is not None else ())
        self._files_of[str(package.directory), lock] = package_files(package, entries, request, debs)
        if package.kind == "dockerfile":
            return self._dockerfile(package, entries, origin)
        records = () if locked or request is None else self.finder.debian_records(request)
        return packaged(package, architecture, debs, entries, origin), records

    def _debs(self, package: Package, request: DebianRequest) -> tuple[Deb, ...]:
        """The Debian packages of a package; ImageError names the file that asks for them."""
        try:
            return self.finder.debs(request)
        except ImageError as error:
            raise ImageError(f"{package.directory / BUILD_FILE}: {error.message}", error.hint) from error

    def _dockerfile(
        self, package: Package, entries: tuple[TreeEntry, ...], origin: Origin
    ) -> tuple[PlannedImage, tuple[Record, ...]]:
        built = self.dockerfiles.image(package, entries, origin)
        memory = self.finder.memory
        memory.used(built.key, built.result)
        run = RunConfig.from_config(self.finder.store.read(built.result["config"].digest))
        count = sum(output.startswith("layer") for output, _ in built.result.outputs)
        layers = tuple((built.step.name, f"layer{n}") for n in range(count))
        publisher, architecture = package.build.org or "", self.finder.platform.architecture
        name = ImageTitle(package.name, architecture=architecture, publisher=publisher)
        return PlannedImage(run, (built.step,), layers, name), (memory.record(built.key),)

    # -- volumes and files ---------------------------------------------------------------------------------------------

    def _layout(self, volume: Volume, name: ImageName, origin: Origin, terms: Terms) -> PlannedLayout:
        """An image kept whole, for all platforms or those the volume lists; a package's for the machine's."""
        chosen = platforms(volume)
        if isinstance(name, Reference):
            found = self.finder.every_platform(name, chosen)
            terms.watch.add_seen(self.finder.every_platform_records(name, chosen))
            gate = None
            if terms.demand is not None and terms.demand.covers(name):
                gate = terms.demand.gate(name, found.root.digest, self.finder, origin)
            return planned_layout(found, bool(chosen), self.finder.store, (origin, gate))
        mine = self.finder.platform
        if other := [platform for platform in chosen if platform.canonical != mine.canonical]:
            raise ImageError(
                f"the package {name} is built for {mine}, not for {', '.join(map(str, other))}",
                "leave `platforms` out, or push the image for all of them and name its reference",
            )
        planned = self._planned(name, origin, terms)
        return packaged_layout(planned, self._read[name.path], mine.architecture, origin)

    def _files(self, spec: Spec, watch: Watch, problems: list[Problem]) -> dict[str, tuple[Digest, int]]:
        """The sources of `files`, taken into the store; an optional one that is not there is left out."""
        found: dict[str, tuple[Digest, int]] = {}
        for number, file in enumerate(spec.files):
            if file.source is None:
                continue
            path = Path(file.source)
            watch.add_file(path)
            try:
                digest = self.finder.take(path)
                found[file.source] = digest, self.finder.store.path(digest).stat().st_size
            except OSError as error:
                if not (file.optional and isinstance(error, FileNotFoundError | NotADirectoryError)):
                    origin = spec.origin("files", number, "source")
                    problems.append(Problem(origin, f"cannot read source {file.source!r}: {error.strerror}", _SOURCE))
        return found


def _sources(package: Package, entries: tuple[TreeEntry, ...]) -> tuple[tuple[str, Digest], ...]:
    """The files a package is made of, by its name and their paths below it."""
    root = package.root.name if package.root is not None else ""
    files = ((f"{package.name}/{root}/{each.path}", each.digest) for each in entries)
    build = Digest.of_file(package.directory / BUILD_FILE)
    return (f"{package.name}/{BUILD_FILE}", build), *((name, digest) for name, digest in files if digest is not None)


@contextmanager
def _noting(problems: list[Problem], origin: Origin) -> Iterator[None]:
    """What is wrong with the thing named at `origin` is noted, so that all there is can be told at once."""
    try:
        yield
    except SpecError as error:
        problems += error.problems
    except ImageError as error:
        problems.append(Problem(origin, error.message, error.hint))
