"""Images kept whole, as volumes of format oci hold them: which they are, and the plan of their layouts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lkbuild.contents.bill import ImageTitle
from lkbuild.digest import Digest
from lkbuild.errors import Origin
from lkbuild.oci.image import Descriptor, Platform, RunConfig
from lkbuild.plan.images import PlannedImage, PlannedLayout, behind, pulled, waits_for
from lkbuild.plan.step import Input, Step
from lkbuild.sources import Image, Images
from lkbuild.spec.model import ImageName, Spec, Volume
from lkbuild.store import Store


def whole_images(spec: Spec) -> Iterator[tuple[Volume, ImageName, Origin]]:
    """The volumes that keep an image whole, the image, and the place that names it."""
    for number, volume in enumerate(spec.volumes):
        if volume.format == "oci" and volume.image is not None:
            yield volume, volume.image, spec.origin("volumes", number, "image")


def platforms(volume: Volume) -> tuple[Platform, ...]:
    """The platforms a volume keeps; none stands for all."""
    return tuple(map(Platform.parse, volume.platforms or ()))


def planned_layout(found: Images, chosen: bool, store: Store, about: tuple[Origin, Step | None]) -> PlannedLayout:
    """The layout of images from a registry or a local source; `chosen`: of some platforms, so their index is left out.

    Manifests and configs are put into the store, layers are steps.  `about`: the place that names the image, and the
    step that verifies it, where it must be.
    """
    origin, gate = about
    blobs, steps = dict[Digest, Input](), [gate] if gate else list[Step]()
    documents = () if chosen else found.documents
    for raw in [d.raw for d in documents] + [raw for i in found.images for raw in (i.manifest, i.config)]:
        blob = store.add(raw)
        blobs.setdefault(blob.digest, Input("", blob=blob.digest, size=blob.size))
    images = list[PlannedImage]()
    for image in found.images:
        planned = pulled(image_name(image), found.reference, image.layers, image.sboms, RunConfig())
        planned = planned if gate is None else behind(gate, planned)
        step = replace(planned.steps[-1], name=f"pull:{found.reference}/{image.digest.short}", origin=origin)
        steps.append(step)
        outputs = tuple((step.name, f"layer{n}") for n in range(len(image.layers)))
        if not image.platform.unknown:
            images.append(replace(planned, steps=(*planned.steps[:-1], step), layers=outputs))
        for output, layer in zip(outputs, image.layers, strict=True):
            blobs.setdefault(layer.digest, Input("", *output, size=layer.size))
    heads = [image.descriptor for image in found.images] if chosen else [found.root.descriptor]
    inputs = tuple(
        Input(f"blob{n}", i.step, i.output, i.blob, i.size) for n, i in enumerate(dict(sorted(blobs.items())).values())
    )
    if gate is not None and not any(i.step for i in inputs):
        inputs += (waits_for(gate),)  # of images without layers nothing is fetched that would wait
    return PlannedLayout(layout_index(heads, str(found.reference)), tuple(steps), inputs, tuple(images))


def image_name(image: Image) -> ImageTitle:
    """What an image that was found is called: the same whether its digest was asked for, by a lock say, or found."""
    reference = replace(image.reference, digest=None) if image.reference.tag else image.reference
    publisher = reference.name.rpartition("/")[0]
    architecture = image.platform.architecture
    return ImageTitle(reference.name, str(reference), architecture, image.digest, image.index, publisher)


def layout_index(heads: Iterable[Descriptor], name: str) -> str:
    """The index.json of a layout that holds one image (image-spec image-layout.md)."""
    manifests = [
        {
            "mediaType": head.media_type,
            "digest": str(head.digest),
            "size": head.size,
            "annotations": {"org.opencontainers.image.ref.name": name},
        }
        for head in heads
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests})
