"""A kind of step whose bytes change must change its version: what each kind makes of inputs that never change.

Where a cache has a result of the kind, nobody makes it again; so other bytes under an old version would never reach
those who have built before, and two people would have two machines of one spec.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lkbuild import tools
from lkbuild.engine.audit import FETCHED
from lkbuild.errors import ToolError
from lkbuild.plan.kinds import KINDS
from tests.support.golden import LIBRARIES, TABLE, Case, Made, read_table, write_table
from tests.support.golden_cases import fresh

LIBRARIES_THEN, CASES = read_table() if TABLE.exists() else ({}, ())
UPDATE = "pytest tests/unit/test_golden_steps.py --update-golden"


def advice(case: Case, now: Made, libraries: bool) -> str:
    """What is wrong with what a case makes now, and what to do; empty where all is well.

    `libraries`: those that compress are the table's; otherwise only what is in compressed outputs counts.
    """
    kind, version = case.step.kind, KINDS[case.step.kind].version
    if version != case.step.version:
        return f"{kind} has version {version} now, and the table {case.step.version}: write the table anew, {UPDATE}"
    other = sorted(
        name
        for name in case.outputs.keys() | now.keys()
        if name not in now
        or name not in case.outputs
        or (case.outputs[name] != now[name] if libraries or not now[name][1] else case.outputs[name][1] != now[name][1])
    )
    if not other:
        return ""
    return (
        f"{kind} (version {version}) makes another {', '.join(other)} of the same params and inputs"
        f" ({case.step.name}). If that is meant, raise the kind's version in lkbuild/plan/kinds.py to {version + 1}"
        f" and write the table anew, {UPDATE}. If it is not meant, it is a bug: caches would hold both."
    )


def skip_other_program(case: Case) -> None:
    if case.step.kind == "squashed-root":
        try:
            there = tools.mksquashfs().version
        except ToolError as error:
            pytest.skip(error.message)
        if there != case.step.params["version"]:
            pytest.skip(f"the case is of mksquashfs {case.step.params['version']}, and {there} is installed")


def test_update(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With --update-golden: cases of kinds whose version went up are made anew, and new ones are added.

    A case whose kind has the version it had stays as it is, whatever it makes now.
    """
    if not request.config.getoption("--update-golden"):
        pytest.skip("only with --update-golden")
    new, blobs = fresh(tmp_path)
    names = {case.name for case in new}
    kept: dict[str, Case] = {}
    for number, case in enumerate(CASES):
        kind = KINDS.get(case.step.kind)
        if kind is None:
            continue
        step = dataclasses.replace(case.step, version=kind.version)
        try:
            step.step()
        except ValueError:
            continue  # It takes other params now: the fresh case takes its place.
        if kind.version != case.step.version:
            if case.name in names:
                continue  # It may take other inputs now: the fresh case takes its place.
            now = case.make(tmp_path / f"again{number}", kind.version)
            case = dataclasses.replace(case, step=step, outputs=now)
        kept[case.name] = case
    for case in new:
        kept.setdefault(case.name, case)
    write_table(kept.values(), blobs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kind_makes_what_it_made(case: Case, tmp_path: Path) -> None:
    skip_other_program(case)
    try:
        now = case.make(tmp_path, KINDS[case.step.kind].version)
    except ValueError as error:
        pytest.fail(
            f"{case.step.kind} takes other params now ({error}), which are other keys: write the table, {UPDATE}"
        )
    problem = advice(case, now, LIBRARIES_THEN == LIBRARIES)
    assert not problem, problem


def test_every_kind_has_a_case() -> None:
    """But those that only fetch, whose digests are in their params, and images the Docker daemon builds."""
    missing = KINDS.keys() - FETCHED - {case.step.kind for case in CASES}
    assert missing == set(), f"add a case to tests/support/golden_cases.py, then {UPDATE}"


def test_what_is_said_of_other_bytes() -> None:
    case = next(case for case in CASES if case.step.kind == "text")
    assert advice(case, case.outputs, True) == ""
    said = advice(case, {"text": ("sha256:" + "0" * 64, "")}, True)
    assert "raise the kind's version in lkbuild/plan/kinds.py to 2" in said
    old = dataclasses.replace(case, step=dataclasses.replace(case.step, version=0))
    assert "write the table anew" in advice(old, case.outputs, True)
    packed = {"text": (case.outputs["text"][0], "inner")}
    other = dataclasses.replace(case, outputs={"text": ("sha256:" + "1" * 64, "inner")})
    assert advice(other, packed, False) == "", "another zlib may pack the same otherwise"
    assert advice(other, packed, True) != ""
