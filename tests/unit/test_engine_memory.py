"""What the store remembers of registries and apt is given back whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lkbuild.digest import Digest
from lkbuild.engine.memory import Memory, debian_key, image_key, images_key
from lkbuild.engine.stamp import signature
from lkbuild.oci.image import Platform
from lkbuild.packages.debian import Deb, DebianRequest
from lkbuild.reference import Reference
from lkbuild.sources import Images, open_path
from lkbuild.store import Result, Store
from tests.support.building import IMAGES

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
REQUEST = DebianRequest("amd64", ("tini",))
DEB = Deb("tini", "1", "amd64", Digest.of(b"tini"), 4, "http://deb.invalid/tini.deb")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def found(name: str, platforms: tuple[Platform, ...] = ()) -> Images:
    answer = open_path(IMAGES, IMAGES).resolve_index(Reference.parse(name), platforms)
    assert isinstance(answer, Images)
    return answer


@pytest.mark.parametrize("name", ["conf/base:1", "conf/zstd:1", "conf/layers:1"])
def test_images_come_back_as_they_were(store: Store, name: str) -> None:
    images = found(name)
    key = images_key(images.reference, ())
    assert Memory(store).images(key, images.reference) is None
    Memory(store).keep_images(key, images)
    assert Memory(store).images(key, images.reference) == images


def test_every_index_comes_back(store: Store) -> None:
    name = "conf/multi:1"
    whole = found(name, (AMD64,))
    assert whole.documents
    key = images_key(whole.reference, (AMD64,))
    Memory(store).keep_images(key, whole)
    again = Memory(store).images(key, whole.reference)
    assert again == whole
    assert again.root == whole.root


def test_keys_differ_by_all_that_was_asked() -> None:
    one, two = Reference.parse("a:1"), Reference.parse("a:2")
    keys = [
        image_key(one, AMD64),
        image_key(two, AMD64),
        image_key(one, ARM64),
        images_key(one, ()),
        images_key(one, (AMD64,)),
        images_key(one, (AMD64, ARM64)),
        images_key(two, ()),
        debian_key(REQUEST),
        debian_key(DebianRequest("arm64", ("tini",))),
    ]
    assert len(set(keys)) == len(keys)


def test_debian_packages_come_back(store: Store) -> None:
    Memory(store).keep_debs(debian_key(REQUEST), (DEB,))
    assert Memory(store).debs(debian_key(REQUEST)) == (DEB,)


WRONG: dict[str, object] = {
    "no JSON": None,
    "another shape": {"name": "tini"},
    "a list of other things": [1],
    "a field is missing": [{"name": "tini"}],
    "no digest": [{**dict.fromkeys(("name", "version", "architecture", "uri", "digest"), "x"), "size": 1}],
    "no size": [{"name": "t", "version": "1", "architecture": "a", "uri": "u", "digest": str(DEB.digest), "size": "1"}],
}


@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
def test_what_is_not_understood_counts_as_absent(store: Store, document: object) -> None:
    text = b"{" if document is None else json.dumps(document).encode()
    blob = store.add(text)
    reference = Reference.parse("a:1")
    for key, result in (
        (debian_key(REQUEST), Result((("debs", blob),))),
        (image_key(reference, AMD64), Result((("facts", blob),))),
    ):
        store.record(key, result)
    assert Memory(store).debs(debian_key(REQUEST)) is None
    assert Memory(store).images(image_key(reference, AMD64), reference) is None
    store.record(debian_key(REQUEST), Result(()))
    assert Memory(store).debs(debian_key(REQUEST)) is None


def test_an_image_that_is_none_counts_as_absent(store: Store) -> None:
    images = found("conf/base:1")
    key = images_key(images.reference, ())
    Memory(store).keep_images(key, images)
    result = store.recorded(key)
    assert result is not None
    junk = store.add(b"junk")
    store.record(key, Result(tuple((n, junk if n == "manifest0" else blob) for n, blob in result.outputs)))
    assert Memory(store).images(key, images.reference) is None


def test_the_record_is_signed_as_it_was_when_it_was_read(store: Store) -> None:
    key = debian_key(REQUEST)
    mine, other = Memory(store), Memory(store)
    mine.keep_debs(key, (DEB,))
    path, seen = mine.record(key)
    assert seen == signature(str(path))
    other.keep_debs(key, ())
    assert mine.record(key) == (path, seen)
    assert seen != signature(str(path)), "a stamp that names it does not hold"


def test_a_record_that_is_not_what_was_used_vouches_for_nothing(store: Store) -> None:
    key, memory = debian_key(REQUEST), Memory(store)
    memory.keep_debs(key, (DEB,))
    memory.used(key, Result(()))
    path, seen = memory.record(key)
    assert seen not in (signature(str(path)), [])
    assert Memory(store).record(key)[1] not in (signature(str(path)), []), "nor does one nobody read"
