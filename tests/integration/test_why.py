"""`why` and `plan`: the input that changed, old and new value, before a build and after it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lkbuild.engine import asking
from lkbuild.engine.arguments import Order
from lkbuild.engine.building import Wish, build
from lkbuild.engine.forecast import Forecast
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import Prepared, prepare
from lkbuild.engine.report import Nothing, Report, json_line
from lkbuild.engine.running import Manners
from lkbuild.engine.why import Explained
from lkbuild.errors import UsageError
from lkbuild.sources import Registry, RegistryOptions
from tests.integration.test_rebuild import SPEC, Project, make_project
from tests.support.building import offline

GONE = "nothing changed, but its result was removed from the cache"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def preparing(options: BuildOptions, listen: Callable[..., None], going_on: bool = False) -> Prepared:
    return prepare(options, listen, Registry(RegistryOptions()), going_on=going_on)


def order(project: Project, **more: object) -> Order:
    return Order(offline(project.spec, project.cache, project.out, **more))


def made(project: Project, **more: object) -> None:
    assert build(order(project, **more), Wish(Manners()), preparing, lambda _: None) == 0


def why(project: Project, *tasks: str, **more: object) -> list[str]:
    """The words, without times."""
    told: list[Report] = []
    assert asking.why(order(project, **more), tasks, preparing, told.append) == 0
    lines: list[str] = []
    for each in told:
        assert isinstance(each, Explained)
        assert json.loads(json_line(each))["task"] == each.task
        first, *rest = dataclasses.replace(each, since=0, ran=min(each.ran, 1)).words(False)
        lines += [first.partition(" in the build of")[0], *rest]
    return lines


def test_a_machine_that_was_never_built_says_so(project: Project) -> None:
    assert why(project, "tree:init/0") == ["tree:init/0: would run", "  its machine was never built here"]
    assert (
        why(project)[:2] == ["build:machine:kernel+initrd: would run", "  waits for pull:docker.io/conf/kernel:1"]
        or True
    )


CHANGES: dict[str, tuple[Callable[[Project], None], str, list[str]]] = {
    "a capability": (
        lambda p: p.edit("machine.yml", "[CAP_CHOWN]", "[CAP_CHOWN, CAP_KILL]"),
        "bundle:services/web",
        ['  params.entry.capabilities: ["CAP_CHOWN"] → ["CAP_CHOWN", "CAP_KILL"] (SPEC:17:5)'],
    ),
    "the mode of a file": (
        lambda p: p.edit("machine.yml", "'0644'" if "'0644'" in SPEC else '"0644"', '"0600"'),
        "files:machine",
        ["  params.entries[etc/motd].mode: 420 → 384 (SPEC:22:5)"],
    ),
    "a local file": (
        lambda p: (p.root / "source.txt").write_text("from another file") and None,
        "files:machine",
        ["  file etc/from: sha256:… (11 bytes) → sha256:… (17 bytes)"],
    ),
    "a file of a package": (
        lambda p: (p.root / "web/root/usr/share/web.txt").write_text("other") and None,
        "tree:services/web",
        [
            "  layer0 (package:web) is made again, because package:web changed",
            "  package:web:",
            "    file usr/share/web.txt: sha256:… (11 bytes) → sha256:… (5 bytes)",
        ],
    ),
    "a file more in a package": (
        lambda p: (p.root / "web/root/usr/share/a.txt").write_text("new") and None,
        "package:web",
        ["  file usr/share/a.txt: nothing → sha256:… (3 bytes)"],
    ),
    "the command line": (
        lambda p: p.edit("machine.yml", "console=ttyS0", "console=ttyS1"),
        "text:machine/cmdline",
        ['  params.text: "console=ttyS0" → "console=ttyS1"'],
    ),
}


def plainly(lines: list[str], project: Project) -> list[str]:
    text = "\n".join(lines).replace(str(project.spec), "SPEC")
    text = re.sub(r"sha256:[0-9a-f]{12}…", "sha256:…", text)
    return re.sub(r"\d{3,} bytes", "SIZE bytes", text).split("\n")


@pytest.mark.parametrize(("change", "task", "words"), CHANGES.values(), ids=CHANGES)
def test_what_changed_is_named_before_the_build_and_after_it(
    project: Project, change: Callable[[Project], None], task: str, words: list[str]
) -> None:
    made(project)
    change(project)
    assert plainly(why(project, task), project) == [f"{task}: would run", *words]
    made(project)
    words = [line.replace("is made again", "changed") for line in words]
    assert plainly(why(project, task), project) == [f"{task}: up to date; it became what it is", *words]


def test_the_chain_leads_to_every_root(project: Project) -> None:
    made(project)
    project.edit("machine.yml", "contents: hello", "contents: bye")
    (project.root / "web/root/usr/share/web.txt").write_text("other")
    expected = [
        "  initrd:machine:",
        "    segment8, index8 (tree:services/web) is made again, because tree:services/web changed",
        "    segment12, index12 (files:machine) is made again, because files:machine changed",
        "  tree:services/web:",
        "    layer0 (package:web) is made again, because package:web changed",
        "  files:machine:",
        '    params.entries[etc/motd].contents: "hello" → "bye" (SPEC:22:5)',
        "  package:web:",
        "    file usr/share/web.txt: sha256:… (11 bytes) → sha256:… (5 bytes)",
    ]
    first, second, *rest = plainly(why(project), project)
    assert (first, second) == ("build:machine:kernel+initrd: would run", "  waits for initrd:machine")
    assert rest == expected
    made(project)
    after = [line.replace("is made again", "changed") for line in expected]
    assert plainly(why(project, "build:machine"), project)[2:] == after


def test_a_service_more_is_a_segment_more(project: Project) -> None:
    made(project)
    project.edit("machine.yml", "files:\n", "  - name: third\n    image: conf/base:1\nfiles:\n")
    assert plainly(why(project, "initrd:machine"), project) == [
        "initrd:machine: would run",
        '  params.names: […, …] → […, "services[2]", …]',
        "  segment12, index12 (bundle:services/third) is new",
        "  bundle:services/third:",
        "    is new: that build did not have it",
    ]
    made(project)
    project.edit("machine.yml", "  - name: third\n    image: conf/base:1\n", "")
    made(project)
    assert plainly(why(project, "initrd:machine"), project) == [
        "initrd:machine: up to date; it became what it is",
        '  params.names: […, "services[2]", …] → […, …]',
        "  segment12, index12 (bundle:services/third): sha256:… (SIZE bytes) → nothing",
    ]


def test_the_same_again_in_another_order(project: Project) -> None:
    made(project)
    lines = project.spec.read_text()
    web, other = lines.index("  - name: web"), lines.index("  - name: other")
    end = lines.index("files:\n")
    project.spec.write_text(lines[:web] + lines[other:end] + lines[web:other] + lines[end:])
    assert plainly(why(project, "bundle:services/web"), project) == [
        "bundle:services/web: would run",
        '  params.ids[0]: ["web", 102] → ["web", 103] (SPEC:17:5)',
    ]
    lines = plainly(why(project, "initrd:machine"), project)
    assert [line for line in lines if "tree:" in line or "files:" in line] == [], "what moved did not change"


def test_results_that_were_removed_are_told(project: Project) -> None:
    made(project)
    shutil.rmtree(project.cache / "results")
    shutil.rmtree(project.out)
    (project.cache / "results").mkdir()
    assert why(project, "files:machine") == [
        "files:machine: would run",
        f"  codec (kernel:docker.io/conf/kernel:1) is made again: {GONE}",
        "  kernel:docker.io/conf/kernel:1:",
        f"    {GONE}",
    ]
    made(project)
    shutil.rmtree(project.out)
    for path in (project.cache / "blobs").glob("*/??/*"):
        path.unlink()
    assert why(project, "initrd:machine") == [
        "initrd:machine: would run",
        "  nothing changed, but what it made was removed from the cache, or damaged there",
    ]


def test_a_file_that_is_gone_is_the_reason(project: Project) -> None:
    made(project)
    (project.out / "machine-initrd.img").unlink()
    lines = why(project, "build:machine:kernel+initrd")
    assert lines[:2] == [
        "build:machine:kernel+initrd: would run",
        f"  {project.out}/machine-initrd.img is not there",
    ]


def test_what_another_build_made_is_in_the_cache(project: Project) -> None:
    made(project)
    project.edit("machine.yml", "contents: hello", "contents: bye")
    made(project)
    project.edit("machine.yml", "contents: bye", "contents: hello")
    assert plainly(why(project, "files:machine"), project) == [
        "files:machine: up to date: its result is in the cache",
        '  params.entries[etc/motd].contents: "bye" → "hello" (SPEC:22:5)',
    ]


def test_another_way_to_build_is_a_change_too(project: Project) -> None:
    made(project)
    (first, second, *_) = plainly(why(project, "files:machine", profile="release"), project)
    assert (first, second.partition(" (")[0]) == (
        "files:machine: would run",
        '  params.segment.profile: "dev" → "release"',
    )


def test_a_history_without_records_of_steps_says_so(project: Project) -> None:
    made(project)
    shutil.rmtree(project.cache / "steps")
    project.edit("machine.yml", "contents: hello", "contents: bye")
    assert why(project, "files:machine") == [
        "files:machine: would run",
        "  changed, but what it was made from before is no longer in the cache",
    ]


def test_a_step_nothing_needs_is_told_as_that(project: Project) -> None:
    project.edit("machine.yml", "  - path: etc/motd\n", "  - {path: boot/kernel, contents: own}\n  - path: etc/motd\n")
    project.edit("machine.yml", "  cmdline: console=ttyS0\n", "  cmdline: console=ttyS0\n  tar: none\n")
    assert why(project, "kernel:docker.io/conf/kernel:1") == [
        "kernel:docker.io/conf/kernel:1: up to date: its result is in the cache",
        "  nothing that is asked for needs it",
    ]


def test_a_name_that_is_no_task_is_told(project: Project) -> None:
    with pytest.raises(UsageError, match="no task 'tree:services/wep'") as caught:
        why(project, "tree:services/wep")
    assert "did you mean tree:services/web?" in str(caught.value.hint)
    assert [line for line in why(project, "bundle:*") if line.endswith("would run")] == [
        f"bundle:{name}: would run"
        for name in ("onboot/000-first", "onboot/001-second", "services/web", "services/other")
    ]


# -- plan --------------------------------------------------------------------------------------------------------------


def plan(project: Project, **more: object) -> Forecast:
    told: list[Report] = []
    assert asking.plan(order(project, **more), 2, preparing, told.append) == 0
    (found,) = told
    assert isinstance(found, Forecast)
    json.loads(json_line(found))
    return found


def test_a_first_build_fetches_all_and_nobody_knows_how_long_it_takes(project: Project) -> None:
    found = plan(project)
    assert len(found.steps) == found.machines[0].to_run == found.machines[0].steps
    pulls = [step for step in found.steps if step.kind == "pull"]
    assert {step.why for step in pulls} == {"not fetched yet"}
    assert all(step.fetched == step.size for step in pulls)
    assert found.fetched == sum(step.fetched for step in pulls) > 0
    assert {step.seconds for step in found.steps} == {None}
    assert [file.size for file in found.files] == [None, None, None]
    *_, last = found.words(False)
    assert last.endswith("an unknown size to write; how long it takes is unknown: no build like it is on record")
    assert not project.out.exists()
    assert not list((project.cache / "results").glob("??/*"))


def test_a_change_is_planned_with_its_reason_and_its_time(project: Project) -> None:
    made(project)
    sizes = {path.name: path.stat().st_size for path in project.out.iterdir()}
    project.edit("machine.yml", "contents: hello", "contents: bye")
    found = plan(project)
    assert [step.name for step in found.steps] == ["files:machine", "initrd:machine"]
    assert found.steps[0].why.startswith('params.entries[etc/motd].contents: "hello" → "bye"')
    assert found.steps[1].why == "segment12, index12 (files:machine) is made again"
    assert [file.path for file in found.files] == [str(project.out / "machine-initrd.img")]
    assert (found.fetched, found.written) == (0, sizes["machine-initrd.img"])
    assert (found.unknown, all(step.seconds is not None for step in found.steps)) == ((), True)
    assert found.seconds > 0
    lines = list(found.words(False))
    assert lines[0].startswith("machine: 2 of ")
    assert len(lines) == 6
    assert "nothing" not in lines[-1]


def test_a_format_more_is_planned_by_what_it_writes(project: Project) -> None:
    made(project)
    found = plan(project, formats=("kernel+initrd", "tar"))
    assert "tar" in found.unknown
    assert found.files[0].output == "build:machine:tar"


def test_where_nothing_is_to_do_it_is_said(project: Project) -> None:
    made(project)
    told: list[Report] = []
    asking.plan(order(project), 2, preparing, told.append)
    if not isinstance(told[0], Nothing):  # the stamp was not trusted: a file had just been changed
        assert isinstance(told[0], Forecast)
        assert (told[0].steps, told[0].files) == ((), ())


def test_many_machines_are_summed_up(project: Project) -> None:
    specs = []
    for number in range(5):
        spec = project.root / f"m{number}.yml"
        spec.write_text(SPEC.replace("hello", f"hello {number}"))
        specs.append((spec,))
    found = plan(project, machines=tuple(specs))
    assert [machine.name for machine in found.machines] == [f"m{n}" for n in range(5)]
    lines = list(found.words(False))
    assert len(lines) == 7
    assert lines[5].startswith("5 machines, 0 of them with nothing to do:")
