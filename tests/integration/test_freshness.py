"""A build with nothing to do is one where nothing has changed, whoever changed it and whenever."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lkbuild.engine import building, stamp
from lkbuild.engine.arguments import Order
from lkbuild.engine.building import Wish
from lkbuild.engine.events import Finished, Listener, Said, Wrote
from lkbuild.engine.locking import write_locks
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import Prepared, prepare
from lkbuild.engine.report import Nothing, Report
from lkbuild.engine.running import Manners
from lkbuild.errors import LkbuildError, SpecError
from lkbuild.lock import MAX_BYTES, Lock, parse_lock
from lkbuild.oci.image import Descriptor, Platform
from lkbuild.reference import Reference
from lkbuild.sources import Document, Progress, Source, open_path, quiet
from lkbuild.store.verified import boot_id
from tests.support.building import offline
from tests.support.layouts import Layout, layer
from tests.support.servers import docker_daemon

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"


class Remote(Source):
    """Stands for every registry: a layout that is read anew each time; `meddle` is called before each answer."""

    def __init__(self, layout: Path) -> None:
        self.layout = layout
        self.meddle: Callable[[Reference], object] = lambda reference: None
        self.asked: list[str] = []

    def describe(self) -> str:
        return "a registry"

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        self.asked.append(str(reference))
        self.meddle(reference)
        return open_path(self.layout, self.layout).find(reference, platform)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        return open_path(self.layout, self.layout).read(reference, descriptor, limit)

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        open_path(self.layout, self.layout).fetch(reference, descriptor, into, progress)

    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        return ""


@dataclass
class World:
    """A directory with specs, a registry, a cache and outputs."""

    root: Path
    layout: Layout
    remote: Remote
    reports: list[Report] = field(default_factory=list)

    def spec(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def push(self, name: str, *contents: str) -> None:
        """Give a name to an image of one layer with these contents, in place of what had it."""
        self.layout.manifests = [m for m in self.layout.manifests if name not in str(m["annotations"])]
        self.layout.add(name, [layer([("etc/content", text.encode())]) for text in contents])

    def options(self, *specs: Path, **more: object) -> BuildOptions:
        given: dict[str, object] = {"images": (), "pull": "missing", "formats": ("tar",), **more}
        machines = tuple((spec,) for spec in specs)
        return offline(specs[0], self.root / "cache", self.root / "out", **{"machines": machines, **given})

    def build(self, *specs: Path, target: str = "", **more: object) -> bool:
        """Build; returns whether there was anything to do."""
        time.sleep(0.03)
        self.reports.clear()
        wish = Wish(Manners())
        order = Order(self.options(*specs, **more), target)

        def preparing(options: BuildOptions, listen: Listener, going_on: bool = False) -> Prepared:
            return prepare(options, listen, self.remote, going_on=going_on)

        code = building.build(order, wish, preparing, self.reports.append)
        assert code == 0, self.reports
        return not all(isinstance(report, Nothing) for report in self.reports)

    def lock(self, *specs: Path, renew: bool = False, **more: object) -> Lock | None:
        written = write_locks(self.options(*specs, **more), self.reports.append, self.remote, renew)
        return parse_lock(written[0].read_text(), written[0]) if written else None

    def dockerfile_results(self) -> set[bytes]:
        """The records of images that the daemon built."""
        files = (path for path in (self.root / "cache" / "results").rglob("*") if path.is_file())
        return {text for text in (path.read_bytes() for path in files) if b'"config":' in text}

    @property
    def ran(self) -> set[str]:
        return {r.step for r in self.reports if isinstance(r, Finished) and r.how == "ran"}

    @property
    def wrote(self) -> int:
        return sum(isinstance(r, Wrote) for r in self.reports)

    @property
    def said(self) -> list[str]:
        return [r.text for r in self.reports if isinstance(r, Said)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    layout = Layout(tmp_path / "registry")
    made = World(tmp_path, layout, Remote(layout.directory))
    made.push("conf/moving:1", "first")
    made.push("conf/still:1", "still")
    return made


SERVICE = "services:\n  - {name: a, image: 'conf/moving:1'}\n"
VOLUME = "volumes:\n  - {name: v, image: 'conf/moving:1', format: oci}\n"


@pytest.mark.parametrize("text", [SERVICE, VOLUME], ids=["a container", "a volume kept whole"])
def test_a_tag_means_what_it_meant_until_it_is_renewed(world: World, text: str) -> None:
    spec = world.spec("m.yml", text)
    assert world.build(spec)
    assert not world.build(spec), "the first build leaves a stamp"
    world.push("conf/moving:1", "second")
    assert not world.build(spec), "nobody asked the registry"
    world.spec("m.yml", text + "# touched\n")
    world.remote.asked.clear()
    assert world.build(spec)
    assert (world.ran, world.remote.asked) == (set(), []), "the store remembers"
    assert not world.build(spec)
    world.lock(spec, renew=True)
    assert world.build(spec), "the stamp sees the store's record"
    assert any(step.startswith(("tree", "layout")) for step in world.ran)
    assert not world.build(spec)


def test_two_architectures_in_one_directory(tmp_path: Path) -> None:
    """The files have the same names, and the last build's are there; what the one before left says nothing of them."""
    images = Path(__file__).parents[1] / "conformance" / "images"
    world = World(tmp_path, Layout(tmp_path / "registry"), Remote(images))
    spec = world.spec("m.yml", "services: [{name: a, image: 'conf/multi:1'}]\n")
    files: dict[str, set[bytes]] = {"amd64": set(), "arm64": set()}
    for arch in ("amd64", "arm64", "amd64", "arm64"):
        assert world.build(spec, arch=arch), "the other one's file is there"
        assert world.wrote == 1
        files[arch].add((tmp_path / "out" / "m.tar").read_bytes())
        assert not world.build(spec, arch=arch)
    assert [len(found) for found in files.values()] == [1, 1]
    assert files["amd64"] != files["arm64"]


