"""What a machine is made of, as steps: the contents of each image, a document of all, its place in the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lkbuild.contents.bill import ImageTitle, Used
from lkbuild.plan.boot_files import kernel_file
from lkbuild.plan.contents_kinds import ImageContents, KernelRelease, MachineContents
from lkbuild.plan.images import PlannedImage
from lkbuild.plan.kinds import FileEntry, Files
from lkbuild.plan.machine import MachinePlan
from lkbuild.plan.step import Input, Step


def places(machine: MachinePlan) -> Iterator[tuple[PlannedImage, str]]:
    """Every image of the machine at every place it has, in the order they are laid down."""
    spec, images = machine.spec, machine.materials.images
    if spec.kernel is not None:
        yield images[spec.kernel.image], "kernel"
    for number, name in enumerate(spec.init):
        yield images[name], f"init[{number}]"
    for volume in spec.volumes:
        if volume.image is not None and volume.format == "filesystem":
            yield images[volume.image], f"volumes/{volume.name}"
        elif volume.image is not None:
            yield from ((each, f"volumes/{volume.name}") for each in machine.materials.layouts[volume.name].images)
    for place, _, container in machine.containers():
        yield images[container.image], place


def image_contents(machine: MachinePlan, image: PlannedImage) -> str:
    """The step whose output `contents` says what is in an image."""
    names = machine.add_all((*image.steps, *image.attested))
    inputs = [Input(f"layer{n}", names[step], output) for n, (step, output) in enumerate(image.layers)]
    debs = [names[step.name] for step in image.steps if step.kind == "deb"]
    inputs += [Input(f"deb{n}", name, "deb") for n, name in enumerate(debs)]
    for step in image.attested:
        count = len(step.params.layers)
        inputs += [Input(f"sbom{n}", names[step.name], f"layer{n}") for n in range(count)]
    params = ImageContents(image.name.manifest, image.left)
    return machine.add(Step(f"contents:{image.name.name}", "image-contents", params, tuple(inputs)))


def used_images(
    images: Iterable[tuple[PlannedImage, str]], machine: MachinePlan
) -> tuple[tuple[Used, ...], tuple[Input, ...]]:
    """Images with all their places, and the inputs `contents<N>` that go with them."""
    found: dict[ImageTitle | str, tuple[PlannedImage, list[str]]] = {}
    for image, place in images:
        # NB: one image may be fetched by steps of two names, and two packages may have one title.
        key = image.name if image.name.manifest else image_contents(machine, image)
        found.setdefault(key, (image, []))[1].append(place)
    used = tuple(Used(image.name, tuple(dict.fromkeys(at))) for image, at in found.values())
    steps = (image_contents(machine, image) for image, _ in found.values())
    return used, tuple(Input(f"contents{n}", step, "contents") for n, step in enumerate(steps))


def document(machine: MachinePlan, kind: str) -> str:
    """The step whose output `document` says what is in the machine; `kind` is `spdx` or `cyclonedx`."""
    used, inputs = used_images(places(machine), machine)
    kernel = kernel_file(machine)
    if kernel is not None:
        architecture = machine.style.architecture
        release = Step(
            f"release:{machine.spec.name}", "kernel-release", KernelRelease(architecture), (Input("kernel", *kernel),)
        )
        inputs += (Input("kernel", machine.add(release), "release"),)
    params = MachineContents(machine.spec.name, machine.style.architecture, machine.style.supplier, used)
    return machine.add(Step(f"{kind}:{machine.spec.name}", kind, params, inputs))


def segment(machine: MachinePlan, archive: str) -> Step | None:
    """The step that lays the document down in the machine; None where it is not wanted, or `files` puts another there.

    It is a segment of its own: a service that changes costs the document, not a segment with something else in it.
    """
    path = machine.style.sbom_path
    if machine.style.sbom == "no" or any(file.path == path for file in machine.spec.files):
        return None
    how, codec = machine.segment(archive)
    source = Input("file0", document(machine, "spdx"), "document")
    params = Files((FileEntry(path, "file", mode=0o644),), how)
    return Step(f"sbom:{machine.spec.name}", "files", params, (source, *codec))
