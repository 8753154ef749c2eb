"""An image as the plan sees it: its run configuration, the steps that bring its layers, and where they come out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lkbuild.errors import Origin
from lkbuild.oci.image import Descriptor, RunConfig
from lkbuild.packages import Deb, Package, TreeEntry, file_inputs
from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import Pull, PullLayer
from lkbuild.plan.step import Input, Step
from lkbuild.reference import Reference


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """`layers` are (step, output) pairs, the lowest layer first; `steps` make them, in order."""

    run: RunConfig
    steps: tuple[Step, ...]
    layers: tuple[tuple[str, str], ...]

    def inputs(self) -> tuple[Input, ...]:
        """The layers as inputs `layer0`, `layer1`, … of a step."""
        return tuple(Input(f"layer{n}", step, output) for n, (step, output) in enumerate(self.layers))


def pulled(reference: Reference, layers: Iterable[Descriptor], run: RunConfig) -> PlannedImage:
    """An image whose layers are fetched from where it was found."""
    wanted = tuple(PullLayer(layer.digest, layer.size) for layer in layers)
    step = Step(f"pull:{reference}", "pull", Pull(wanted, reference))
    return PlannedImage(run, (step,), tuple((step.name, f"layer{n}") for n in range(len(wanted))))


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
    return PlannedImage(package.run_config(architecture), tuple(steps), tuple(layers))
