"""From a spec to steps: what is called by one name is one thing, in one machine as among several."""

from __future__ import annotations

from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.oci.image import RunConfig
from lkbuild.packages import read_package
from lkbuild.packages.params import DebFile, DebianLayer, LayerEntry, PackageLayer
from lkbuild.plan.graph import Graph, StepSet, merge
from lkbuild.plan.images import PlannedImage, packaged, packaged_layout
from lkbuild.plan.kinds import Pull, PullLayer, Segment, Text
from lkbuild.plan.materials import Materials, Style
from lkbuild.plan.outputs import plan
from lkbuild.plan.step import Input, Step
from lkbuild.reference import Reference
from lkbuild.spec.load import load
from lkbuild.spec.model import ImageName, PackageDir, Spec

BOTH = ("kernel+initrd", "tar")


def pulled(name: str) -> PlannedImage:
    step = Step(f"pull:{name}", "pull", Pull((PullLayer(Digest.of(name.encode()), 1),), Reference.parse(name)))
    return PlannedImage(RunConfig(cmd=("/bin/true",)), (step,), ((step.name, "layer0"),))


def machine(directory: Path, text: str, images: dict[str, PlannedImage] | None = None) -> tuple[Spec, Materials]:
    """The spec, and what its images are: those of packages by the package's directory, others pulled."""
    path = directory / "m.yml"
    path.write_text(text)
    spec = load([path])
    found: dict[ImageName, PlannedImage] = {}
    volumes = [volume.image for volume in spec.volumes if volume.image and volume.format == "filesystem"]
    kernel = [spec.kernel.image] if spec.kernel else []
    for name in (*kernel, *spec.init, *volumes, *(c.image for c in (*spec.onboot, *spec.services))):
        directory_name = Path(name.path).name if isinstance(name, PackageDir) else ""
        found[name] = (images or {})[directory_name] if directory_name else pulled(str(name))
    return spec, Materials(found)


def planned(directory: Path, text: str, formats: tuple[str, ...], **images: PlannedImage) -> Graph:
    spec, materials = machine(directory, text, images)
    return plan(spec, materials, Style(), formats, Path("/out"))


def whole(graph: Graph) -> None:
    """Names are unique, and each step comes after those it needs."""
    seen: set[str] = set()
    for step in graph.steps:
        assert step.name not in seen
        assert seen.issuperset(step.needs), f"{step.name} comes before what it needs"
        seen.add(step.name)
    for output in graph.outputs:
        assert seen.issuperset(output.needs)


def package(directory: Path, name: str, image: str) -> None:
    (directory / name / "root").mkdir(parents=True)
    (directory / name / "build.yml").write_text(f"image: {image}\n")


def layer_of(graph: Graph, tree: str) -> Step:
    """The step that makes the first layer of a tree."""
    return graph.step(graph.step(tree).inputs[0].step or "")


TWO_PACKAGES = 'services:\n  - {name: a, image: "@pkg:./one"}\n  - {name: b, image: "@pkg:./two"}\n'


def own_package(text: str) -> PlannedImage:
    """An image called `web` of one file."""
    params = PackageLayer((LayerEntry("usr/share/web", "file", contents=text),), base=True)
    step = Step("package:web", "package-layer", params)
    return PlannedImage(RunConfig(cmd=("/web",)), (step,), ((step.name, "layer"),))


def debian_package(name: str, version: str) -> PlannedImage:
    """An image of libc6 alone."""
    deb = Step("deb:libc6", "deb", DebFile(Digest.of(version.encode()), 5, f"http://debian.test/{version}.deb"))
    layer = Step(f"debian:{name}", "debian-layer", DebianLayer(), (Input("deb0", deb.name, "deb"),))
    return PlannedImage(RunConfig(cmd=("/x",)), (deb, layer), ((layer.name, "layer"),))


def test_two_packages_of_one_name_are_two_images(tmp_path: Path) -> None:
    package(tmp_path, "one", "web")
    package(tmp_path, "two", "web")
    graph = planned(tmp_path, TWO_PACKAGES, ("tar",), one=own_package("first"), two=own_package("second"))
    whole(graph)
    made = {tree: layer_of(graph, tree) for tree in ("tree.tar:services/a", "tree.tar:services/b")}
    assert [step.name for step in made.values()] == ["package:web", "package:web@2"]
    assert [step.params.entries[0].contents for step in made.values()] == ["first", "second"]


def test_two_versions_of_one_debian_package_are_both_there(tmp_path: Path) -> None:
    package(tmp_path, "one", "one")
    package(tmp_path, "two", "two")
    images = {"one": debian_package("one", "u9"), "two": debian_package("two", "u10")}
    graph = planned(tmp_path, TWO_PACKAGES, ("tar",), **images)
    whole(graph)
    layers = [layer_of(graph, tree) for tree in ("tree.tar:services/a", "tree.tar:services/b")]
    debs = [graph.step(layer.inputs[0].step or "") for layer in layers]
    assert [step.name for step in debs] == ["deb:libc6", "deb:libc6@2"]
    assert [step.params.digest for step in debs] == [Digest.of(b"u9"), Digest.of(b"u10")]


def test_one_package_named_twice_is_made_once(tmp_path: Path) -> None:
    package(tmp_path, "one", "web")
    package(tmp_path, "two", "web")
    graph = planned(tmp_path, TWO_PACKAGES, BOTH, one=own_package("same"), two=own_package("same"))
    whole(graph)
    assert [step.name for step in graph.steps if step.kind == "package-layer"] == ["package:web"]


