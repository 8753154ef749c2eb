"""What the cache knows of the images a machine was made of: who brought their layers, and what made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lkbuild.archive.view import View
from lkbuild.digest import Digest
from lkbuild.engine.parts import Part
from lkbuild.plan.recorded import RecordedInput, RecordedStep
from lkbuild.report.images import Images, LaidImage
from lkbuild.report.layers import LayerReader
from lkbuild.store import Blob, Result, Store
from tests.support.layouts import layer

CONFIG = json.dumps({"history": [{"created_by": "FROM a"}, {"created_by": "RUN b"}]}).encode()
HISTORY = ["FROM a", "RUN b"]


def image(store: Store, bringers: list[tuple[str, RecordedStep, dict[str, bytes]]]) -> LaidImage | None:
    """The image of a tree of two layers, `layer0` and `layer1` of the steps' outputs."""
    state = dict[str, Digest]()
    layers = [store.add(data) for data in LAYERS]
    for name, step, outputs in bringers:
        made = tuple((role, store.add(data)) for role, data in outputs.items())
        store.record(step.key, Result(made), step.encode())
        state[name] = step.key
    inputs = tuple(RecordedInput(f"layer{n}", blob.digest, blob.size) for n, blob in enumerate(layers))
    tree = RecordedStep("tree", 3, {"prefix": "p/lower"}, inputs, "tree:services/web")
    nothing = Blob(Digest.of(b""), 0)
    store.record(tree.key, Result(()), tree.encode())
    state["tree:services/web"] = tree.key
    part = Part("tree:services/web", "services/web", nothing, nothing)
    return Images(state, LayerReader(store)).of(part)


LAYERS = [layer([("a", b"a")]), layer([("b", b"b")])]
WHOLE = {"layer0": LAYERS[0], "layer1": LAYERS[1]}


def step(kind: str, number: int = 0, **unkeyed: object) -> RecordedStep:
    return RecordedStep(kind, 1, {"number": number}, (), kind, unkeyed)


@pytest.mark.parametrize(
    ("bringers", "steps", "title", "history"),
    [
        ([("pull:x/web:1", step("pull", history=HISTORY), WHOLE)], ["pull:x/web:1"] * 2, "web:1", HISTORY),
        ([("pull:x/web:1", step("pull"), WHOLE)], ["pull:x/web:1"] * 2, "web:1", []),  # fetched before it was kept
        ([("pull:x/web:1", step("pull", history="RUN"), WHOLE)], ["pull:x/web:1"] * 2, "web:1", []),
        ([("pull:x/web:1", step("pull", history=["RUN"]), WHOLE)], ["pull:x/web:1"] * 2, "web:1", []),
        # A Dockerfile's image has its config with it.
        ([("dockerfile:web", step("dockerfile"), {**WHOLE, "config": CONFIG})], ["dockerfile:web"] * 2, "web", HISTORY),
        # A package's layers are made one by one.
        (
            [("debian:web", step("debian-layer"), {"layer": LAYERS[0]}),
             ("package:web", step("package-layer"), {"layer": LAYERS[1]})],
            ["debian:web", "package:web"], "web", [],
        ),
        # Another image with the same lowest layer says nothing of this one.
        (
            [("pull:base", step("pull", 1, history=["ADD"]), {"layer0": LAYERS[0]}),
             ("pull:x/web:1", step("pull", history=HISTORY), WHOLE)],
            ["pull:x/web:1"] * 2, "web:1", HISTORY,
        ),
        ([], ["", ""], "", []),  # nobody knows any more
    ],
)  # fmt: skip
def test_who_brought_the_layers_and_what_made_them(
    tmp_path: Path,
    bringers: list[tuple[str, RecordedStep, dict[str, bytes]]],
    steps: list[str],
    title: str,
    history: list[str],
) -> None:
    found = image(Store.open(tmp_path), bringers)
    assert found is not None
    assert (list(found.steps), found.title, list(found.history)) == (steps, title, history)
    assert found.laid is not None
    assert found.laid.view == View("p/lower", "container")
    assert found.laid.origin(b"p/lower/b") == ((1, 0), b"b")
    assert found.laid.origin(b"p/lower/none") == (None, b"none")