@pytest.mark.parametrize("text", [SERVICE, VOLUME], ids=["a container", "a volume kept whole"])
def test_what_is_in_the_cache_is_found_offline_and_what_is_not_is_refused(world: World, text: str) -> None:
    spec = world.spec("m.yml", text)
    with pytest.raises(SpecError, match="not asked: this build is offline"):
        world.build(spec, pull="never")
    assert world.remote.asked == []
    world.build(spec)
    world.spec("m.yml", text + "files:\n  - {path: a, contents: b}\n")
    world.remote.asked.clear()
    assert world.build(spec, pull="never")
    assert world.remote.asked == []


def test_platforms_of_a_volume_are_remembered_apart(world: World) -> None:
    spec = world.spec("m.yml", VOLUME)
    world.build(spec)
    world.spec("m.yml", VOLUME.replace("oci}", "oci, platforms: [linux/amd64]}"))
    with pytest.raises(SpecError, match="not asked"):
        world.build(spec, pull="never")


def test_all_images_a_spec_names_are_asked_of_the_daemon(world: World) -> None:
    from lkbuild.engine.materials import references
    from lkbuild.spec.load import load

    spec = world.spec("m.yml", VOLUME + "services:\n  - {name: a, image: 'conf/still:1'}\n")
    assert {name.repository for name in references(load([spec]))} == {"conf/moving", "conf/still"}


def test_a_tag_renewed_by_another_build_meanwhile_leaves_no_stamp_that_holds(world: World) -> None:
    """Another process renews the tag when this build has read it, before this build is done."""
    spec, other = world.spec("m.yml", SERVICE), world.spec("other.yml", SERVICE)
    world.build(spec)
    world.spec("m.yml", SERVICE + "# touched\n")
    first = world.spec("first.yml", VOLUME.replace("moving", "still"))  # asked for when the tags have been read

    def meddle(_: Reference) -> None:
        world.remote.meddle = lambda _: None
        world.push("conf/moving:1", "second")
        world.lock(other, renew=True)
        time.sleep(0.03)

    world.remote.meddle = meddle
    world.build(first, spec)
    assert world.build(spec)
    assert any(step.startswith("tree") for step in world.ran)
    assert not world.build(spec)


