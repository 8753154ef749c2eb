"""The tar reader against archives of others and hostile ones; the writer against tarfile and GNU tar."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.archive.entry import Entry, Kind
from lkbuild.archive.tar import TarReader
from lkbuild.archive.tarwrite import END_OF_ARCHIVE, header, padding
from lkbuild.errors import ArchiveError

GNU = b"ustar  \0"
POSIX = b"ustar\x0000"


def read(data: bytes, cut: int = 1000) -> list[tuple[Entry, bytes]]:
    tar = TarReader(data[at : at + cut] for at in range(0, len(data), cut))
    return [(entry, b"".join(bytes(piece) for piece in tar.body()) if entry.kind == "file" else b"") for entry in tar]


def padded(data: bytes) -> bytes:
    return data + padding(len(data))


def block(
    name: bytes, flag: bytes = b"0", size: int = 0, magic: bytes = POSIX, fields: dict[int, bytes] | None = None
) -> bytes:
    """A header made by hand; `fields` are laid over it at their offsets."""
    raw = bytearray(512)
    raw[0 : len(name)] = name
    raw[100:124] = b"0000644\0" + b"0000000\0" * 2
    raw[124:136] = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    raw[136:148] = b"%011o\0" % 10**9
    raw[156:157] = flag
    raw[257 : 257 + len(magic)] = magic
    for offset, value in (fields or {}).items():
        raw[offset : offset + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    data = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        length += len(str(length + len(str(length))))
        data += b"%d %s=%s\n" % (length, key, value)
    return block(b"pax", flag, len(data)) + padded(data)


def octal(*numbers: int) -> bytes:
    return b"".join(b"%011o\0" % number for number in numbers)


OLD_SPARSE = {386: octal(1024, 512, 4096, 0), 483: octal(4096)}
EXTENDED_SPARSE = {386: octal(0, 512, 1024, 512, 2048, 512, 3072, 512), 482: b"\1", 483: octal(10240)}
A, B = b"A" * 512, b"B" * 512
LONG = b"g" * 150
CAPABILITY = b"\x01\0\0\x02\0 \0\0\n\xff"

TRAPS = [
    ("non-UTF-8 name", block(b"latin-\xe9"), b"latin-\xe9", "file", b""),
    (
        "GNU long name",
        block(b"././@LongLink", b"L", 151, GNU) + padded(LONG + b"\0") + block(LONG[:99]),
        LONG,
        "file",
        b"",
    ),
    ("ustar prefix", block(b"name", fields={345: b"a/long/prefix"}), b"a/long/prefix/name", "file", b""),
    ("GNU magic has no prefix", block(b"name", magic=GNU, fields={345: octal(1)}), b"name", "file", b""),
    ("PAX path", pax((b"path", LONG)) + block(b"short"), LONG, "file", b""),
    ("PAX path that is no UTF-8", pax((b"path", b"\xe9/x")) + block(b"short"), b"\xe9/x", "file", b""),
    ("Solaris extended header", pax((b"path", LONG), flag=b"X") + block(b"short"), LONG, "file", b""),
    ("an empty PAX record says nothing", pax((b"path", b"")) + block(b"short"), b"short", "file", b""),
    ("global PAX", pax((b"comment", b"x"), (b"path", b"everyone"), flag=b"g") + block(b"n"), b"everyone", "file", b""),
    ("local over global", pax((b"path", b"g"), flag=b"g") + pax((b"path", b"l")) + block(b"n"), b"l", "file", b""),
    ("base-256 size", block(b"f", fields={124: b"\x80" + (512).to_bytes(11, "big")}) + A, b"f", "file", A),
    ("PAX size", pax((b"size", b"512")) + block(b"f") + A, b"f", "file", A),
    ("contiguous file", block(b"f", b"7", 512) + A, b"f", "file", A),
    ("unknown type", block(b"f", b"Q", 512) + A, b"f", "file", A),
    ("old type of a file", block(b"f", b"\0", 512, b"") + A, b"f", "file", A),
    ("old directory", block(b"d/", b"0"), b"d/", "directory", b""),
    ("GNU directory with its list", block(b"d/", b"D", 512, GNU) + A, b"d/", "directory", b""),
    ("hard link with a size", block(b"h", b"1", 512, fields={157: b"to"}), b"h", "hardlink", b""),
    ("volume label", block(b"label", b"V") + block(b"f"), b"f", "file", b""),
    ("blanks before numbers", block(b"f", fields={100: b"   644 \0"}), b"f", "file", b""),
    ("old GNU sparse", block(b"s", b"S", 512, GNU, OLD_SPARSE) + A, b"s", "file", bytes(1024) + A + bytes(2560)),
    (
        "old GNU sparse, continued",
        block(b"s", b"S", 2560, GNU, EXTENDED_SPARSE) + octal(8192, 512).ljust(512, b"\0") + A + B + A + B + A,
        b"s",
        "file",
        A + bytes(512) + B + bytes(512) + A + bytes(512) + B + bytes(8192 - 3584) + A + bytes(10240 - 8704),
    ),
    (
        "PAX sparse 0.0",
        pax((b"GNU.sparse.size", b"2048"), (b"GNU.sparse.numblocks", b"2"))[:-512]
        and pax(
            (b"GNU.sparse.size", b"2048"),
            (b"GNU.sparse.offset", b"0"),
            (b"GNU.sparse.numbytes", b"512"),
            (b"GNU.sparse.offset", b"1024"),
            (b"GNU.sparse.numbytes", b"512"),
        )
        + block(b"s", size=1024)
        + A
        + B,
        b"s",
        "file",
        A + bytes(512) + B + bytes(512),
    ),
    (
        "PAX sparse 0.1",
        pax((b"GNU.sparse.name", b"real"), (b"GNU.sparse.size", b"2048"), (b"GNU.sparse.map", b"512,512"))
        + block(b"GNUSparseFile.0/s", size=512)
        + A,
        b"real",
        "file",
        bytes(512) + A + bytes(1024),
    ),
    (
        "PAX sparse 1.0",
        pax(
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", b"real"),
            (b"GNU.sparse.realsize", b"2048"),
        )
        + block(b"x", size=1024)
        + padded(b"1\n512\n512\n")
        + A,
        b"real",
        "file",
        bytes(512) + A + bytes(1024),
    ),
]


@pytest.mark.parametrize(("archive", "path", "kind", "body"), [t[1:] for t in TRAPS], ids=[t[0] for t in TRAPS])
def test_traps(archive: bytes, path: bytes, kind: Kind, body: bytes) -> None:
    after = block(b"after", size=1) + padded(b"x")
    (entry, got), (last, x) = read(archive + after + END_OF_ARCHIVE)
    assert (entry.path, entry.kind, got) == (path, kind, body)
    if not archive.startswith(b"pax") or b"g" not in archive[156:157]:
        assert (last.path, x) == (b"after", b"x")
    assert len(read(archive + after + END_OF_ARCHIVE, cut=1 << 20)) == 2


@pytest.mark.parametrize(
    ("value", "mtime"), [(b"1.9", 1), (b"-1.5", -1), (b"1234567890.123456789", 1234567890), (b"-5", -5)]
)
def test_pax_times(value: bytes, mtime: int) -> None:
    assert read(pax((b"mtime", value)) + block(b"f") + END_OF_ARCHIVE)[0][0].mtime == mtime


def test_negative_base_256_time() -> None:
    assert read(block(b"f", fields={136: b"\xff" * 12}) + END_OF_ARCHIVE)[0][0].mtime == -1


def test_signed_checksums_of_old_programs() -> None:
    raw = bytearray(block(b"\xe9\xe9"))
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(struct.unpack("512b", raw))
    assert read(bytes(raw) + END_OF_ARCHIVE)[0][0].path == b"\xe9\xe9"


def test_xattrs_are_bytes() -> None:
    data = pax((b"SCHILY.xattr.security.capability", CAPABILITY), (b"SCHILY.xattr.user.a", b"1")) + block(b"f")
    assert read(data + END_OF_ARCHIVE)[0][0].xattrs == ((b"security.capability", CAPABILITY), (b"user.a", b"1"))


def test_a_file_of_nine_gigabytes() -> None:
    size = 9 << 30
    piece = bytes(1 << 20)

    def chunks():  # type: ignore[no-untyped-def]
        yield block(b"big", size=size)
        yield from (piece for _ in range(9 << 10))
        yield block(b"after") + END_OF_ARCHIVE

    assert [(e.path, e.size) for e in TarReader(chunks())] == [(b"big", size), (b"after", 0)]


FILE = block(b"f", size=600) + padded(b"x" * 600)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        pytest.param(b"", "cut short", id="nothing at all"),
        pytest.param(FILE, "cut short", id="no end of archive"),
        pytest.param(FILE[:700], "cut short", id="within a body"),
        pytest.param(FILE[:300], "cut short", id="within a header"),
        pytest.param(FILE + bytes(100), "cut short", id="within the end"),
        pytest.param(FILE + bytes(512) + FILE, "single zero block", id="a lone zero block"),
        pytest.param(b"y" + FILE[1:] + END_OF_ARCHIVE, "checksum", id="a flipped byte"),
        pytest.param(block(b"f", fields={124: b"\xff" * 12}) + END_OF_ARCHIVE, "member of -1", id="negative size"),
        pytest.param(block(b"f", fields={124: b"\x80\x7f" + b"\xff" * 10}), "member of", id="absurd size"),
        pytest.param(block(b"f", fields={108: b"abcdefg\0"}), "not a number", id="letters for a uid"),
        pytest.param(block(b"f", fields={100: b"0_0644\0"}), "not a number", id="an underscore that int() would take"),
        pytest.param(block(b"f", fields={108: b"\x80" + b"\xff" * 7}), "no Linux", id="a uid of 56 bits"),
        pytest.param(block(b"l", b"2"), "link to nothing", id="symlink without target"),
        pytest.param(block(b"x", b"x", 1 << 30), "extended header", id="PAX header of a gigabyte"),
        pytest.param(block(b"x", b"L", 1 << 30), "extended header", id="long name of a gigabyte"),
        pytest.param(block(b"x", b"x", 9) + padded(b"99 path=x"), "PAX record", id="record longer than its header"),
        pytest.param(block(b"x", b"x", 9) + padded(b"xx path=x"), "PAX record", id="record without a length"),
        pytest.param(block(b"x", b"x", 3) + padded(b"3 x"), "PAX record", id="record without a newline"),
        pytest.param(pax((b"size", b"-5")) + block(b"f"), "not a number", id="negative PAX size"),
        pytest.param(pax((b"mtime", b"nan")) + block(b"f"), "not a time", id="a time that float() would take"),
        pytest.param(
            pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"9" * 15)) + block(b"s"),
            "sparse file of",
            id="sparse bomb",
        ),
        pytest.param(
            pax((b"GNU.sparse.map", b"9,9"), (b"GNU.sparse.size", b"9")) + block(b"s"),
            "sparse map",
            id="extent beyond the end",
        ),
        pytest.param(
            pax((b"GNU.sparse.map", b"0,9"), (b"GNU.sparse.size", b"9")) + block(b"s"),
            "sparse map",
            id="extent without data",
        ),
        pytest.param(
            pax((b"GNU.sparse.map", b"4,2,0,2"), (b"GNU.sparse.size", b"9")) + block(b"s", size=9),
            "sparse map",
            id="extents backwards",
        ),
        pytest.param(
            pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.realsize", b"9")) + block(b"s"),
            "not known",
            id="sparse format 2.0",
        ),
        pytest.param(block(b"c", b"3", fields={329: b"7777777\0"}), "no Linux", id="a device of no driver"),
        pytest.param(block(b"m", b"M"), "volume", id="a file of two volumes"),
    ],
)
def test_refuses(archive: bytes, words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        read(archive)


def test_global_records_do_not_pile_up() -> None:
    globals_ = b"".join(pax((b"k%d" % n, b"v" * 60000), flag=b"g") for n in range(20))
    with pytest.raises(ArchiveError, match="global"):
        read(globals_ + block(b"f") + END_OF_ARCHIVE)


SAMPLE = b"".join(t[1] for t in TRAPS) + END_OF_ARCHIVE


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=20)), max_size=4), st.booleans()
)
def test_damage_is_only_ever_an_archive_error(damage: list[tuple[int, bytes]], repaired: bool) -> None:
    data = bytearray(SAMPLE)
    for at, rubbish in damage:
        data[at : at + len(rubbish)] = rubbish
        start = at - at % 512
        if repaired and len(data) >= start + 512:
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    try:
        for _ in TarReader([bytes(data)]):
            pass
        read(bytes(data), 1 << 20)
    except ArchiveError:
        return


names = st.binary(min_size=1, max_size=200).filter(lambda n: b"\0" not in n and not n.endswith(b"/"))
entries = st.builds(
    Entry,
    names,
    st.just("file"),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**40), 2**40),
    st.just(0),
    st.just(b""),
    st.just((0, 0)),
    st.lists(
        st.tuples(st.sampled_from([b"user.a", b"security.capability"]), st.binary(max_size=30)),
        max_size=2,
        unique_by=lambda x: x[0],
    ).map(lambda x: tuple(sorted(x))),
)


@settings(deadline=None)
@given(st.lists(st.tuples(entries, st.binary(max_size=1500)), max_size=5), st.integers(1, 3000))
def test_round_trip(members: list[tuple[Entry, bytes]], cut: int) -> None:
    members = [(entry._replace(size=len(body)), body) for entry, body in members]
    data = b"".join(header(entry) + padded(body) for entry, body in members) + END_OF_ARCHIVE
    assert read(data, cut) == members


@settings(deadline=None)
@given(st.lists(st.tuples(entries, st.binary(max_size=600)), max_size=4))
def test_tarfile_reads_what_is_written(members: list[tuple[Entry, bytes]]) -> None:
    members = [(e._replace(size=len(b)), b) for e, b in members if not e.path.startswith(b"/")]
    data = b"".join(header(entry) + padded(body) for entry, body in members) + END_OF_ARCHIVE
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape", encoding="utf-8") as tar:
        got = [(m.name.encode("utf-8", "surrogateescape"), m.mode, m.uid, m.gid, int(m.mtime), m.size) for m in tar]
    assert got == [(e.path, e.mode, e.uid, e.gid, e.mtime, e.size) for e, _ in members]


def test_gnu_tar_reads_segments_behind_one_another(tmp_path: Path) -> None:
    first = header(Entry(b"d", "directory", 0o755)) + header(Entry(b"d/f", "file", 0o640, size=5)) + padded(b"hello")
    long = b"d/" + b"n" * 200
    second = (
        header(Entry(long, "file", 0o600, 1000, 1001, 1600000000, 1)) + padded(b"x")
        + header(Entry(b"d/l", "symlink", 0o777, target=b"t" * 150))
        + header(Entry(b"d/h", "hardlink", 0o640, target=b"d/f"))
        + header(Entry(b"d/big", "file", 0o600, 3_000_000, 0, -7))
        + header(Entry(b"d/c", "char", 0o666, device=(1, 3)))
        + header(Entry(b"d/p", "fifo", 0o666))
    )  # fmt: skip
    path = tmp_path / "x.tar"
    path.write_bytes(first + second + END_OF_ARCHIVE)
    done = subprocess.run(
        ["tar", "--numeric-owner", "--utc", "--full-time", "-tvf", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [
        "drwxr-xr-x",
        "-rw-r-----",
        "-rw-------",
        "lrwxrwxrwx",
        "hrw-r-----",
        "-rw-------",
        "crw-rw-rw-",
        "prw-rw-rw-",
    ]
    assert lines[2][1:] == ["1000/1001", "1", "2020-09-13", "12:26:40", long.decode()]
    assert lines[3][-1] == "t" * 150
    assert lines[4][-4:] == ["d/h", "link", "to", "d/f"]
    assert lines[5][1:5] == ["3000000/0", "0", "1969-12-31", "23:59:53"]
    assert lines[6][2] == "1,3"
