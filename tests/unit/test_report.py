"""Reports as values: the critical path, the trace, the map of an image, and a page nothing can break out of."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.archive.entry import Entry, directory
from lkbuild.archive.index import IndexWriter, parse_index
from lkbuild.archive.weight import heaviest, in_memory, weigh
from lkbuild.digest import Digest
from lkbuild.engine.history import StepRun
from lkbuild.engine.history_files import HistoryFiles
from lkbuild.engine.parts import group_of
from lkbuild.errors import StoreError, UsageError
from lkbuild.plan.recorded import RecordedInput, RecordedStep
from lkbuild.report.build_report import BuildReport, ReportedMachine, build_report, find_build
from lkbuild.report.critical import CriticalPath, critical_path
from lkbuild.report.image_map import MapNode, image_map
from lkbuild.report.layers import LayerReader
from lkbuild.report.page import embedded, page
from lkbuild.report.trace import trace_text
from lkbuild.store import Result, Store
from tests.unit.test_engine_history import RECORD


def run(name: str, start: int, end: int, *needs: str) -> StepRun:
    return StepRun(name, "toy", None, "", start, end, 0, "ran", 0, 0, needs)


# -- the critical path -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "steps", "time"),
    [
        ([], (), 0),
        ([run("a", 0, 5)], ("a",), 5),
        ([run("a", 0, 5), run("b", 0, 9), run("c", 9, 10, "a", "b")], ("b", "c"), 10),
        ([run("c", 9, 10, "a", "b"), run("a", 0, 5), run("b", 0, 4)], ("a", "c"), 6),  # in any order
        ([run("a", 0, 5, "gone")], ("a",), 5),  # what was in the cache costs nothing
        ([run("a", 7, 5)], ("a",), 0),  # a clock that went back
    ],
)
def test_the_critical_path_is_the_longest_chain(runs: list[StepRun], steps: tuple[str, ...], time: int) -> None:
    assert critical_path(runs) == CriticalPath(steps, time)


def test_a_ring_in_a_damaged_record_ends() -> None:
    assert critical_path([run("a", 0, 1, "b"), run("b", 1, 2, "a")]).time == 2


def test_a_chain_of_many_steps_needs_no_deep_stack() -> None:
    runs = [run("0", 0, 1), *(run(str(n), n, n + 1, str(n - 1)) for n in range(1, 5000))]
    assert critical_path(runs).time == 5000


# -- weights -----------------------------------------------------------------------------------------------------------


def index(*files: tuple[str, int], links: tuple[str, ...] = ()) -> bytes:
    writer = IndexWriter()
    above = (path[:at] for path, _ in files for at, letter in enumerate(path) if letter == "/")
    for path in dict.fromkeys(["usr", *above]):
        writer.add(directory(path.encode()))
    for path, size in files:
        writer.add(Entry(path.encode(), "file", 0o644, size=size))
    for path in links:
        writer.add(Entry(path.encode(), "file", 0o644, size=1000), group=1)
    writer.add(Entry(b"usr/link", "symlink", 0o777, target=b"x"))
    return writer.data()


def test_names_of_one_file_weigh_once() -> None:
    rows = parse_index(index(("usr/bin/a", 10), ("usr/bin/b", 20), links=("usr/l1", "usr/l2")))
    root = weigh(rows)
    assert (root.size, root.files) == (1030, 4)
    assert {name: kid.size for name, kid in root.kids[b"usr"].kids.items()} == {b"bin": 30, b"l1": 1000, b"link": 0}
    assert in_memory(rows) == 3 * 4096, "each file takes whole pages"


def test_the_heaviest_directories_are_told_and_none_below_another() -> None:
    rows = parse_index(index(("usr/lib/big", 900), ("usr/share/a", 40), ("usr/share/b", 40), ("etc/c", 5)))
    assert heaviest(weigh(rows), 2) == [(b"usr/lib/big", 900), (b"usr/share", 80)]


@pytest.mark.parametrize(
    ("step", "group"),
    [
        ("tree:services/web", "services/web"),
        ("tree.tar:services/web@2", "services/web"),
        ("bundle:onboot/000-a", "onboot/000-a"),
        ("modules:docker.io/conf/kernel:1", "kernel"),
        ("boot.tar:nginx", "kernel"),
        ("tree:init/3", "init/3"),
        ("apk:nginx", "init"),
        ("volume:data", "volumes/data"),
        ("layout:volumes/data", "volumes/data"),
        ("files:nginx", "files"),
        ("sbom:nginx", "sbom"),
        ("segment4", "segment4"),
    ],
)
def test_whose_a_segment_is(step: str, group: str) -> None:
    assert group_of(step) == group


# -- the map -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def machine(store: Store, *indexes: bytes) -> dict[str, Digest]:
    """The state of a machine of such segments, each packed to 100 bytes and made by a tree step."""
    inputs, state = list[RecordedInput](), dict[str, Digest]()
    for number, data in enumerate(indexes):
        packed = store.add(b"%100d" % number)
        described = store.add(data)
        key = Digest.of(b"tree %d" % number)
        store.record(key, Result((("segment", packed), ("index", described))))
        state[f"tree:services/s{number}"] = key
        inputs.append(RecordedInput(f"segment{number}", packed.digest, packed.size))
        inputs.append(RecordedInput(f"index{number}", described.digest, described.size))
    step = RecordedStep("initrd", 1, {}, tuple(inputs), "initrd:m")
    store.record(step.key, Result((("recipe", store.add(b"[]")),)), step.encode())
    return {**state, "initrd:m": step.key}


def test_a_map_has_services_and_directories_with_both_sizes(store: Store) -> None:
    state = machine(store, index(("usr/lib/a", 300), ("usr/bin/b", 100)), index(("etc/c", 600)))
    found = image_map("m", state, LayerReader(store))
    assert (found.unpacked, found.packed, found.files) == (1000, 200, 4), "usr/link is in both, and there once"
    assert [(kid.name, kid.unpacked, kid.packed) for kid in found.kids] == [
        ("services/s1", 600, 100),
        ("services/s0", 400, 100),
    ]
    assert [(kid.name, kid.unpacked, kid.packed) for kid in found.kids[1].kids[0].kids][:2] == [
        ("lib/a", 300, 75),
        ("bin/b", 100, 25),
    ]


def test_a_hostile_depth_is_drawn_no_deeper_than_a_stack(store: Store) -> None:
    files = [(f"{'d/' * depth}f{depth}", 1000) for depth in range(900)]
    found = image_map("m", machine(store, index(*files)), LayerReader(store))
    assert json.dumps(found.plain())
    assert found.unpacked == 900_000


def test_what_is_gone_is_told(store: Store) -> None:
    state = machine(store, index(("a", 1)))
    with pytest.raises(StoreError, match="put together yet"):
        image_map("m", {name: key for name, key in state.items() if not name.startswith("initrd")}, LayerReader(store))
    store.drop(Digest.of(index(("a", 1))))
    with pytest.raises(StoreError, match="no longer in the cache"):
        image_map("m", state, LayerReader(store))
    store.step_path(state["initrd:m"]).unlink()
    with pytest.raises(StoreError, match="no longer in the cache"):
        image_map("m", state, LayerReader(store))


# -- the trace ---------------------------------------------------------------------------------------------------------


def events_of(*steps: StepRun) -> list[dict[str, Any]]:
    found = json.loads(trace_text(replace(RECORD, steps=steps)))["traceEvents"]
    assert isinstance(found, list)
    return found


def test_a_trace_has_an_event_for_each_step_and_arrows_between_them() -> None:
    events = events_of(run("a", 5, 9), replace(run("b", 9, 12, "a", "gone"), worker=1, bytes_out=7))
    complete = {event["name"]: event for event in events if event["ph"] == "X"}
    assert {name: (e["ts"], e["dur"], e["tid"]) for name, e in complete.items()} == {
        "planning": (0, 3, 1),
        "a": (5, 4, 2),
        "b": (9, 3, 3),
        "/n.tar": (10, 10, 4),
    }
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert named == {1: "planning", 2: "worker 1", 3: "worker 2", 4: "worker 2"}, (
        "in worker 2 the record has two at a time"
    )
    begin, end = ([e for e in events if e["ph"] == phase] for phase in "sf")
    assert [(e["id"], e["ts"], e["tid"]) for e in begin] == [(1, 8, 2)], "in the step: at its end it is over"
    assert [(e["id"], e["ts"], e["tid"], e["bp"]) for e in end] == [(1, 9, 3, "e")]
    counted = {name: [(e["ts"], *e["args"].values()) for e in events if e["name"] == name] for name in COUNTERS}
    assert counted == {"steps at work": [(5, 1), (9, 1), (12, 0)], "bytes made": [(9, 0), (12, 7)]}


COUNTERS = ("steps at work", "bytes made")
MEMBERS = {
    "M": {"name": str, "ph": str, "pid": int, "tid": int, "args": dict},
    "X": {"name": str, "cat": str, "ph": str, "pid": int, "tid": int, "ts": int, "dur": int, "args": dict},
    "s": {"name": str, "cat": str, "id": int, "ph": str, "pid": int, "tid": int, "ts": int},
    "f": {"name": str, "cat": str, "id": int, "ph": str, "bp": str, "pid": int, "tid": int, "ts": int},
    "C": {"name": str, "ph": str, "pid": int, "tid": int, "ts": int, "args": dict},
}
"""The Trace Event Format's members of each phase that is written, and their types."""