def test_a_package_that_changes_between_two_machines_leaves_no_stamp_that_holds(world: World) -> None:
    """It is read once, for the first; what the second sees of it later is not what was read."""
    page = world.root / "web" / "root" / "page"
    page.parent.mkdir(parents=True)
    page.write_text("before")
    world.spec("web/build.yml", "image: web\n")
    text = "services:\n  - {name: w, image: '@pkg:./web'}\n"
    one, two = world.spec("one.yml", text + VOLUME), world.spec("two.yml", text)
    time.sleep(0.03)

    def meddle(reference: Reference) -> None:
        world.remote.meddle = lambda _: None
        page.write_text("AFTER!")
        time.sleep(0.03)

    world.remote.meddle = meddle
    world.build(one, two)
    for spec in (one, two):
        assert world.build(spec), f"{spec.stem} holds the page as it was"
        assert not world.build(spec)


@pytest.mark.parametrize("where", ["root", "the package"])
def test_a_package_behind_a_link_is_watched(world: World, where: str) -> None:
    shared = world.root / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / "sub" / "page").write_text("one")
    package = world.root / "real"
    world.spec("real/build.yml", "image: web\n")
    (package / "root").symlink_to(shared)
    name = "real"
    if where == "the package":
        (world.root / "link").symlink_to(package)
        name = "link"
    spec = world.spec("m.yml", f"services:\n  - {{name: w, image: '@pkg:./{name}'}}\n")
    world.build(spec)
    assert not world.build(spec)
    (shared / "sub" / "page").write_text("two")
    assert world.build(spec)
    assert any(step.startswith("package:") for step in world.ran)
    other = world.root / "other"
    shutil.copytree(shared, other)
    (other / "sub" / "page").write_text("six")
    (package / "root").unlink()
    (package / "root").symlink_to(other)
    assert world.build(spec)


def test_links_in_circles_are_no_matter(world: World) -> None:
    root = world.root / "web" / "root"
    root.mkdir(parents=True)
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    world.spec("web/build.yml", "image: web\n")
    spec = world.spec("m.yml", "services:\n  - {name: w, image: '@pkg:./web'}\n")
    assert world.build(spec)
    assert not world.build(spec)


def test_a_package_kept_whole(world: World) -> None:
    page = world.root / "web" / "root" / "page"
    page.parent.mkdir(parents=True)
    page.write_text("one")
    world.spec("web/build.yml", "image: web\n")
    spec = world.spec("m.yml", "volumes:\n  - {name: v, image: '@pkg:./web', format: oci}\n")
    world.build(spec)
    assert not world.build(spec)
    page.write_text("two")
    assert world.build(spec)
    assert "package:web" in world.ran
    world.spec("m.yml", "volumes:\n  - {name: v, image: '@pkg:./web', format: oci, platforms: [linux/s390x]}\n")
    with pytest.raises(SpecError, match=r"m\.yml:2:.*is built for linux/amd64, not for linux/s390x"):
        world.build(spec)


def test_two_specs_of_one_name_are_refused_also_when_one_is_fresh(world: World) -> None:
    one, two = world.spec("a/x.yml", SERVICE), world.spec("b/x.yml", SERVICE + "# another\n")
    world.build(one)
    assert not world.build(one)
    with pytest.raises(LkbuildError, match="would both write") as caught:
        world.build(one, two)
    assert "hint: give them other names" in str(caught.value)
    world.spec("c/y.yml", SERVICE)
    assert world.build(one, world.root / "c/y.yml"), "another path is another matter"