@pytest.mark.parametrize("names", [("y", "y.tar"), ("y.tar", "y"), ("y", "y@2"), ("y.tar", "y.tar.tar")])
def test_no_service_takes_anothers_name(tmp_path: Path, names: tuple[str, str]) -> None:
    text = "services:\n" + "".join(f"  - {{name: '{name}', image: 'i/{n}:1'}}\n" for n, name in enumerate(names))
    graph = planned(tmp_path, text, BOTH)
    whole(graph)
    for name in names:
        for variant, archive in (("", "cpio"), (".tar", "tar")):
            tree, bundle = graph.step(f"tree{variant}:services/{name}"), graph.step(f"bundle{variant}:services/{name}")
            assert tree.params.prefix.startswith(f"containers/services/{name}/")
            assert bundle.params.directory == f"containers/services/{name}"
            assert (tree.params.segment.archive, bundle.params.segment.archive) == (archive, archive)


def test_names_are_what_people_guess(tmp_path: Path) -> None:
    text = """\
kernel: {image: "k/k:1", cmdline: quiet}
init: [i/init:1]
onboot: [{name: first, image: "i/a:1"}]
services: [{name: web, image: "i/web:1"}]
files: [{path: etc/motd, contents: hello}]
"""
    names = [step.name for step in planned(tmp_path, text, ("kernel+initrd",)).steps]
    assert not [name for name in names if "@" in name or ".tar:" in name]
    assert {
        "pull:docker.io/i/web:1", "kernel:docker.io/k/k:1", "modules:docker.io/k/k:1", "tree:init/0",
        "tree:onboot/000-first", "bundle:services/web", "files:m", "initrd:m", "text:m/cmdline",
    } <= set(names)  # fmt: skip


# -- sets of steps -----------------------------------------------------------------------------------------------------


def text(name: str, contents: str) -> Step:
    return Step(name, "text", Text(contents))


def test_machines_share_a_step_that_one_of_them_calls_second() -> None:
    first = Graph((text("deb:x", "u9"), text("deb:x@2", "u10")), ())
    assert merge([first, Graph((text("deb:x", "u10"),), ())]).steps == first.steps


def test_a_number_that_is_taken_is_passed_over() -> None:
    steps = StepSet()
    names = [steps.add(text(name, str(n))) for n, name in enumerate(("a", "a@2", "a", "a@2"))]
    assert names == ["a", "a@2", "a@3", "a@4"]
    assert [step.name for step in steps.all] == names


def test_what_reads_a_renamed_step_reads_it_under_its_new_name() -> None:
    def pair(contents: str) -> tuple[Step, Step]:
        return text("a", contents), Step("b", "text", Text(), (Input("file", "a", "text"),))

    steps = StepSet()
    assert steps.add_all(pair("1")) == {"a": "a", "b": "b"}
    assert steps.add_all(pair("2")) == {"a": "a@2", "b": "b@2"}
    assert steps.all[3].needs == ("a@2",)


# -- what the initrd is compressed with --------------------------------------------------------------------------------

KERNEL = 'kernel: {image: "k/k:1"}\nservices: [{name: web, image: "i/web:1"}]\n'


@pytest.mark.parametrize(
    ("more", "compression", "codec", "asks"),
    [
        ("", "auto", None, True),  # the step `kernel` finds out
        ("files: [{path: boot/kernel, contents: x}]\n", "auto", "gzip", False),  # nobody knows what that one reads
        ("files: [{path: /boot/kernel, contents: x}]\n", "auto", "gzip", False),
        ("files: [{path: boot/kernel, source: none, optional: true}]\n", "auto", None, True),  # not there
        ("files: [{path: boot/other, contents: x}]\n", "auto", None, True),
        ("files: [{path: boot/kernel, contents: x}]\n", "zstd", "zstd", False),  # who says so knows better
    ],
)
def test_compression(tmp_path: Path, more: str, compression: str, codec: str | None, asks: bool) -> None:
    spec, materials = machine(tmp_path, KERNEL + more)
    graph = plan(spec, materials, Style(compression), ("kernel+initrd",), Path("/out"))
    for name in ("tree:services/web", "bundle:services/web", "modules:docker.io/k/k:1"):
        step = graph.step(name)
        assert step.params.segment == Segment("cpio", codec)  # type: ignore[arg-type]
        assert ("codec" in {i.role for i in step.inputs}) is asks


# -- packages kept whole -----------------------------------------------------------------------------------------------


def test_a_package_kept_whole(tmp_path: Path) -> None:
    package(tmp_path, "one", "web")
    read = read_package(tmp_path / "one")
    image = packaged(read, "amd64", (), (), None)
    layout = packaged_layout(image, read, "amd64")
    spec, _ = machine(tmp_path, 'volumes: [{name: v, image: "@pkg:./one", format: oci}]\n')
    graph = plan(spec, Materials({}, {"v": layout}), Style(), BOTH, Path("/out"))
    whole(graph)
    step = graph.step("layout:volumes/v")
    assert step.params.index == ""
    assert [(i.role, i.step, i.output) for i in step.inputs] == [
        ("blob0", "image:web", "manifest"),
        ("blob1", "image:web", "config"),
        ("blob2", "package:web", "layer"),
        ("manifest", "image:web", "manifest"),
    ]
    assert graph.step("image:web").kind == "image-documents"


def test_a_dockerfiles_image_kept_whole_has_its_documents() -> None:
    step = Step("dockerfile:d", "dockerfile", None)
    image = PlannedImage(RunConfig(), (step,), ((step.name, "layer0"), (step.name, "layer1")))
    layout = packaged_layout(image, None, "amd64")  # type: ignore[arg-type]
    assert layout.steps == (step,)
    assert {i.step for i in layout.blobs} == {"dockerfile:d"}
    assert [i.output for i in layout.blobs] == ["manifest", "config", "layer0", "layer1", "manifest"]
