"""Recipes as JSON: in canonical form, read back piece by piece, and nothing else taken for one."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest, canonical
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.errors import StoreError
from lkbuild.store.recipe import Recipe

DIGESTS = st.sampled_from([Digest.of(b"one"), Digest.of(b"two"), Digest("sha512", "ab" * 64)])
SIZES = st.integers(1, 1 << 60)
LONG = st.sampled_from([30_000, 32_765, 32_768, 65_536, 65_537, 200_001]).map(lambda size: bytes(size - 1) + b"x")
EXTENTS = st.one_of(
    st.builds(Data, st.binary(min_size=1, max_size=40)),
    st.builds(Data, LONG),
    st.builds(Zeros, SIZES),
    st.builds(Slice, DIGESTS, SIZES, SIZES),
)


def plain(extent: Extent) -> object:
    match extent:
        case Data(data):
            return ["data", data.hex()]
        case Zeros(length):
            return ["zeros", length]
        case Slice(digest, offset, length):
            return ["slice", str(digest), offset, length]


@settings(deadline=None)
@given(st.lists(EXTENTS, max_size=12), st.integers(1, 3000))
def test_recipes_are_canonical_and_come_back(extents: list[Extent], times: int) -> None:
    recipe = Recipe.of([*extents, *extents[:1] * (times if extents and not isinstance(extents[0], Data) else 1)])
    data = recipe.encode()
    assert data == canonical([plain(extent) for extent in recipe.extents])
    assert Recipe.decode(data) == recipe
    assert Recipe.read(io.BytesIO(data)) == recipe


def test_equal_digests_are_one_object() -> None:
    first, second = Recipe.decode(Recipe((Slice(Digest.of(b""), 0, 1), Slice(Digest.of(b""), 5, 1))).encode()).extents
    assert isinstance(first, Slice) and isinstance(second, Slice) and first.digest is second.digest


def test_other_spellings_of_json_are_read_too() -> None:
    recipe = Recipe((Zeros(5), Slice(Digest.of(b""), 1, 2), Data(b"ab")) * 10_000)
    text = json.dumps([plain(extent) for extent in recipe.extents], indent=1)
    assert Recipe.decode(text.encode()) == recipe


LONG_DATA = b'[["data","' + b"00" * 200_000


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[", b"]", b"{}", b"[[", b"[[]]", b'[["zeros",-1]]', b'[["zeros",1],]', b'[["zeros",1]', b'["zeros",1]',
        b'[["data","0"]]', b'[["data",5]]', b'[["slice","sha256:00",0,1]]', b"[1]", b"\xff", b'[["zeros",1]]]',
        LONG_DATA, LONG_DATA + b'"', LONG_DATA + b'"]', LONG_DATA + b'x"]]', LONG_DATA + b'0"]]', LONG_DATA + b'",1]]',
        LONG_DATA + b'"],5]', LONG_DATA + b'"],["zeros"]]', LONG_DATA + b'"]]]',
    ],
    ids=lambda data: f"{len(data)} bytes, {data[-12:]!r}",
)  # fmt: skip
def test_what_is_no_recipe(data: bytes) -> None:
    with pytest.raises(StoreError, match="not a recipe"):
        Recipe.decode(data)
