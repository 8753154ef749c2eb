"""What a change to a spec does to a running machine: which services are swapped, or why it boots anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lkbuild.dev.holding import Holding, Service, Verdict, check_name, compare, config_for, holding, service_names
from lkbuild.dev.running import told
from lkbuild.engine.build import build
from lkbuild.engine.events import nobody
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import prepare
from lkbuild.errors import UsageError
from lkbuild.sources import Registry, RegistryOptions
from tests.support.layouts import Layout, layer

_NOT_PLAIN = "its `runtime` does more than start it, or it lies at a path with letters other than A-Z a-z 0-9 . _ -"
SPEC = """\
init: ["t/init:1"]
onboot:
  - {name: early, image: "t/early:1"}
services:
  - {name: web, image: "t/web:1"}
  - {name: twin, image: "t/web:1"}
  - {name: db, image: "t/db:1", readonly: true}
  - {name: net, image: "t/db:2", runtime: {mkdir: [/var/lib/net]}}
files:
  - {path: etc/motd, contents: hello}
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("images") / "layout"
    made = Layout(directory)
    for name in ("init:1", "init:2", "early:1", "early:2", "web:1", "web:2", "db:1", "db:2", "db:3"):
        made.add(f"t/{name}", [layer([("bin/program", name.encode())])])
    return directory


def held(spec: str, images: Path, place: Path) -> Holding:
    """What the machine of a spec holds."""
    file = place / "spec.yml"
    file.write_text(spec)
    options = BuildOptions(machines=((file,),), cache=place / "cache", directory=place, images=(images,), pull="never")
    prepared = prepare(options, nobody, Registry(RegistryOptions()))
    try:
        build(prepared)
    finally:
        prepared.close()
    prepared = prepare(options, nobody, Registry(RegistryOptions()))
    try:
        found = holding(prepared.session)
        assert service_names(prepared.session) == tuple(found.services)
        return found
    finally:
        prepared.close()


CASES = {
    "nothing": ("hello", "hello", Verdict()),
    "a comment": ("files:", "# new\nfiles:", Verdict()),
    "an image that two services share": ('"t/web:1"', '"t/web:2"', Verdict(("web", "twin"))),
    "a service's image": ('twin, image: "t/web:1"', 'twin, image: "t/web:2"', Verdict(("twin",))),
    "a readonly service's image": ("t/db:1", "t/db:3", Verdict(("db",))),
    "its command": ("name: db,", "name: db, command: [x],", Verdict(("db",))),
    "its capabilities": ("name: db,", "name: db, capabilities: [all],", Verdict(("db",))),
    "from readonly to writable": (", readonly: true", "", Verdict(("db",))),
    "a file": ("hello", "hallo", Verdict((), ("files:spec changed",))),
    "init": ("t/init:1", "t/init:2", Verdict((), ("tree:init/0 changed",))),
    "onboot": ("t/early:1", "t/early:2", Verdict((), ("tree:onboot/000-early changed",))),
    "onboot's name": (
        "name: early",
        "name: late",
        Verdict(
            (),
            (
                "bundle:onboot/000-early is gone",
                "bundle:onboot/000-late is new",
                "tree:onboot/000-early is gone",
                "tree:onboot/000-late is new",
            ),
        ),
    ),
    "one service more": (
        "services:\n",
        'services:\n  - {name: more, image: "t/early:1"}\n',
        Verdict((), ("service more is new",)),
    ),
    "one service less": ('  - {name: twin, image: "t/web:1"}\n', "", Verdict((), ("service twin is gone",))),
    "what does more than start": (
        "t/db:2",
        "t/db:3",
        Verdict((), (f"service net: {_NOT_PLAIN}",)),
    ),
    "what now does more": (
        "name: db,",
        "name: db, runtime: {cgroups: [x]},",
        Verdict((), (f"service db: {_NOT_PLAIN}",)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_change_does(case: str, images: Path, tmp_path: Path) -> None:
    text, instead, verdict = CASES[case]
    assert text in SPEC
    assert compare(held(SPEC, images, tmp_path), held(SPEC.replace(text, instead), images, tmp_path)) == verdict


@pytest.mark.parametrize(
    ("linux", "path"),
    [({"cgroupsPath": "/web"}, "/web.web.2"), ({}, None), (None, None)],
)
def test_a_second_container_has_a_control_group_of_its_own(linux: object, path: str | None) -> None:
    text = json.dumps({"process": {}} if linux is None else {"linux": linux}).encode()
    made = json.loads(config_for(Service("web", "t", (), text, True), "web.2"))
    assert made.get("linux", {}).get("cgroupsPath") == path
    if path is None:
        assert config_for(Service("web", "t", (), text, True), "web.2") == text


def test_a_service_there_is_none_of() -> None:
    one = Service("web", "t", (), b"", True)
    check_name({"web": one}, None)
    check_name({"web": one}, "web")
    with pytest.raises(UsageError, match="no service 'wbe'"):
        check_name({"web": one, "db": replace(one, name="db")}, "wbe")


def test_a_tree_whose_name_the_agent_would_not_understand_is_not_swapped(images: Path, tmp_path: Path) -> None:
    """A service lies where the first container with its image does, whatever that is called."""
    spec = SPEC.replace('name: early, image: "t/early:1"', 'name: "early: bird", image: "t/web:1"')
    services = held(spec, images, tmp_path).services
    assert services["web"].tree == "containers/onboot/000-early: bird/lower"
    assert [name for name, service in services.items() if service.plain] == ["db"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("=web a line", "web | a line"),
        ("=", " | "),
        ("ended web web.1", "web has ended; what it said last is above, and the next change starts it"),
        ("ended ", " has ended; what it said last is above, and the next change starts it"),
        ("", None),
        ("anything", None),
    ],
)
def test_a_guest_may_say_anything(word: str, said: str | None) -> None:
    assert told(word) == said
