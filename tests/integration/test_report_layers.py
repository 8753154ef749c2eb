"""The map of an image, held against what other programs find in the image and in its layers."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lkbuild.engine.history_files import HistoryFiles
from lkbuild.report.build_report import BuildReport, build_report, find_build
from lkbuild.report.image_map import MapNode
from tests.integration.test_rebuild import Project, make_project
from tests.integration.test_report import made
from tests.support.layouts import Layout, layer

SPEC = """\
init: [t/init:1, t/more:1, t/none:1]
services:
  - {name: app, image: "t/app:1"}
  - {name: again, image: "t/app:1"}
files:
  - {path: containers/services/app/lower/usr/bin/over, contents: "by files", mode: "0755"}
"""


def linked(name: str, target: str) -> bytes:
    """A layer with one hard link into a lower one."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.LNKTYPE, target
        tar.addfile(info)
    return gzip.compress(raw.getvalue(), mtime=0)


def app(*more: tuple[str, bytes]) -> list[bytes]:
    lowest = [
        ("usr/bin/a", 1000),
        ("usr/bin/over", 60),
        ("etc/conf", 300),
        ("usr/share/doc/x", 500),
        ("opt/old/f", 700),
    ]
    twice = [("usr/lib/twice", b"1" * 40), ("usr/lib/twice", b"2" * 45)]
    return [
        layer([(path, b"0" * size) for path, size in lowest]),
        layer([("etc/conf", b"1" * 350), ("usr/share/.wh.doc", b""), ("opt/old/.wh..wh..opq", b""), *twice]),
        linked("usr/bin/b", "usr/bin/a"),
        layer([("etc/hosts", b"3" * 50), ("opt/old/g", b"3" * 20), *more]),
    ]


