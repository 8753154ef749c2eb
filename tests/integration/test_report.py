"""Reports of whole builds, budgets, and caches carried to other machines."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from lkbuild.engine.arguments import Order
from lkbuild.engine.building import Wish, build
from lkbuild.engine.cache_export import export
from lkbuild.engine.cache_import import Imported, import_cache
from lkbuild.engine.cache_views import holding, keys_of
from lkbuild.engine.current import current_machines
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.running import Manners
from lkbuild.errors import LkbuildError, SpecError, StoreError, UsageError
from lkbuild.report.build_report import build_report, find_build
from lkbuild.store import Store
from lkbuild.store.collect import Bounds, collect
from tests.integration.test_rebuild import OUTPUTS, Project, make_project
from tests.integration.test_why import preparing
from tests.support.building import offline


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def made(project: Project, **more: object) -> list[object]:
    told: list[object] = []
    order = Order(offline(project.spec, project.cache, project.out, **more))
    assert build(order, Wish(Manners()), preparing, told.append) == 0
    return told


# -- reports -----------------------------------------------------------------------------------------------------------


def test_a_report_of_a_build_has_its_steps_and_its_image(project: Project) -> None:
    made(project)
    files = [(str(project.spec),)]
    found = build_report(find_build(HistoryFiles(project.cache), files, None, print), files, project.cache, print)
    (machine,) = found.machines
    assert machine.map is not None, machine.note
    names = {kid.name for kid in machine.map.kids}
    assert {"services/web", "services/other", "onboot/000-first", "files", "kernel"} <= names
    assert any(name.startswith("init/0 ") for name in names), "init images are called what their image is"
    size = (project.out / "machine-initrd.img").stat().st_size
    assert 0.8 * size < machine.map.packed <= size
    assert {Path(path).name for path, _ in machine.outputs} == OUTPUTS
    assert found.critical.steps[-1] == "initrd:machine"
    web = next(kid for kid in machine.map.kids if kid.name == "services/web")
    assert any(kid.name.startswith("layer 0 ") and "package:web" in kid.about[0] for kid in web.kids)
    project.edit("machine.yml", "contents: hello", "contents: changed")
    made(project)
    found = build_report(find_build(HistoryFiles(project.cache), files, None, print), files, project.cache, print)
    assert {run.name for run in found.record.steps} == {"files:machine", "initrd:machine"}
    assert {"tree:services/web", "package:web"} <= {each.name for each in found.cached}


# -- budgets -----------------------------------------------------------------------------------------------------------


def budget(project: Project, text: str) -> None:
    spec = project.spec.read_text().partition("budget:")[0]
    project.spec.write_text(f"{spec}budget:\n{text}")


def test_more_than_the_budget_is_refused_and_nothing_replaced(project: Project) -> None:
    made(project)
    before = {path.name: path.read_bytes() for path in project.out.iterdir()}
    project.edit("machine.yml", "contents: hello", "contents: changed")
    budget(project, "  image: 1K\n")
    with pytest.raises(SpecError) as caught:
        project.build()
    (problem,) = caught.value.problems
    assert problem.origin.line == project.spec.read_text().splitlines().index("  image: 1K") + 1
    assert "build:machine:kernel+initrd has " in problem.message
    assert "the budget is 1024 bytes" in problem.message
    assert "the largest parts: " in problem.message
    assert "machine-kernel " in problem.message
    assert problem.hint is not None
    assert {path.name: path.read_bytes() for path in project.out.iterdir()} == before
    with pytest.raises(SpecError, match="the budget is 1024 bytes"):
        project.build()
    budget(project, "  image: 1G\n  memory: 1G\n")
    assert project.build().wrote == ("machine-initrd.img",)


def test_memory_has_a_budget_of_its_own(project: Project) -> None:
    budget(project, "  memory: 1M\n")
    with pytest.raises(SpecError, match=r"needs, to unpack its initrd, 5[0-9]\.[0-9] MB"):
        project.build()


def test_a_budget_changes_no_byte_and_no_step(project: Project) -> None:
    project.edit("machine.yml", "    contents: hello\n", "    metadata: yaml\n")
    project.build()
    budget(project, "  image: 1G\n  memory: 1G\n")
    assert project.build().ran == ()


def test_tightening_a_budget_of_what_is_built_already_is_an_error(project: Project) -> None:
    made(project)
    budget(project, "  image: 1K\n")
    with pytest.raises(SpecError, match="too much"):
        made(project)


def test_a_build_with_a_budget_it_keeps_is_reported_with_it(project: Project) -> None:
    budget(project, "  image: 1G\n  memory: 1G\n")
    made(project)
    found = build_report(find_build(HistoryFiles(project.cache), [], None, print), [], project.cache, print)
    uses = {each.what: each for each in found.budgets}
    assert uses.keys() == {"machine: image", "machine: memory"}
    assert uses["machine: image"].used == sum(path.stat().st_size for path in project.out.iterdir())
    assert uses["machine: memory"].used > 48 << 20


# -- caches ------------------------------------------------------------------------------------------------------------


def exported(project: Project, target: Path) -> Path:
    store = Store.open(project.cache)
    try:
        export(store, current_machines(HistoryFiles(project.cache)), target, lambda *_: None)
    finally:
        store.close()
    return target


def imported(source: Path, cache: Path) -> Imported:
    store = Store.open(cache)
    try:
        return import_cache(store, source, lambda *_: None)
    finally:
        store.close()


@pytest.mark.parametrize("name", ["layout", "layout.tar"])
def test_a_cache_carried_elsewhere_builds_without_a_step(project: Project, tmp_path: Path, name: str) -> None:
    made(project)
    layout = exported(project, tmp_path / name)
    there = Project(project.root, tmp_path / "there", tmp_path / "out-there")
    done = imported(layout, there.cache)
    assert done.machines == ("machine",)
    assert done.results > 10
    assert (done.known, done.strange, done.kept) == (0, 0, ())
    built = there.build()
    assert built.ran == ()
    assert set(built.wrote) == OUTPUTS
    assert all((there.out / file).read_bytes() == (project.out / file).read_bytes() for file in OUTPUTS)
    again = imported(layout, there.cache)
    assert (again.results, again.blobs, again.known) == (0, 0, done.results)


def test_an_export_is_an_oci_artifact_that_other_programs_copy(project: Project, tmp_path: Path) -> None:
    made(project)
    layout = exported(project, tmp_path / "layout")
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{layout}:machine"], capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(raw)["artifactType"] == "application/vnd.lkbuild.cache.v1"
    copy = tmp_path / "copy"
    subprocess.run(["skopeo", "copy", "-q", f"oci:{layout}:machine", f"oci:{copy}:machine"], check=True)
    assert imported(copy, tmp_path / "there").results > 10


def test_an_export_of_the_same_is_the_same(project: Project, tmp_path: Path) -> None:
    made(project)
    one, two = (exported(project, tmp_path / name).read_bytes() for name in ("one.tar", "two.tar"))
    assert one == two
    with pytest.raises(UsageError, match="is there already"):
        exported(project, tmp_path / "one.tar")


def rewritten(layout: Path, change: str, to: str) -> None:
    """Change the config of a layout, every digest above it made to fit: only what is said is wrong."""
    index = json.loads((layout / "index.json").read_text())
    described = index["manifests"][0]
    manifest = json.loads(blob(layout, described).read_text())
    text = blob(layout, manifest["config"]).read_text()
    assert change in text
    manifest["config"] |= put(layout, text.replace(change, to, 1))
    described |= put(layout, json.dumps(manifest))
    (layout / "index.json").write_text(json.dumps(index))


def blob(layout: Path, described: dict[str, str]) -> Path:
    return layout / "blobs" / "sha256" / described["digest"].removeprefix("sha256:")


def put(layout: Path, text: str) -> dict[str, object]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_text(text)
    return {"digest": f"sha256:{digest}", "size": len(text.encode())}


def largest(layout: Path) -> Path:
    return max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def drop(layout: Path) -> None:
    largest(layout).unlink()


def flip(layout: Path) -> None:
    path = largest(layout)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def grow(layout: Path) -> None:
    with largest(layout).open("ab") as file:
        file.write(b"more")


def link(layout: Path) -> None:
    path = largest(layout)
    path.unlink()
    path.symlink_to("/etc/hostname")


RECIPE = '"outputs":{"recipe":["sha256:'

DAMAGES = {
    "no index": (lambda p: (p / "index.json").unlink(), "index.json"),
    "another version": (lambda p: (p / "oci-layout").write_text('{"imageLayoutVersion": "2"}'), "another version"),
    "nothing of ours": (lambda p: (p / "index.json").write_text('{"manifests": []}'), "has no application/vnd.lkbuild"),
    "an index of another shape": (lambda p: (p / "index.json").write_text('{"manifests": 5}'), "no cache of lkbuild"),
    "a deep index": (lambda p: (p / "index.json").write_text("[" * 100_000), "no cache of lkbuild"),
    "a blob missing": (drop, "missing or of another size"),
    "a blob changed": (flip, "got sha256:"),
    "a blob longer": (grow, "missing or of another size"),
    "a blob that leads outside": (link, "missing or of another size"),
    "another format": (lambda p: rewritten(p, '"format":1', '"format":7'), "has format 7"),
    "a blob that is no layer": (
        lambda p: rewritten(p, RECIPE, RECIPE + "0" * 64 + '",1],"x":["sha256:'),
        "not among its layers",
    ),
    "a digest that leads outside": (
        lambda p: rewritten(p, RECIPE, '"outputs":{"x":["../../../etc/passwd",3],"recipe":["sha256:'),
        "not a digest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_layout_that_is_not_whole_or_lies_is_refused(project: Project, tmp_path: Path, damage: str) -> None:
    made(project)
    layout = exported(project, tmp_path / "layout")
    work, words = DAMAGES[damage]
    work(layout)
    with pytest.raises(StoreError, match=words):
        imported(layout, tmp_path / "there")
    assert not list((tmp_path / "there" / "results").glob("??/*")), "nothing of its results is taken over"


def test_a_step_that_was_changed_is_the_step_of_another_key(project: Project, tmp_path: Path) -> None:
    """Params that were tampered with give another key, which no build here asks for."""
    made(project)
    layout = exported(project, tmp_path / "layout")
    rewritten(layout, '"text":"console=ttyS0"', '"text":"console=evil"')
    there = Project(project.root, tmp_path / "there", tmp_path / "out-there")
    imported(layout, there.cache)
    assert there.build().ran == ("text:machine/cmdline",)


def test_a_truncated_tar_is_refused(project: Project, tmp_path: Path) -> None:
    made(project)
    layout = exported(project, tmp_path / "layout.tar")
    layout.write_bytes(layout.read_bytes()[: layout.stat().st_size // 2])
    with pytest.raises(LkbuildError, match="importing"):
        imported(layout, tmp_path / "there")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(StoreError, match="importing"):
        imported(tmp_path / "empty.tar", tmp_path / "there")


def test_collection_keeps_what_current_specs_need(project: Project) -> None:
    made(project)
    project.edit("machine.yml", "contents: hello", "contents: changed")
    made(project)
    held = holding(Store(project.cache))
    (machine,) = held.machines
    assert (machine.files, machine.own) == ((str(project.spec),), machine.bytes)
    assert {"tree", "initrd", "pull"} <= {each.kind for each in held.kinds}
    machines = current_machines(HistoryFiles(project.cache))
    done = collect(project.cache, 4e9, Bounds(0, 0, keys_of(machines)))
    assert (done.results, {each.kind for each in done.kinds}) == (2, {"files", "initrd"}), "the state before"
    shutil.rmtree(project.out)
    assert project.build().ran == ()
    project.edit("machine.yml", "contents: changed", "contents: third")
    assert set(project.build().ran) == {"files:machine", "initrd:machine"}, "what is incremental stays so"


def test_a_machine_whose_spec_is_gone_is_not_current(project: Project) -> None:
    made(project)
    history = HistoryFiles(project.cache)
    assert [machine.name for machine in current_machines(history)] == ["machine"]
    with pytest.raises(UsageError, match="is on record"):
        current_machines(history, [("/none.yml",)])
    project.spec.unlink()
    assert current_machines(history) == []
