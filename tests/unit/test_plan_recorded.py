"""A step written down is the same step again; what is not one is refused, whatever it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest, plain
from lkbuild.engine.execute import Place, execute, key_of
from lkbuild.engine.prepare import prepare
from lkbuild.errors import StoreError
from lkbuild.plan.kinds import KINDS, Files, Kind, Pull, PullLayer, Text
from lkbuild.plan.recorded import RecordedInput, RecordedStep
from lkbuild.plan.step import Input, Step
from lkbuild.plan.typed import hints, typed
from lkbuild.reference import Reference
from lkbuild.sources import Registry, RegistryOptions
from lkbuild.store import Blob, Store
from lkbuild.store.steps import recorded_step
from tests.support.building import CONFORMANCE, offline, run
from tests.support.steps import NoWayOut, carry_out

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
PULL = Pull((PullLayer(ONE, 1), PullLayer(TWO, 2)), Reference.parse("nginx:1@" + str(TWO)))
STEP = RecordedStep("text", 1, {"text": "t"}, (RecordedInput("file", ONE, 1),), "text:x")


def test_a_pull_is_written_down_with_where_it_is_fetched_from() -> None:
    recorded = RecordedStep.of(Step("pull:nginx", "pull", PULL), {})
    assert recorded.params == {"layers": [{"digest": str(ONE), "size": 1}, {"digest": str(TWO), "size": 2}]}
    assert recorded.unkeyed == {"reference": f"docker.io/library/nginx:1@{TWO}"}
    step = RecordedStep.decode(recorded.encode()).step()
    assert step == Step("pull:nginx", "pull", PULL)
    assert step.params.reference == PULL.reference, "which comparing does not tell"


def test_what_made_its_layers_is_written_down_with_a_pull_and_changes_no_key() -> None:
    told = dataclasses.replace(PULL, history=("RUN a", ""))
    recorded, plain = (RecordedStep.of(Step("pull:nginx", "pull", params), {}) for params in (told, PULL))
    assert recorded.key == plain.key
    step = RecordedStep.decode(recorded.encode()).step()
    assert step.params.history == ("RUN a", "")


def test_what_enters_no_key_is_one_level_down() -> None:
    """`RecordedStep` looks for `compare=False` among the fields of params themselves, and nowhere below."""

    def nested(hint: Any, seen: set[type]) -> None:
        if dataclasses.is_dataclass(hint) and hint not in seen:
            seen.add(hint)  # type: ignore[arg-type]
            for each in hints(hint).values():  # type: ignore[arg-type]
                nested(each, seen)
        for part in getattr(hint, "__args__", ()):
            nested(part, seen)

    for kind in KINDS.values():
        below: set[type] = set()
        for hint in hints(kind.params).values():
            nested(hint, below)
        assert [f"{c.__name__}.{f.name}" for c in below for f in dataclasses.fields(c) if not f.compare] == []


def test_every_step_of_the_corpus_comes_back_from_the_store(tmp_path: Path) -> None:
    seen: set[str] = set()
    for spec in sorted((CONFORMANCE / "specs").glob("*.yml")):
        options = offline(spec, tmp_path / "cache", tmp_path / "out", formats=("kernel+initrd", "tar", "oci"))
        run(options)
        prepared = prepare(options, lambda _: None, Registry(RegistryOptions()))
        try:
            session = prepared.session
            for step in session.graph.steps:
                key = session.key(step.name)
                assert key is not None
                recorded = recorded_step(session.place.store, key)
                assert recorded is not None, step.name
                again = RecordedStep.decode(recorded.encode())
                assert again == recorded
                assert again.key == key
                assert recorded.step().params == step.params
                inputs = {i.role: Blob(i.digest, i.size) for i in recorded.inputs}
                assert key_of(recorded.step(), inputs) == key
                assert all(session.place.store.has(blob) for blob in inputs.values()), "sizes are right"
                seen.add(step.kind)
        finally:
            prepared.close()
    assert seen >= {"pull", "kernel", "modules", "boot", "tree", "bundle", "files", "apk-database", "initrd", "tar"}


DIGESTS = st.binary(max_size=8).map(Digest.of)
REFERENCES = st.sampled_from(["nginx", "ghcr.io/a/b:1", f"localhost:5000/x@{ONE}", f"a/b:t@{TWO}"]).map(Reference.parse)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_a_step_of_any_kind_comes_back(kind: Kind, data: st.DataObject) -> None:
    st.register_type_strategy(Digest, DIGESTS)
    st.register_type_strategy(Reference, REFERENCES)
    params = data.draw(st.from_type(kind.params))
    digests = data.draw(st.dictionaries(st.text(max_size=3), st.tuples(DIGESTS, st.integers(0, 1 << 62)), max_size=3))
    inputs = tuple(Input(role, blob=digest, size=size) for role, (digest, size) in digests.items())
    step = Step("a step", kind.name, params, inputs)
    recorded = RecordedStep.of(step, digests)
    again = RecordedStep.decode(recorded.encode()).step()
    assert (again, [i.size for i in again.inputs]) == (step, [i.size for i in inputs])
    others = [f.name for f in dataclasses.fields(params) if not f.compare]
    assert [getattr(again.params, name) for name in others] == [getattr(params, name) for name in others]
    assert recorded.key == key_of(step, {role: Blob(*found) for role, found in digests.items()})


def test_a_step_can_be_made_again_from_its_key_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    result = carry_out(store, "text", Text("hello"), {})
    (path,) = (store.root / "steps").glob("??/*")
    key = Digest.parse(f"sha256:{path.name}")
    store.result_path(key).unlink()
    store.drop(result["text"].digest)
    recorded = recorded_step(store, key)
    assert recorded is not None
    place = Place(store, NoWayOut(), lambda _: None)
    assert execute(recorded.step(), {i.role: Blob(i.digest, i.size) for i in recorded.inputs}, place) == result
    assert store.result(key) == result


# -- what is refused ---------------------------------------------------------------------------------------------------

DOCUMENT = json.loads(STEP.encode())

WRONG = {
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"kind": "\xff"',
    **{
        f"without {name}": json.dumps({k: v for k, v in DOCUMENT.items() if k != name}).encode() for name in DOCUMENT
    },
    **{
        why: json.dumps({**DOCUMENT, **change}).encode()
        for why, change in {
            "one member too many": {"more": 1},
            "a version that is true": {"version": True},
            "inputs of another shape": {"inputs": [["file"]]},
            "an input that is no digest": {"inputs": [["file", "sha256:../../etc"]]},
            "a role twice": {"inputs": [["a", str(ONE)], ["a", str(ONE)]], "sizes": [1, 1]},
            "a size too few": {"sizes": []},
            "a negative size": {"sizes": [-1]},
            "a size that is true": {"sizes": [True]},
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_step_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        RecordedStep.decode(data)


UNKNOWN = {
    "another kind": ({"kind": "nope"}, "no steps of kind"),
    "another version": ({"version": 77}, "version 1 here, and this one 77"),
    "a field too many": ({"params": {"text": "", "x": 1}}, "has the fields text"),
    "a field of another type": ({"params": {"text": 1}}, r"params\.text: found 1, wanted str"),
    "a field missing": ({"params": {}}, "text is missing"),
    "a keyed field among the others": ({"params": {}, "unkeyed": {"text": "a"}}, "has the fields text"),
    "a field twice": ({"unkeyed": {"text": "a"}}, "given twice"),
    "an unkeyed field that is none": ({"unkeyed": {"y": "a"}}, "no field 'y'"),
}


@pytest.mark.parametrize(("change", "words"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_this_lkbuild_cannot_carry_out_is_refused(change: dict[str, object], words: str) -> None:
    recorded = RecordedStep.decode(json.dumps({**DOCUMENT, **change}).encode())
    with pytest.raises(ValueError, match=words):
        recorded.step()


def test_a_damaged_or_exchanged_record_is_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    carry_out(store, "text", Text("hello"), {})
    (path,) = (store.root / "steps").glob("??/*")
    key = Digest.parse(f"sha256:{path.name}")
    whole = path.read_bytes()
    for length in (0, 5, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="is no step"):
            recorded_step(store, key)
    other = Digest.of(b"other")
    store.step_path(other).parent.mkdir(exist_ok=True)
    store.step_path(other).write_bytes(whole)
    with pytest.raises(StoreError, match="the step of another key"):
        recorded_step(store, other)
    assert recorded_step(store, ONE) is None


# -- any value ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    name: str
    number: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Everything:
    text: str
    flag: bool
    raw: bytes
    digest: Digest
    choice: Literal["a", "b"]
    maybe: int | None
    either: int | str
    pair: tuple[str, bool]
    parts: tuple[Part, ...]
    lists: tuple[tuple[str, int], ...] | None
    part: Part | None


PARTS = st.builds(Part, st.text(), st.integers())
EVERYTHING = st.builds(
    Everything,
    text=st.text(st.characters(codec=None), max_size=5),
    flag=st.booleans(),
    raw=st.binary(max_size=5),
    digest=st.binary().map(Digest.of),
    choice=st.sampled_from(["a", "b"]),
    maybe=st.none() | st.integers(),
    either=st.integers() | st.text(),
    pair=st.tuples(st.text(), st.booleans()),
    parts=st.lists(PARTS, max_size=3).map(tuple),
    lists=st.none() | st.lists(st.tuples(st.text(), st.integers()), max_size=3).map(tuple),
    part=st.none() | PARTS,
)


@given(EVERYTHING)
def test_any_value_comes_back(value: Everything) -> None:
    assert typed(Everything, json.loads(json.dumps(plain(value)))) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([f.name for f in dataclasses.fields(Everything)]))
def test_anything_else_is_a_plain_error(junk: object, name: str) -> None:
    good = plain(Everything("", True, b"", ONE, "a", None, 1, ("", True), (), None, None))
    try:
        value = typed(Everything, {**good, name: junk})
    except ValueError:
        return
    assert plain(value) == {**good, name: junk}, "what is taken is exactly what stands there"


def test_a_kind_need_not_be_ours_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "text", Kind("text", 2, Text))
    assert RecordedStep.decode(STEP.encode()) == STEP
    with pytest.raises(ValueError, match="version 2 here, and this one 1"):
        STEP.step()


def test_params_of_a_step_with_files_come_back() -> None:
    step = Step("files:x", "files", Files(()), (Input("file0", blob=ONE, size=1),))
    assert RecordedStep.of(step, {"file0": (ONE, 1)}).step() == step
