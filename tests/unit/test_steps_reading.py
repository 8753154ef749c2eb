"""Steps that work through many bytes tell how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lkbuild.engine.events import Event, Progressed
from lkbuild.engine.execute import Place, execute
from lkbuild.packages.params import DebianLayer, LayerEntry, PackageLayer
from lkbuild.plan.kinds import Modules, Tree
from lkbuild.plan.step import Input, Step
from lkbuild.store import Blob, Store
from tests.support.layouts import content, layer
from tests.support.steps import NoWayOut
from tests.unit.debs import make_deb, needs_dpkg

BODY = content("body", 3 << 20)


def progress(store: Store, kind: str, params: Any, inputs: dict[str, Blob]) -> list[tuple[int, int]]:
    events: list[Event] = []
    roles = tuple(Input(role, blob=blob.digest, size=blob.size) for role, blob in inputs.items())
    execute(Step("x", kind, params, roles), inputs, Place(store, NoWayOut(), events.append))
    return [(event.done, event.total) for event in events if isinstance(event, Progressed)]


def layers(store: Store, count: int) -> dict[str, Blob]:
    return {f"layer{n}": store.add(layer({f"file{n}": BODY}.items())) for n in range(count)}


@pytest.mark.parametrize("count", [1, 2])
def test_a_tree_tells_how_much_of_its_layers_is_read(tmp_path: Path, count: int) -> None:
    store = Store.open(tmp_path / "cache")
    inputs = layers(store, count)
    total = sum(blob.size for blob in inputs.values())
    seen = progress(store, "tree", Tree("a"), inputs)
    assert seen[-1] == (total, total)
    assert {all_of_it for _, all_of_it in seen} == {total}
    assert sorted(seen) == seen


@needs_dpkg
def test_modules_and_packages_tell_it_too(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    tar = store.add(layer({"lib/modules/x": BODY}.items()))
    assert progress(store, "modules", Modules(), {"tar": tar})[-1] == (tar.size, tar.size)
    package = store.add(make_deb(tmp_path, "a", {"usr/bin/a": content("a", 1 << 20).hex()}).read_bytes())
    (done, total) = progress(store, "debian-layer", DebianLayer(), {"deb0": package})[-1]
    assert total == package.size
    assert 0 < done < total, "the package's control file was read before"
    file = store.add(BODY)
    entries = (LayerEntry("usr/a", "file", 0o644),)
    assert progress(store, "package-layer", PackageLayer(entries), {"file0": file})[-1] == (file.size, file.size)