def test_the_home_directory_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (world.root / name).mkdir()
        (world.root / name / "key").write_text(name)
    spec = world.spec("m.yml", "files:\n  - {path: key, source: '~/key'}\n")
    monkeypatch.setenv("HOME", str(world.root / "first"))
    world.build(spec)
    assert not world.build(spec)
    monkeypatch.setenv("HOME", str(world.root / "second"))
    assert world.build(spec)
    assert world.wrote


def test_a_source_that_vanishes_while_it_is_built_is_told(world: World) -> None:
    source = world.spec("key", "key")
    spec = world.spec("m.yml", SERVICE + "files:\n  - {path: key, source: key}\n")
    world.remote.meddle = lambda _: source.unlink()
    with pytest.raises(SpecError, match=r"m\.yml:4:.*cannot read source .*: No such file"):
        world.build(spec)


def test_an_optional_source_that_vanishes_is_left_out(world: World) -> None:
    source = world.spec("key", "key")
    spec = world.spec("m.yml", SERVICE + "files:\n  - {path: key, source: key, optional: true}\n")
    world.remote.meddle = lambda _: source.unlink()
    assert world.build(spec)


def test_after_another_boot_outputs_are_written_anew(world: World) -> None:
    """A power failure may leave an output with its size and times, and without its bytes."""
    spec = world.spec("m.yml", SERVICE)
    world.build(spec)
    assert boot_id() in stamp.Request(world.options(spec)).text
    records = list((world.root / "cache" / "written").iterdir())
    assert records
    for record in records:
        assert boot_id() in record.read_text()
        record.write_text(record.read_text().replace(boot_id(), OTHER_BOOT))
    world.spec("m.yml", SERVICE + "# touched\n")
    assert world.build(spec)
    assert (world.ran, world.wrote) == (set(), 1)


def test_another_file_is_made_though_the_outputs_are_current(world: World) -> None:
    """The intermediates were thrown away and the output is there, but -o wants it elsewhere."""
    spec = world.spec("m.yml", SERVICE)
    world.build(spec)
    for path in (world.root / "cache" / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    target = world.root / "elsewhere.tar"
    assert world.build(spec, target=str(target))
    digests = {hashlib.sha256(p.read_bytes()).digest() for p in (target, world.root / "out" / "m.tar")}
    assert len(digests) == 1


# -- lock files --------------------------------------------------------------------------------------------------------


def _entry(architecture: str) -> dict[str, object]:
    digest = "sha256:" + hashlib.sha256(architecture.encode()).hexdigest()
    uri = f"http://deb.invalid/tini_{architecture}.deb"
    return {"name": "tini", "version": "1", "architecture": architecture, "digest": digest, "size": 1, "uri": uri}


def test_a_lock_keeps_what_others_put_there(world: World) -> None:
    spec = world.spec("m.yml", SERVICE)
    foreign = "sha256:" + "1" * 64
    lock = {"lkbuild-lock": 1, "images": {"docker.io/conf/foreign:1": foreign}, "debian": {foreign: [_entry("arm64")]}}
    world.spec("m.lock", json.dumps(lock))
    for renew in (False, True):
        world.push("conf/moving:1", f"content {renew}")
        written = world.lock(spec, renew=renew)
        assert written is not None
        assert dict(written.images).keys() == {"docker.io/conf/foreign:1", "docker.io/conf/moving:1"}
        assert [str(key) for key, _ in written.debian] == [foreign]


def test_what_a_lock_holds_stays_and_update_renews_it(world: World) -> None:
    spec = world.spec("m.yml", SERVICE + VOLUME.replace("moving", "still"))
    first = world.lock(spec)
    world.push("conf/moving:1", "second")
    world.push("conf/still:1", "second")
    assert world.lock(spec) == first
    second = world.lock(spec, renew=True)
    assert first is not None and second is not None
    assert all(dict(first.images)[name] != digest for name, digest in second.images)
    world.build(spec)
    assert world.said == []


def test_images_that_a_lock_does_not_hold_are_named(world: World) -> None:
    spec = world.spec("m.yml", SERVICE)
    world.lock(spec)
    world.spec("m.yml", SERVICE + "onboot:\n  - {name: z, image: 'conf/still:1'}\n" + VOLUME.replace("moving", "more"))
    world.push("conf/more:1", "more")
    world.build(spec)
    assert any("m.lock does not hold docker.io/conf/more:1, docker.io/conf/still:1" in text for text in world.said)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe", r"m\.lock: not UTF-8"),
        (b" " * (MAX_BYTES + 1), "larger than 16 MiB"),
        (b"{", "not JSON"),
        (b'{"lkbuild-lock": 1, "images": [], "debian": {}}', "not a lock file"),
        (b"{}", "not a lock file: the key 'lkbuild-lock' is missing\n  hint: delete it, then"),
        (b"[1]", r"not a lock file: a map was wanted, found '\[1\]'"),
    ],
    ids=["no text", "too large", "no JSON", "another shape", "nothing in it", "a list"],
)
def test_a_lock_that_is_none(world: World, data: bytes, message: str) -> None:
    spec = world.spec("m.yml", SERVICE)
    (world.root / "m.lock").write_bytes(data)
    for work in (lambda: world.build(spec), lambda: world.lock(spec)):
        with pytest.raises(SpecError, match=message):
            work()


