"""Fetching: once however many want it, and what was asked for or nothing."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.engine.events import Event
from lkbuild.engine.execute import Place, execute
from lkbuild.errors import ImageError, LkbuildError, StepError
from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import Pull, PullLayer
from lkbuild.plan.step import Step
from lkbuild.reference import Reference
from lkbuild.steps.functions import FUNCTIONS
from lkbuild.steps.work import Progress, Work
from lkbuild.store import Blob, Store
from tests.support.steps import NoWayOut, carry_out

BASE = b"base" * 1000
SOMEWHERE = Reference.parse("some/image:1")


class Shelf(NoWayOut):
    """A registry that has blobs, and counts how often each is fetched; `slowly` in seconds."""

    def __init__(self, *blobs: bytes, slowly: float = 0, wrong: bytes | None = None) -> None:
        self.blobs = {Digest(name, hashlib.new(name, b).hexdigest()): b for b in blobs for name in ("sha256", "sha512")}
        self.fetched: Counter[Digest] = Counter()
        self.slowly, self.wrong = slowly, wrong

    def fetch_layer(self, reference: Reference, blob: Blob, into: Path, progress: Progress) -> None:
        self.fetched[blob.digest] += 1
        time.sleep(self.slowly)
        into.write_bytes(self.blobs[blob.digest] if self.wrong is None else self.wrong)

    def fetch_file(self, uri: str, blob: Blob, into: Path, progress: Progress) -> None:
        self.fetch_layer(SOMEWHERE, blob, into, progress)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def wanted(*layers: bytes) -> Pull:
    return Pull(tuple(PullLayer(Digest.of(layer), len(layer)) for layer in layers), SOMEWHERE)


def test_two_images_at_once_fetch_the_layer_they_share_once(store: Store) -> None:
    shelf = Shelf(BASE, b"one", b"two", slowly=0.2)
    threads = [
        threading.Thread(target=carry_out, args=(store, "pull", wanted(BASE, top), {}, shelf))
        for top in (b"one", b"two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(shelf.fetched.values()) == {1}
    assert all(store.has(Blob(Digest.of(data), len(data))) for data in (BASE, b"one", b"two"))
    assert not list((store.root / "partial").iterdir())


def test_a_layer_that_is_there_twice_is_fetched_once(store: Store) -> None:
    shelf = Shelf(BASE, b"one")
    result = carry_out(store, "pull", wanted(BASE, b"one", BASE), {}, shelf)
    assert result["layer0"] == result["layer2"] == Blob(Digest.of(BASE), len(BASE))
    assert set(shelf.fetched.values()) == {1}


def test_what_the_store_has_is_neither_fetched_nor_linked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard link to a file of another user is refused where protected_hardlinks is on (proc(5))."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    there = store.add(BASE)
    before = store.path(there.digest).stat()
    assert carry_out(store, "pull", wanted(BASE, BASE), {})["layer1"] == there
    assert carry_out(store, "deb", DebFile(there.digest, there.size), {})["deb"] == there
    after = store.path(there.digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_sha512_layer_is_kept_under_its_digest(store: Store) -> None:
    digest = Digest("sha512", hashlib.sha512(BASE).hexdigest())
    params = Pull((PullLayer(digest, len(BASE)),), SOMEWHERE)
    assert carry_out(store, "pull", params, {}, Shelf(BASE))["layer0"] == Blob(digest, len(BASE))
    assert store.has(Blob(digest, len(BASE)))


@pytest.mark.parametrize("kind", ["pull", "deb"])
def test_other_bytes_are_refused_and_thrown_away(store: Store, kind: str) -> None:
    params = wanted(b"good") if kind == "pull" else DebFile(Digest.of(b"good"), 4, "http://debian.test/x.deb")
    with pytest.raises(ImageError, match="not what it should be"):
        carry_out(store, kind, params, {}, Shelf(wrong=b"evil"))
    assert not list((store.root / "partial").iterdir())
    assert carry_out(store, kind, params, {}, Shelf(b"good")).outputs[0][1] == Blob(Digest.of(b"good"), 4)


def test_a_size_that_is_not_the_layers_is_refused(store: Store) -> None:
    params = Pull((PullLayer(Digest.of(b"good"), 5),), SOMEWHERE)
    with pytest.raises(ImageError, match=r"has 4 bytes, and .* says 5"):
        carry_out(store, "pull", params, {}, Shelf(b"good"))


def other(params: object, work: Work) -> None:
    work.output("layer0").write_bytes(b"evil")


def claimed(params: object, work: Work) -> None:
    work.made["layer0"] = Blob(Digest.of(b"good"), 4)


def more(params: object, work: Work) -> None:
    claimed(params, work)
    work.store.add(b"good")
    work.output("layer1").write_bytes(b"more")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (other, "layer0: got sha256:.* of 4 bytes, want"),
        (claimed, "layer0: .* is gone from the cache"),
        (more, "layer1: got sha256:.*, want nothing"),
        (lambda params, work: None, "layer0: got nothing, want"),
    ],
)
def test_a_step_that_says_what_it_makes_makes_that(
    store: Store, monkeypatch: pytest.MonkeyPatch, function: object, message: str
) -> None:
    monkeypatch.setitem(FUNCTIONS, "pull", function)  # type: ignore[arg-type]
    events: list[Event] = []
    step = Step("pull:some/image:1", "pull", wanted(b"good"))
    with pytest.raises(StepError, match=message) as caught:
        execute(step, {}, Place(store, NoWayOut(), events.append))
    assert isinstance(caught.value, LkbuildError)
    assert caught.value.message.startswith("pull:some/image:1: ")
    assert not list((store.root / "results").rglob("*/*")), "nothing is recorded"
