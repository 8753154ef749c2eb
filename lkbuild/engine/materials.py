"""What a plan is made from: images found, packages read and resolved, local files taken into the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.doors import WayOut
from lkbuild.engine.events import Listener
from lkbuild.engine.execute import Place, execute
from lkbuild.engine.finding import Finder
from lkbuild.engine.stamp import Watch
from lkbuild.errors import ImageError, Origin, Problem, SpecError
from lkbuild.lock import Lock
from lkbuild.oci.image import Platform, RunConfig
from lkbuild.packages import Deb, DebianRequest, Package, TreeEntry, file_inputs, read_package, snapshot
from lkbuild.plan.images import PlannedImage, packaged, pulled
from lkbuild.plan.machine import Materials, PlannedLayout
from lkbuild.plan.step import Input, Step
from lkbuild.reference import Reference
from lkbuild.sources import Image
from lkbuild.spec.model import ImageName, PackageDir, Spec, Volume
from lkbuild.store import Blob


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


class Gathering:
    """Finds what the specs of one build name, each thing once however many specs name it."""

    def __init__(self, finder: Finder, doors: WayOut, listen: Listener) -> None:
        self.finder = finder
        self.doors = doors
        self.listen = listen
        self._images: dict[Reference, Image] = {}
        self._packages: dict[tuple[str, Lock | None], PlannedImage] = {}
        self._requests: dict[str, DebianRequest] = {}

    @property
    def references(self) -> tuple[Reference, ...]:
        """The images that were found."""
        return tuple(self._images)

    def find_images(self, specs: list[dict[ImageName, Origin]], pool: Executor) -> None:
        """Find the images of all specs, several at a time; SpecError names every one that is missing, with its line."""
        wanted: dict[Reference, Origin] = {}
        for spec in specs:
            for image, origin in spec.items():
                if isinstance(image, Reference):
                    wanted.setdefault(image, origin)

        def find(item: tuple[Reference, Origin]) -> Image | Problem:
            reference, origin = item
            try:
                return self.finder.image(reference)
            except ImageError as error:
                return Problem(origin, error.message, error.hint)

        problems = []
        for reference, answer in zip(wanted, pool.map(find, wanted.items()), strict=True):
            if isinstance(answer, Problem):
                problems.append(answer)
            else:
                self._images[reference] = answer
        if problems:
            raise SpecError(problems)

    def materials(self, spec: Spec, lock: Lock | None, watch: Watch, bootloader: ImageName | None = None) -> Materials:
        """What the plan of `spec` is made from; `watch` is told what was looked at."""
        images: dict[ImageName, PlannedImage] = {}
        problems: list[Problem] = []
        wanted = image_origins(spec)
        if bootloader is not None:
            wanted.setdefault(bootloader, Origin("bootloader"))
        for name, origin in wanted.items():
            try:
                if isinstance(name, PackageDir):
                    watch.add_tree(Path(name.path))
                images[name] = self._planned(name, origin, lock)
                for path in self._records(name):
                    watch.add_file(path)
            except SpecError as error:
                problems += error.problems
            except ImageError as error:
                problems.append(Problem(origin, error.message, error.hint))
        if problems:
            raise SpecError(problems)
        return Materials(images, dict(self._layouts(spec, lock)), dict(self._files(spec, watch)))

    def _planned(self, name: ImageName, origin: Origin, lock: Lock | None) -> PlannedImage:
        if isinstance(name, Reference):
            image = self._images[name]
            return pulled(name, image.layers, RunConfig.from_config(image.config))
        known = self._packages.get((name.path, lock))
        if known is None:
            known = self._packages[name.path, lock] = self._package(name, origin, lock)
        return known

    def _records(self, name: ImageName) -> Iterator[Path]:
        """The files of the store that say what a tag or a Debian package means: another build may renew them."""
        if isinstance(name, Reference):
            yield from self.finder.records(name)
        elif name.path in self._requests:
            yield from self.finder.records(self._requests[name.path])

    # -- packages ------------------------------------------------------------------------------------------------------

    def _package(self, name: PackageDir, origin: Origin, lock: Lock | None) -> PlannedImage:
        architecture = self.finder.platform.architecture
        package = read_package(Path(name.path))
        package.check(architecture)
        tree = package.tree()
        entries = snapshot(tree, self.finder.take) if tree is not None else ()
        if package.kind == "dockerfile":
            return self._dockerfile(package, entries, origin)
        request = package.request(architecture)
        debs: tuple[Deb, ...] = ()
        if request is not None:
            self._requests[name.path] = request
            debs = (lock.debs(request) if lock else None) or self.finder.debs(request)
        return packaged(package, architecture, debs, entries, origin)

    def _dockerfile(self, package: Package, entries: tuple[TreeEntry, ...], origin: Origin) -> PlannedImage:
        """An image the daemon builds: its config decides the plan, so this step is carried out before planning."""
        params = package.dockerfile_params(self.finder.platform.architecture, entries)
        files = enumerate(file_inputs(params, entries))
        inputs = tuple(Input(f"file{n}", blob=entry.digest, size=entry.size) for n, entry in files)
        step = Step(f"dockerfile:{package.name}", "dockerfile", params, inputs, origin)
        blobs = {i.role: Blob(i.blob, i.size) for i in inputs if i.blob is not None}
        result = execute(step, blobs, Place(self.finder.store, self.doors, self.listen))
        run = RunConfig.from_config(self.finder.store.read(result["config"].digest))
        count = sum(name.startswith("layer") for name, _ in result.outputs)
        return PlannedImage(run, (step,), tuple((step.name, f"layer{n}") for n in range(count)))

    # -- volumes and files ---------------------------------------------------------------------------------------------

    def _layouts(self, spec: Spec, lock: Lock | None) -> Iterator[tuple[str, PlannedLayout]]:
        for number, volume in enumerate(spec.volumes):
            if volume.image is None or volume.format != "oci":
                continue
            origin = spec.origin("volumes", number, "image")
            if isinstance(volume.image, Reference):
                yield volume.name, self._layout(volume, volume.image, origin)
            else:
                yield volume.name, self._package_layout(volume.image, origin, lock)

    def _layout(self, volume: Volume, reference: Reference, origin: Origin) -> PlannedLayout:
        """An image from a registry or a layout, for all platforms or those the volume lists."""
        platforms = tuple(map(Platform.parse, volume.platforms or ()))
        try:
            _, found = self.finder.every_platform(reference, platforms)
        except ImageError as error:
            raise SpecError([Problem(origin, error.message, error.hint)]) from error
        store, blobs, steps = self.finder.store, dict[Digest, Input](), list[Step]()
        documents = () if platforms else found.documents
        for raw in [d.raw for d in documents] + [raw for i in found.images for raw in (i.manifest, i.config)]:
            blob = store.add(raw)
            blobs.setdefault(blob.digest, Input("", blob=blob.digest, size=blob.size))
        for image in found.images:
            step = pulled(reference, image.layers, RunConfig()).steps[0]
            steps.append(Step(f"pull:{reference}/{image.digest.short}", step.kind, step.params, (), origin))
            for n, layer in enumerate(image.layers):
                blobs.setdefault(layer.digest, Input("", steps[-1].name, f"layer{n}", size=layer.size))
        heads = [i.descriptor for i in found.images] if platforms else [found.root.descriptor]
        index = layout_index([(str(d.digest), len(store.read(d.digest)), d.media_type) for d in heads], reference)
        inputs = tuple(
            Input(f"blob{n}", i.step, i.output, i.blob, i.size)
            for n, i in enumerate(dict(sorted(blobs.items())).values())
        )
        return PlannedLayout(index, tuple(steps), inputs)

    def _package_layout(self, name: PackageDir, origin: Origin, lock: Lock | None) -> PlannedLayout:
        raise SpecError(
            [
                Problem(
                    origin,
                    f"a volume of format oci cannot hold the package {name}",
                    "leave `format` out to have its files, or push the image and name its reference",
                )
            ]
        )

    def _files(self, spec: Spec, watch: Watch) -> Iterator[tuple[str, tuple[Digest, int]]]:
        for file in spec.files:
            if file.source is None:
                continue
            path = Path(file.source)
            watch.add_file(path)
            if path.is_file():
                digest = self.finder.take(path)
                yield file.source, (digest, self.finder.store.path(digest).stat().st_size)


def layout_index(heads: list[tuple[str, int, str]], reference: Reference) -> str:
    """The index.json of a layout that holds one image (image-spec image-layout.md)."""
    manifests = [
        {
            "mediaType": media_type,
            "digest": digest,
            "size": size,
            "annotations": {"org.opencontainers.image.ref.name": str(reference)},
        }
        for digest, size, media_type in heads
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests})
