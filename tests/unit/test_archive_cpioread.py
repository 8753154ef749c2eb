"""Reading cpio: what is no archive, or a hostile one, is an error that says where."""

from __future__ import annotations

import gzip
import io

import pytest

from lkbuild.archive.compress import open_compressed
from lkbuild.archive.cpio import TRAILER, header
from lkbuild.archive.cpioread import CpioReader
from lkbuild.archive.entry import Entry
from lkbuild.errors import ArchiveError


def names(data: bytes) -> list[bytes]:
    return [entry.path for entry in CpioReader([data])]


def member(path: bytes, data: bytes = b"", inode: int = 1, links: int = 1) -> bytes:
    head = header(Entry(path, "file", 0o644, size=len(data)), inode, links, len(data))
    return head + data + bytes(-len(data) % 4)


def zstd(data: bytes) -> bytes:
    raw = io.BytesIO()
    stream = open_compressed(raw, "zstd")
    stream.write(data)
    stream.close()
    return raw.getvalue()


GOOD = member(b"a", b"12345")


def replaced(at: int, text: bytes, data: bytes = GOOD) -> bytes:
    """The data with other bytes at a place."""
    return data[:at] + text + data[at + len(text) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "there is no archive"),
        (bytes(1000), "there is no archive"),
        (b"070701", "cut short"),
        (GOOD, "cut short"),  # no trailer
        (GOOD[:-6] + TRAILER, "no cpio header"),
        (GOOD + TRAILER + b"rubbish" * 100, "no cpio header"),
        (replaced(0, b"070707") + TRAILER, "no cpio header"),
        (replaced(54, b"+000000A") + TRAILER, "damaged cpio header"),
        (replaced(54, b" 000000A") + TRAILER, "damaged cpio header"),
        (replaced(54, b"FFFFFFFF") + TRAILER, "cut short"),
        (replaced(94, b"00000000") + TRAILER, "a name of 0 bytes"),
        (replaced(94, b"FFFFFFFF") + TRAILER, "a name of 4294967295 bytes"),
        (replaced(111, b"b") + TRAILER, "a name without an end"),
        (replaced(14, b"0000C1ED") + TRAILER, "of no kind that is known"),  # a socket
        (replaced(14, b"0000A1FF", member(b"a")) + TRAILER, "a link to 0 bytes"),
        (replaced(54, b"00000004", TRAILER), "a trailer with data"),
        (GOOD + TRAILER + gzip.compress(GOOD), "of what was compressed: the archive is cut short"),
        (GOOD + TRAILER + gzip.compress(GOOD + TRAILER)[:-3], "the gzip stream ends too early"),
        (GOOD + TRAILER + gzip.compress(GOOD + TRAILER + gzip.compress(GOOD, 0)), "no cpio header"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        names(data)


def test_archives_follow_each_other() -> None:
    """Plain ones and packed ones, in any order, as Linux takes them."""
    packed = gzip.compress(member(b"c") + TRAILER + bytes(7)) + bytes(5) + gzip.compress(member(b"d") + TRAILER)
    mixed = member(b"e") + TRAILER + zstd(member(b"f") + TRAILER) + gzip.compress(member(b"g") + TRAILER)
    plain = GOOD + TRAILER + bytes(300) + member(b"b") + TRAILER
    assert names(plain + packed + mixed + bytes(9)) == [bytes([letter]) for letter in b"abcdefg"]


@pytest.mark.parametrize("cut", range(5))
def test_what_follows_may_begin_anywhere_in_what_is_read(cut: int) -> None:
    """Reads of 256 KiB and 1 MiB end within the first bytes of what is not compressed."""
    packed = gzip.compress(GOOD + TRAILER)
    for unit in (256 << 10, 1 << 20):
        zeros = bytes(unit - len(packed) - cut)
        assert names(packed + zeros + member(b"b") + TRAILER) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ([(b"a", b"x"), (b"b", b""), (b"c", b"")], [(b"a", b""), (b"b", b"a"), (b"c", b"a")]),  # data first: ours
        ([(b"a", b""), (b"b", b""), (b"c", b"x")], [(b"c", b""), (b"a", b"c"), (b"b", b"c")]),  # data last: GNU's
        ([(b"a", b""), (b"b", b"")], [(b"a", b""), (b"b", b"a")]),  # an empty file
    ],
)
def test_names_of_one_inode(members: list[tuple[bytes, bytes]], wanted: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(member(path, body, 7, len(members)) for path, body in members)
    assert [(entry.path, entry.target) for entry in CpioReader([data + TRAILER])] == wanted


def test_numbers_of_inodes_mean_nothing_in_another_archive() -> None:
    one, other = member(b"a", b"x", 7, 2) + TRAILER, member(b"b", b"", 7, 2) + TRAILER
    assert [entry.kind for entry in CpioReader([one + other])] == ["file", "file"]


def test_contents_come_in_pieces() -> None:
    data = bytes(range(256)) * 20_000
    reader = CpioReader([gzip.compress(member(b"a", data) + GOOD + TRAILER)])
    found = [b"".join(map(bytes, reader.body())) for _ in reader]
    assert found == [data, b"12345"]