def test_a_lock_that_is_a_directory(world: World) -> None:
    spec = world.spec("m.yml", SERVICE)
    (world.root / "m.lock").mkdir()
    for work in (lambda: world.build(spec), lambda: world.lock(spec)):
        with pytest.raises(SpecError, match="cannot be read: Is a directory"):
            work()


# -- Dockerfiles -------------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_dockerfiles_image_is_built_anew_when_all_is_asked_anew(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world.spec("p/build.yml", "image: p\n")
    world.spec("p/Dockerfile", 'FROM scratch\nCOPY page /page\nCMD ["/page"]\n')
    world.spec("p/page", "page")
    spec = world.spec("m.yml", "services:\n  - {name: w, image: '@pkg:./p'}\n")
    with docker_daemon(tmp_path_factory.mktemp("d")) as host:  # its sockets' names must be short
        assert world.build(spec, docker_host=host)
        assert "dockerfile:p" in world.ran
        assert not world.build(spec, docker_host=host)
        assert world.build(spec, docker_host=host, pull="always")
        assert "dockerfile:p" in world.ran
        world.spec("m.yml", "services:\n  - {name: w, image: '@pkg:./p'}\n# touched\n")
        assert world.build(spec, docker_host=host)
        assert world.ran == set()
        assert not world.build(spec, docker_host=host)
        world.reports.clear()
        before = world.dockerfile_results()
        world.lock(spec, renew=True, docker_host=host)
        assert "dockerfile:p" in world.ran
        assert world.dockerfile_results() != before, "the daemon built it again: its config has another time"
        assert world.build(spec, docker_host=host), "the stamp sees that"
    with pytest.raises(LkbuildError):
        world.build(spec, docker_host=f"unix://{world.root}/none.sock", pull="always")
    world.build(spec, docker_host=f"unix://{world.root}/none.sock")
    assert world.ran == set(), "what was there is there still"


def test_images_are_watched_before_they_are_read(world: World) -> None:
    """An archive that is replaced when it has been opened is another one for the next build."""
    spec = world.spec("m.yml", SERVICE + "onboot:\n  - {name: z, image: 'conf/still:1'}\n")
    local = world.root / "local"
    mine = Layout(local)
    mine.add("conf/moving:1", [layer([("etc/content", b"local")])])
    time.sleep(0.03)

    def meddle(_: Reference) -> None:
        world.remote.meddle = lambda _: None
        mine.manifests.clear()
        mine.add("conf/moving:1", [layer([("etc/content", b"local, another")])])
        time.sleep(0.03)

    world.remote.meddle = meddle
    world.build(spec, images=(local,))
    assert world.build(spec, images=(local,))
    assert not world.build(spec, images=(local,))
