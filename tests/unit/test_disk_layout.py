"""Extents: put, joined, cut, read, and found to be more than zeros."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.disk.extents import Data, Extent, Slice, Zeros
from lkbuild.disk.identity import derived_guid, derived_number, guid, mixed_endian
from lkbuild.disk.layout import Disk, Layout, Ranges, blocks, joined, read, total
from lkbuild.disk.limits import largest, size_text, too_large
from lkbuild.errors import StoreError
from tests.unit.disk_images import Blobs, noise

BLOB = noise(200)
BLOBS = Blobs()
BLOBS.add(BLOB)
DIGEST = Digest.of(BLOB)

extents = st.lists(
    st.one_of(
        st.binary(max_size=40).map(Data),
        st.integers(0, 40).map(lambda n: Data(bytes(n))),
        st.integers(0, 60).map(Zeros),
        st.tuples(st.integers(0, 150), st.integers(0, 50)).map(lambda t: Slice(DIGEST, *t)),
    ),
    max_size=12,
)


@given(extents)
def test_joining_changes_no_byte_and_leaves_nothing_to_join(given: list[Extent]) -> None:
    made = joined(given)
    assert BLOBS.bytes(made) == BLOBS.bytes(given)
    assert joined(made) == made
    assert all(e.length for e in made)
    assert not any(isinstance(a, Zeros) and isinstance(b, Zeros) for a, b in itertools.pairwise(made))


@given(extents, st.integers(0, 300), st.integers(0, 300))
def test_a_range_is_what_slicing_the_bytes_gives(given: list[Extent], offset: int, length: int) -> None:
    whole = BLOBS.bytes(given)
    assert BLOBS.bytes(Ranges(given).cut(offset, length)) == whole[offset : offset + length].ljust(length, b"\0")


@given(extents, st.sampled_from([1, 4, 16, 64]))
def test_units_that_are_not_used_hold_zeros_only(given: list[Extent], unit: int) -> None:
    whole = BLOBS.bytes(given)
    runs = list(Ranges(given).used(unit))
    used = {number for first, count in runs for number in range(first, first + count)}
    assert runs == sorted(runs)
    assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(runs))
    for number in range(-(-len(whole) // unit)):
        assert number in used or not any(whole[number * unit : (number + 1) * unit])


@given(extents, st.sampled_from([4, 16, 64]))
def test_blocks_are_all_that_is_not_zero(given: list[Extent], unit: int) -> None:
    whole = BLOBS.bytes(given)
    made = bytearray(-(-len(whole) // unit) * unit)
    for number, block in blocks(Ranges(given), unit, BLOBS.open):
        assert any(block)
        made[number * unit : (number + 1) * unit] = block
    assert bytes(made) == whole.ljust(len(made), b"\0")


def test_what_is_put_stands_where_it_was_put() -> None:
    layout = Layout()
    layout.put(10, b"later")
    layout.put(2, [Slice(DIGEST, 5, 3)])
    layout.put(4, b"")
    made = layout.extents(20)
    assert BLOBS.bytes(made) == b"\0\0" + BLOB[5:8] + bytes(5) + b"later" + bytes(5)
    assert total(made) == 20


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        pytest.param(3, 20, id="overlaps what stands before it"),
        pytest.param(18, 20, id="goes beyond the end"),
    ],
)
def test_what_does_not_fit_is_a_mistake_of_the_caller(offset: int, size: int) -> None:
    layout = Layout()
    layout.put(0, b"1234")
    layout.put(offset, b"5678")
    with pytest.raises(ValueError, match="do not fit"):
        layout.extents(size)


def test_a_blob_that_ends_too_early_is_an_error() -> None:
    with pytest.raises(StoreError, match="ends 50 bytes too early"):
        list(read([Slice(DIGEST, 100, 150)], BLOBS.open))


def test_a_disk_is_a_value() -> None:
    assert Disk((Zeros(5),), 5, BLOBS.open) == Disk((Zeros(5),), 5, BLOBS.open)


def test_identifiers_depend_on_seed_and_purpose_alone() -> None:
    assert derived_guid(b"a", "disk") == derived_guid(b"a", "disk")
    assert len({derived_guid(s, p) for s in (b"a", b"b") for p in ("disk", "partition 0")}) == 4
    assert derived_guid(b"a", "disk")[6] >> 4 == 8
    assert derived_guid(b"a", "disk")[8] >> 6 == 2
    assert 0 < derived_number(b"a", "x") < 0xFFFFFFFF


def test_a_guid_changes_its_first_three_groups() -> None:
    raw = guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    assert mixed_endian(raw).hex() == "28732ac11ff8d211ba4b00a0c93ec93b"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (99_999, "99999 bytes"),
        (100_000, "100.0 kB (100000 bytes)"),
        (110_612_345, "110.6 MB (110612345 bytes)"),
        (5_000_000_000_000, "5.0 TB (5000000000000 bytes)"),
    ],
)
def test_sizes_are_for_people_and_for_comparing(size: int, text: str) -> None:
    assert size_text(size) == text


def test_the_largest_parts_are_named_first() -> None:
    parts = [("a", 1), ("initrd", 300), ("kernel", 200), ("z", 2)]
    assert largest(parts, 2) == "initrd 300 bytes, kernel 200 bytes"
    error = too_large("too much", parts, "less")
    assert error.message == "too much; the largest parts: initrd 300 bytes, kernel 200 bytes, z 2 bytes"
    assert error.hint == "less"
