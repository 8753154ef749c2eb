"""An image as the plan sees it: its run configuration, the steps that bring its layers, and where they come out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lkbuild.contents.attestation import MAX_BYTES
from lkbuild.contents.bill import ImageTitle
from lkbuild.digest import Digest, canonical, identity
from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.oci.image import Descriptor, RunConfig
from lkbuild.packages import Deb, Package, TreeEntry, file_inputs
from lkbuild.packages.build_file import BuildFile
from lkbuild.packages.debian import DebianRequest
from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import Pull, PullLayer, Verify
from lkbuild.plan.step import Input, Step
from lkbuild.reference import Reference
from lkbuild.spec.metadata import document_of

_UNNAMED = ImageTitle("")


@frozen
class PlannedImage:
    """`layers` are (step, output) pairs, the lowest layer first; `steps` make them, in order.

    `attested` are steps that bring what the image says of its own contents, `left` the sizes of what is too large for
    that; they belong to no layer.
    """

    run: RunConfig
    steps: tuple[Step, ...]
    layers: tuple[tuple[str, str], ...]
    name: ImageTitle = _UNNAMED
    attested: tuple[Step, ...] = ()
    left: tuple[int, ...] = ()

    def inputs(self) -> tuple[Input, ...]:
        """The layers as inputs `layer0`, `layer1`, … of a step.

        NB: an image without layers has a config that counts all the same: there the step waits for its verification.
        """
        if not self.layers:
            return tuple(map(waits_for, (step for step in self.steps if isinstance(step.params, Verify))))
        return tuple(Input(f"layer{n}", step, output) for n, (step, output) in enumerate(self.layers))


@frozen
class PackageFiles:
    """A package directory as it is recorded.

    `build` is what build.yml says, as canonical JSON; `root` is the directory below it of the tree, or the Dockerfile's
    context (empty: the whole); `entries` are what lies there.  `request` is the identity of what is asked of Debian,
    None where nothing is, `debs` what that gave.
    """

    name: str
    dockerfile: bool
    build: str
    root: str
    entries: tuple[TreeEntry, ...]
    request: Digest | None = None
    debs: tuple[Deb, ...] = ()


@frozen
class PlannedLayout:
    """An image kept whole: its index.json, and its blobs as inputs `blob<N>`, had from a step or known by digest.

    `index` is empty where a step makes the manifest: the input `manifest`, one of the blobs, is what it is to list.
    `images` are those it holds.
    """

    index: str
    steps: tuple[Step, ...]
    blobs: tuple[Input, ...]
    images: tuple[PlannedImage, ...] = ()


def package_files(
    package: Package, entries: tuple[TreeEntry, ...], request: DebianRequest | None, debs: Iterable[Deb]
) -> PackageFiles:
    """What is recorded of a package whose tree has these entries."""
    node = package.document.node
    build = canonical({} if node is None else document_of(BuildFile, node)).decode("utf-8", "surrogateescape")
    root = "" if package.root in (None, package.directory) else str(package.root.relative_to(package.directory))
    asked = None if request is None else identity(request)
    return PackageFiles(package.name, package.kind == "dockerfile", build, root, entries, asked, tuple(debs))


def pulled(
    name: ImageTitle, reference: Reference, layers: Iterable[Descriptor], sboms: Iterable[Descriptor], run: RunConfig
) -> PlannedImage:
    """An image whose layers, and the SBOMs attached to it, are fetched from where it was found."""
    wanted = tuple(PullLayer(layer.digest, layer.size) for layer in layers)
    step = Step(f"pull:{reference}", "pull", Pull(wanted, reference))
    sboms = tuple(sboms)
    brought = tuple(PullLayer(each.digest, each.size) for each in sboms if each.size <= MAX_BYTES)
    attested = (Step(f"attestation:{reference}", "pull", Pull(brought, reference)),) if brought else ()
    left = tuple(each.size for each in sboms if each.size > MAX_BYTES)
    outputs = tuple((step.name, f"layer{n}") for n in range(len(wanted)))
    return PlannedImage(run, (step,), outputs, name, attested, left)


def told(planned: PlannedImage, history: tuple[str, ...]) -> PlannedImage:
    """The image, of which `history` says what made each layer."""
    pull = planned.steps[-1]
    step = replace(pull, params=replace(pull.params, history=history))
    return replace(planned, steps=(*planned.steps[:-1], step))


def verified(params: Verify, root: Input | None, origin: Origin | None) -> Step:
    """The step that verifies an image's signature; `root` is sigstore's trusted root, for keyless ones."""
    return Step(f"verify:{params.reference}", "verify", params, (root,) if root else (), origin)


def waits_for(gate: Step) -> Input:
    """What makes a step wait for a verification."""
    return Input("verified", gate.name, "record")


def behind(gate: Step, planned: PlannedImage) -> PlannedImage:
    """The same image, of which nothing is fetched before `gate`, the step that verifies its signature, holds."""

    def waiting(step: Step) -> Step:
        return replace(step, inputs=(*step.inputs, waits_for(gate)))

    steps = (gate, *map(waiting, planned.steps))
    return replace(planned, steps=steps, attested=tuple(map(waiting, planned.attested)))


def packaged(
    package: Package, architecture: str, debs: Iterable[Deb], entries: tuple[TreeEntry, ...], origin: Origin | None
) -> PlannedImage:
    """The image of a package made from Debian packages and a tree of files."""
    steps: list[Step] = []
    layers: list[tuple[str, str]] = []
    below = package.debian_params(entries)
    if below is not None:
        fetched = [Step(f"deb:{deb.name}", "deb", DebFile(deb.digest, deb.size, deb.uri), (), origin) for deb in debs]
        inputs = tuple(Input(f"deb{n}", step.name, "deb") for n, step in enumerate(fetched))
        kind = "kernel-layer" if package.kind == "kernel" else "debian-layer"
        steps += [*fetched, Step(f"debian:{package.name}", kind, below, inputs, origin)]
        layers.append((steps[-1].name, "layer"))
    above = package.package_params(entries)
    if above is not None:
        files = enumerate(file_inputs(above, entries))
        inputs = tuple(Input(f"file{n}", blob=file.digest, size=file.size) for n, file in files)
        if above.concatenate and layers:
            inputs += (Input("debian", *layers[0]),)
        steps.append(Step(f"package:{package.name}", "package-layer", above, inputs, origin))
        layers.append((steps[-1].name, "layer"))
    name = ImageTitle(package.name, architecture=architecture, publisher=package.build.org or "")
    return PlannedImage(package.run_config(architecture), tuple(steps), tuple(layers), name)


def packaged_layout(
    planned: PlannedImage, package: Package, architecture: str, origin: Origin | None = None
) -> PlannedLayout:
    """The layout of `planned`, the image of `package` for `architecture` (`plan.images.packaged`, or a Dockerfile's).

    A step `image:PACKAGE` writes manifest and config; of a Dockerfile's image the step that builds it has them already.
    """
    built = planned.steps[-1] if planned.steps and planned.steps[-1].kind == "dockerfile" else None
    documents = built or Step(
        f"image:{package.name}", "image-documents", package.documents_params(architecture), planned.inputs(), origin
    )
    made = ((documents.name, "manifest"), (documents.name, "config"), *dict.fromkeys(planned.layers))
    blobs = tuple(Input(f"blob{n}", step, output) for n, (step, output) in enumerate(made))
    steps = planned.steps if built else (*planned.steps, documents)
    return PlannedLayout("", steps, (*blobs, Input("manifest", documents.name, "manifest")), (planned,))
