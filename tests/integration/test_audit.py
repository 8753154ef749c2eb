"""`lkbuild audit`: results of a cache made again; wrong and damaged ones told, and the damaged dropped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.engine.audit import Sample, audit, every_key
from lkbuild.engine.events import Checked, nobody
from lkbuild.errors import UsageError
from lkbuild.store import Blob, Result, Store
from lkbuild.store.steps import recorded_step
from tests.integration.test_record import Machine, make

REPOSITORY = Path(__file__).parents[2]
ALL = Sample(100, percent=True)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = make(tmp_path)
    machine.build("kernel+initrd", "tar", sbom="spdx")
    return machine


def opened(machine: Machine) -> Store:
    return Store.open(machine.root / "cache")


def key_of_kind(store: Store, kind: str) -> Digest:
    for key in every_key(store):
        step = recorded_step(store, key)
        if step is not None and step.kind == kind:
            return key
    raise AssertionError(f"no result of a {kind}")


def outcomes(found: tuple[Checked, ...]) -> set[str]:
    return {each.outcome for each in found}


def run_audit(machine: Machine, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lkbuild", "audit", "--cache", "cache", *arguments],
        cwd=machine.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_sound_cache(machine: Machine) -> None:
    store = opened(machine)
    before = sorted(path for path in store.root.rglob("*") if path.is_file())
    found = audit(store, every_key(store), ALL, nobody)
    assert outcomes(found) == {"same"}
    assert {each.kind for each in found} >= {"tree", "bundle", "files", "initrd", "tar", "package-layer", "spdx"}
    assert not {"pull", "deb"} & {each.kind for each in found}
    after = sorted(path for path in store.root.rglob("*") if path.is_file())
    assert [path for path in after if path not in before and "verified" not in path.parts] == [], (
        "nothing is left behind"
    )


def test_a_result_that_its_step_does_not_make(machine: Machine) -> None:
    """What a faulty library, memory or a stranger put there: whole, believed, and wrong."""
    store = opened(machine)
    key = key_of_kind(store, "files")
    right = store.recorded(key)
    assert right is not None
    wrong = store.add(b"another segment")
    store.record(key, Result((("index", right["index"]), ("segment", wrong))))
    found = audit(store, every_key(store), ALL, nobody)
    (bad,) = [each for each in found if each.outcome == "differs"]
    assert (bad.key, bad.kind, bad.outputs) == (key.hex, "files", ("segment",))
    code, said = run_audit(machine, "--sample", "100%")
    assert code == 1
    assert f"({key.hex}) (segment): made again, it is another" in said
    code, said = run_audit(machine, "--sample", "100%", "--json")
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["outputs"] for line in lines if line["event"] == "checked" and line["outcome"] == "differs"] == [
        ["segment"]
    ]


def test_a_damaged_blob_is_dropped_and_made_again(machine: Machine) -> None:
    store = opened(machine)
    key = key_of_kind(store, "package-layer")
    result = store.recorded(key)
    assert result is not None
    path = store.path(result["layer"].digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, said = run_audit(machine, "--sample", "100%")
    assert (code, f"({key.hex})" in said, "was damaged, and is dropped" in said) == (1, True, True), said
    assert store.recorded(key) is None
    assert "package:own" in machine.build("tar", sbom="spdx", out="again").ran
    assert run_audit(machine, "--sample", "100%")[0] == 0


def test_a_damaged_record_of_a_step(machine: Machine) -> None:
    store = opened(machine)
    key = key_of_kind(store, "tree")
    path = store.step_path(key)
    path.write_bytes(path.read_bytes().replace(b"prefix", b"prefiy"))
    (bad,) = [each for each in audit(store, every_key(store), ALL, nobody) if each.outcome == "damaged"]
    assert "is no step that was written down" in bad.reason
    assert store.recorded(key) is None


def test_what_is_gone_cannot_be_made_again(machine: Machine) -> None:
    store = opened(machine)
    step = recorded_step(store, key_of_kind(store, "package-layer"))
    assert step is not None
    store.drop(step.inputs[0].digest)
    found = audit(store, every_key(store), ALL, nobody)
    assert [(each.kind, each.reason) for each in found if each.outcome == "skipped"] == [
        ("package-layer", "file0 is gone from the cache")
    ]


def test_of_one_spec(machine: Machine) -> None:
    options = ("--images", "layout", "--offline", "--sample", "100%", "--json")
    code, said = run_audit(machine, *options, "m.yml")
    assert code == 0, said
    checked = [json.loads(line) for line in said.splitlines() if '"checked"' in line]
    assert {line["step"].partition(":")[0] for line in checked} >= {"initrd", "tree", "bundle"}
    assert not [line for line in checked if line["kind"] == "tar"], "its default format is kernel+initrd"


def test_a_sample_is_the_same_every_time() -> None:
    keys = [Digest.of(bytes([n])) for n in range(100)]
    chosen = Sample.parse("10%").of(keys)
    assert (len(chosen), chosen) == (10, Sample.parse("10%").of(reversed(keys)))
    assert Sample.parse("10%", "another").of(keys) != chosen
    assert Sample.parse("3").of(keys) == chosen[:3]
    assert len(Sample.parse("1%").of(keys[:5])) == 1, "there is always one"
    for text in ("0", "101%", "-1", "x", "", "1.5"):
        with pytest.raises(UsageError):
            Sample.parse(text)


def test_an_empty_cache(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    assert audit(store, every_key(store), ALL, nobody) == ()
    assert Blob(Digest.of(b""), 0) == store.add(b"")