HISTORY = [
    {"created_by": "ADD rootfs.tar /"},
    {"created_by": "ENV A=1", "empty_layer": True},
    {"created_by": "RUN  rm -r\n /usr/share/doc"},
    {"created_by": "RUN ln"},
    {"created_by": "COPY <img src=x> /"},
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    layout, layers = Layout(tmp_path / "layout"), app()
    diff_ids = [f"sha256:{hashlib.sha256(gzip.decompress(one)).hexdigest()}" for one in layers]
    document: dict[str, object] = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/usr/bin/a"]}}
    document |= {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": HISTORY}
    layout.add_document("t/app:1", layers, document)
    layout.add("t/init:1", [layer([("sbin/init", b"i" * 400), ("etc/issue", b"i" * 30), ("boot/kernel", b"k" * 90)])])
    layout.add("t/more:1", [layer([("etc/issue", b"m" * 35)])])
    layout.add("t/none:1", [])
    (tmp_path / "machine.yml").write_text(SPEC)
    return Project(tmp_path, tmp_path / "cache", tmp_path / "out")


def reported(project: Project, **more: object) -> BuildReport:
    layout = {"images": (project.root / "layout",)} if (project.root / "layout").exists() else {}
    made(project, **layout, **more)
    files = [(str(project.spec),)]
    return build_report(find_build(HistoryFiles(project.cache), files, None, print), files, project.cache, print)


def mapped(project: Project, **more: object) -> MapNode:
    (machine,) = reported(project, **more).machines
    assert machine.map is not None, machine.note
    return machine.map


def below(node: MapNode, *names: str) -> MapNode:
    """A part by the beginnings of names."""
    for name in names:
        node = next(kid for kid in node.kids if f"{kid.name} ".startswith(f"{name} "))
    return node


def leaves(node: MapNode) -> Iterator[MapNode]:
    if not node.kids:
        yield node
    for kid in node.kids:
        yield from leaves(kid)


def unpacked_by_tar(path: Path, into: Path) -> dict[Path, int]:
    """The bytes of files, each inode's once, by their first path, as GNU tar unpacks them."""
    into.mkdir()
    subprocess.run(["tar", "-xf", path, "-C", into, "--no-same-owner", "--exclude=dev/*"], check=True)
    found = {
        (p.stat().st_dev, p.stat().st_ino): p for p in sorted(into.rglob("*")) if p.is_file() and not p.is_symlink()
    }
    return {path.relative_to(into): path.stat().st_size for path in found.values()}


def test_each_layer_has_what_is_left_of_it_and_what_is_hidden(project: Project) -> None:
    service = below(mapped(project), "services/app")
    layers = [below(service, f"layer {number}") for number in range(4)]
    assert [(node.unpacked, node.hidden) for node in layers] == [(1000, 1560), (395, 40), (0, 0), (20, 50)]
    assert below(layers[0], "usr", "bin", "a").hidden == 0, "its other name in layer 2 keeps it, too"
    why = {leaf.name: (leaf.hidden, leaf.about[0]) for node in layers for leaf in leaves(node) if leaf.hidden}
    assert why == {
        "over": (60, "replaced by a later part of the machine"),
        "etc/conf": (300, "replaced by layer 1"),
        "share/doc/x": (500, "removed by layer 1"),
        "opt/old/f": (700, "removed by layer 1"),
        "usr/lib/twice": (40, "named again in the same layer"),
        "etc/hosts": (50, "left out: machines have one of their own, or none"),
    }


def test_what_layers_carry_is_shared_out_between_what_is_there_and_what_is_hidden(project: Project) -> None:
    service = below(mapped(project), "services/app")
    for number, packed in enumerate(app()):
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            carried = sum(member.size for member in tar if member.isreg())
        node = below(service, f"layer {number}")
        assert node.unpacked + node.hidden == carried
        assert sum(leaf.unpacked for leaf in leaves(node)) == node.unpacked
        assert sum(leaf.hidden for leaf in leaves(node)) == node.hidden


def test_layers_are_called_by_their_digests_and_what_made_them(project: Project) -> None:
    found = mapped(project)
    service = below(found, "services/app")
    for number, packed in enumerate(app()):
        digest = hashlib.sha256(packed).hexdigest()
        node = below(service, f"layer {number} {digest[:12]}")
        made_by = " ".join(str([e for e in HISTORY if "empty_layer" not in e][number]["created_by"]).split())
        assert node.about[0] == made_by
        assert node.about[1].endswith(" packed, pull:docker.io/t/app:1")
        assert node.about[2] == f"sha256:{digest}"
    origin, digest = below(found, "init/0 init:1", "layer 0").about
    assert origin.endswith(" packed, pull:docker.io/t/init:1"), "of this image nobody says what made it"


def test_an_image_of_two_containers_is_counted_once(project: Project) -> None:
    found = mapped(project)
    assert below(found, "services/again").about == ("its image is counted with services/app",)
    assert below(found, "services/app", "bundle:services/app").about == ()


@pytest.mark.parametrize("which", ["layers", "conformance"])
def test_the_map_adds_up_to_what_tar_unpacks(project: Project, tmp_path: Path, which: str) -> None:
    if which == "conformance":
        project = make_project(tmp_path / "other")
    found = mapped(project, formats=("tar",))
    files = unpacked_by_tar(project.out / "machine.tar", tmp_path / "unpacked")
    assert found.unpacked == sum(files.values())
    assert found.unpacked == sum(leaf.unpacked for leaf in leaves(found))
    for group in (kid for kid in found.kids if kid.name.startswith(("services/", "onboot/"))):
        root = Path("containers", group.name)
        assert group.unpacked + sum(_by_files(found, root)) == sum(
            n for p, n in files.items() if p.is_relative_to(root)
        )


def _by_files(found: MapNode, root: Path) -> Iterator[int]:
    """What `files` put into a container's directory."""
    yield from (kid.unpacked for kid in below(found, "files").kids if Path(kid.name).is_relative_to(root))


def test_in_an_initrd_boot_is_hidden_and_a_later_init_replaces(project: Project) -> None:
    found = mapped(project)
    first, second = below(found, "init/0 init:1", "layer 0"), below(found, "init/1 more:1", "layer 0")
    assert (first.unpacked, first.hidden) == (400, 30 + 90)
    assert (second.unpacked, second.hidden) == (35, 0)
    total = (project.out / "machine-initrd.img").stat().st_size
    assert found.packed == sum(kid.packed for kid in found.kids)
    assert 0.8 * total < found.packed <= total


def test_an_image_without_layers_has_what_it_is_given(project: Project) -> None:
    (own,) = below(mapped(project), "init/2").kids
    assert (own.name, own.unpacked, own.files) == ("added by lkbuild", 160, 3)


def test_layers_that_are_gone_leave_a_map_by_segment(project: Project) -> None:
    before = mapped(project)
    digest = hashlib.sha256(app()[1]).hexdigest()
    (project.cache / "blobs" / "sha256" / digest[:2] / digest).unlink()
    files = [(str(project.spec),)]
    found = build_report(find_build(HistoryFiles(project.cache), files, None, print), files, project.cache, print)
    (machine,) = found.machines
    assert machine.map is not None
    assert machine.map.unpacked == before.unpacked
    assert below(machine.map, "services/app", "tree:services/app").about == (
        "not told by layer: its layers are no longer in the cache",
    )