def follows_the_format(events: list[dict[str, Any]]) -> None:
    """Every event has its members and no other, they are in order, named, and nothing in a thread overlaps."""
    for event in events:
        wanted = MEMBERS[event["ph"]]
        assert event.keys() == wanted.keys()
        assert all(type(event[name]) is kind for name, kind in wanted.items())
    named = {(e["name"], e["tid"]) for e in events if e["ph"] == "M"}
    assert ("process_name", 1) in named
    threads = {e["tid"] for e in events if e["ph"] in "Xsf"}
    assert {(what, tid) for tid in threads for what in ("thread_name", "thread_sort_index")} <= named
    timed = [e for e in events if e["ph"] != "M"]
    assert events[len(events) - len(timed) :] == timed, "names come first"
    assert [e["ts"] for e in timed] == sorted(e["ts"] for e in timed)
    assert all(e["ts"] >= 0 and e.get("dur", 0) >= 0 for e in timed)
    for thread in threads:
        spans = [(e["ts"], e["ts"] + e["dur"]) for e in timed if e["ph"] == "X" and e["tid"] == thread]
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    starts, ends = ({e["id"]: e for e in timed if e["ph"] == phase} for phase in "sf")
    assert starts.keys() == ends.keys()
    for flow in (*starts.values(), *ends.values()):
        on = (e for e in timed if e["ph"] == "X" and e["tid"] == flow["tid"])
        assert any(e["ts"] <= flow["ts"] <= e["ts"] + e["dur"] for e in on), "an arrow begins and ends in a step"


