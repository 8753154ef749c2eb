"""Every kind of step has its function, which is loaded when it is first asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lkbuild.plan.kinds import KINDS
from lkbuild.steps.functions import FUNCTIONS


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"toy"}))
def test_every_kind_has_a_function(kind: str) -> None:
    assert callable(FUNCTIONS[kind])


def test_another_has_none() -> None:
    with pytest.raises(KeyError):
        FUNCTIONS["no such kind"]


def test_what_no_step_needs_is_not_loaded() -> None:
    ask = "import sys, lkbuild.engine.execute, lkbuild.cli.project as p; p.registry(); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert {"lkbuild.steps.tree", "lkbuild.sources.registry", "urllib3", "lkbuild.trust.judge"}.isdisjoint(loaded)