MOMENT = st.integers(0, 60)


@given(st.lists(st.tuples(MOMENT, MOMENT, st.integers(0, 3), st.sets(st.integers(0, 9))), max_size=10))
def test_whatever_a_record_says_its_trace_follows_the_format(rows: list[tuple[int, int, int, set[int]]]) -> None:
    steps = (
        replace(run(str(n), start, end, *map(str, sorted(needs))), worker=worker)
        for n, (start, end, worker, needs) in enumerate(rows)
    )
    follows_the_format(events_of(*steps))


# -- the page ----------------------------------------------------------------------------------------------------------

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!-- \u2028\u2029 {{script}} ]]> & \udcff"


def report(name: str = HOSTILE) -> BuildReport:
    node = MapNode(
        name, 30, 10, 2, 0, (MapNode(name, 30, 10, 2, 0, (MapNode(name, 20, 5, 1), MapNode("b", 10, 5, 1)), (name,)),)
    )
    named = replace(RECORD.machines[0], name=name, files=(name,), outputs=(name,))
    record = replace(
        RECORD,
        machines=(named,),
        request=(("name", (name,)),),
        steps=(replace(run(name, 4, 9), reason=name, kind=name),),
        written=(replace(RECORD.written[0], path=name, output=name),),
    )
    machines = (ReportedMachine(named, node, name, ((name, 4),)),)
    return BuildReport(name, record, machines, (), critical_path(record.steps), ())


class Tags(HTMLParser):
    """What a parser of HTML that is not ours sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.scripts.append(data)


def parsed(text: str) -> Tags:
    found = Tags()
    found.feed(text)
    found.close()
    return found


def test_names_are_nothing_but_text() -> None:
    hostile, harmless = (parsed(page(report(name))) for name in (HOSTILE, "web"))
    assert hostile.tags == harmless.tags
    data = json.loads(hostile.scripts[0])
    assert data["steps"][0]["name"] == data["machines"][0]["map"][0] == HOSTILE


def test_a_page_asks_nothing_of_anybody() -> None:
    text = page(report("web"))
    found = parsed(text)
    assert not {name for name, _ in found.attributes} & {"src", "href", "action", "srcset", "style", "onclick"}
    assert re.findall(r"url\(|@import|https?://", text) == []
    policy = next(value for name, value in found.attributes if name == "content" and "default-src" in str(value))
    assert str(policy).startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in str(policy)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda kids: st.lists(kids), max_leaves=5))
def test_embedded_json_means_nothing_to_html_and_comes_back(value: object) -> None:
    text = embedded(value)
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text) == value


# -- finding a build ---------------------------------------------------------------------------------------------------


def test_the_newest_build_of_the_specs_is_found(tmp_path: Path) -> None:
    history, said = HistoryFiles(tmp_path), list[str]()
    other = replace(RECORD.machines[0], files=("/other.yml",), id="1" * 32)
    history.keep(RECORD)
    history.keep(replace(RECORD, began=RECORD.began + 1, machines=(other,)))
    (history.root / "builds" / "1800000000000000-1.json").write_text('{"format": 99}')
    assert find_build(history, [("/n.yml",)], None, said.append)[1].began == RECORD.began
    assert find_build(history, [], None, said.append)[1].began == RECORD.began + 1
    assert ["is passed over: a record in format 99" in each for each in said] == [True, True, False]
    assert said[2] == "/b.yml was not built: /b.yml:1: wrong", "of the newest build of anything"
    name = history.builds()[2]
    assert find_build(history, [], name, said.append) == (name, RECORD)
    with pytest.raises(UsageError, match="is on record"):
        find_build(history, [("/none.yml",)], None, said.append)
    with pytest.raises(UsageError, match="has no build 17 of this"):
        find_build(history, [], "17", said.append)


def test_a_report_of_a_cache_that_forgot_everything_says_so(tmp_path: Path) -> None:
    found = build_report(("1", RECORD), [], tmp_path / "cache", lambda _: None)
    (reported,) = found.machines
    assert (reported.map, reported.note) == (None, "what the machine came to is no longer on record")
    assert reported.outputs == (("/n.tar", None),)
    assert "no longer on record" in page(found)
