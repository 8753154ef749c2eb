"""Streams are read by their magic, cut ones are refused, and what is written never varies."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.archive.compress import RELEASE_LEVEL, Codec, decompressed, open_compressed
from lkbuild.errors import ArchiveError

CODECS: tuple[Codec, ...] = ("gzip", "zstd", "none")
TEXT = b"".join(b"line %d of a text\n" % (n * n) for n in range(60000))
NOISE = random.Random(1).randbytes(300_000)


def read(data: bytes) -> bytes:
    return b"".join(decompressed(io.BytesIO(data)))


def packed(data: bytes, codec: Codec, level: int | None = None, cut: int = 1 << 20) -> bytes:
    raw = io.BytesIO()
    stream = open_compressed(raw, codec, level)
    for at in range(0, len(data), cut):
        stream.write(memoryview(data)[at : at + cut])
    stream.close()
    return raw.getvalue()


def zstd_frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


SKIPPABLE = b"\x50\x2a\x4d\x18\x05\0\0\0abcde"


@pytest.mark.parametrize(
    ("stream", "plain"),
    [
        pytest.param(gzip.compress(TEXT), TEXT, id="gzip"),
        pytest.param(gzip.compress(b"one") + gzip.compress(b"two"), b"onetwo", id="gzip of two members"),
        pytest.param(gzip.compress(TEXT) + bytes(1000), TEXT, id="zeros after gzip"),
        pytest.param(gzip.compress(b"a") + bytes(600) + gzip.compress(b"b"), b"ab", id="zeros between members"),
        pytest.param(gzip.compress(b""), b"", id="gzip of nothing"),
        pytest.param(zstd_frame(TEXT), TEXT, id="zstd"),
        pytest.param(zstd_frame(TEXT) + zstd_frame(b"two"), TEXT + b"two", id="zstd of two frames"),
        pytest.param(SKIPPABLE + zstd_frame(b"x") + SKIPPABLE, b"x", id="skippable frames, as zstd:chunked has"),
        pytest.param(zstd_frame(b"x") + bytes(512), b"x", id="zeros after zstd"),
        pytest.param(TEXT, TEXT, id="plain"),
        pytest.param(b"", b"", id="nothing"),
        pytest.param(gzip.compress(bytes(9 << 20)), bytes(9 << 20), id="gzip of many zeros"),
        pytest.param(zstd_frame(bytes(9 << 20)), bytes(9 << 20), id="zstd of many zeros"),
    ],
)
def test_reads(stream: bytes, plain: bytes) -> None:
    assert read(stream) == plain


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (gzip.compress(NOISE)[:-5], "ends too early"),
        (gzip.compress(NOISE)[:20], "ends too early"),
        (zstd_frame(NOISE)[:-1], "ends too early"),
        (zstd_frame(NOISE)[:100], "ends too early"),
        (gzip.compress(b"x" * 50)[:-8] + bytes(8), "damaged gzip"),
        (gzip.compress(b"one") + b"rubbish" * 9, "damaged gzip"),
        (zstd_frame(b"one") + b"rubbish", "damaged zstd"),
        (b"\xfd7zXZ\0" + bytes(20), "xz"),
        (b"BZh91AY", "bzip2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "stream",
)
def test_refuses(stream: bytes, words: str) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        read(stream)
    if "compressed with" not in caught.value.message:
        assert f"{len(stream)} bytes of" in caught.value.message


def test_a_window_of_more_than_128_mib_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    stream = frame.compress(NOISE) + frame.flush()
    with pytest.raises(ArchiveError, match="damaged zstd"):
        read(stream)


@pytest.mark.parametrize("pack", [gzip.compress, zstd_frame])
def test_a_bomb_comes_out_in_pieces(pack: object) -> None:
    bomb = io.BytesIO(pack(bytes(64 << 20)))  # type: ignore[operator]
    tracemalloc.start()
    assert sum(map(len, decompressed(bomb))) == 64 << 20
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@settings(deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([gzip.compress(TEXT[:900]), zstd_frame(TEXT[:900])]), st.integers(0, 99)
)
def test_damage_is_only_ever_an_archive_error(rubbish: bytes, stream: bytes, at: int) -> None:
    for damaged in (stream[:at] + rubbish, stream[:at] + rubbish + stream[at:]):
        try:
            read(damaged)
        except ArchiveError:
            continue


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE], ids=["nothing", "a byte", "text", "noise"])
def test_round_trip_however_it_was_cut(codec: Codec, data: bytes) -> None:
    ways = {packed(data, codec, cut=cut) for cut in (1 << 20, 256 << 10, 100_001, len(data) + 1)}
    assert len(ways) == 1, "the bytes depend on how they were written"
    assert read(ways.pop()) == data


@pytest.mark.parametrize(("codec", "program"), [("gzip", "gzip"), ("zstd", "zstd")])
def test_programs_read_it(codec: Codec, program: str) -> None:
    for level in (None, RELEASE_LEVEL[codec]):
        done = subprocess.run([program, "-dc"], input=packed(TEXT, codec, level), capture_output=True, check=True)
        assert done.stdout == TEXT


def test_a_gzip_header_holds_no_name_and_no_time() -> None:
    for level in range(10):
        stream = packed(TEXT, "gzip", level)
        assert stream[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
        assert zlib.decompress(stream, 31) == TEXT


_PACK = """
import hashlib, os, random, sys
from lkbuild.archive.compress import open_compressed
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:int(sys.argv[1])]))
data = random.Random(7).randbytes(1 << 20) * 3 + bytes(1 << 20)
with open(sys.argv[2], "wb") as raw:
    out = open_compressed(raw, sys.argv[3])
    for at in range(0, len(data), 77_777):
        out.write(data[at:at + 77_777])
    out.close()
"""


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_the_bytes_are_the_same_on_one_processor_and_on_all(codec: Codec, tmp_path: Path) -> None:
    for processors in ("1", "64"):
        subprocess.run([sys.executable, "-c", _PACK, processors, str(tmp_path / processors), codec], check=True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "64").read_bytes()


@pytest.mark.parametrize("size", [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 1 << 20, 12 << 20])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_gzip_of_any_number_of_blocks_is_one_member(size: int, level: int) -> None:
    """The kernel's gunzip, and Python's zlib here, take what follows a member's end for something else."""
    data = (random.Random(size).randbytes(5000) * (size // 5000 + 1))[:size]
    raw = io.BytesIO()
    out = open_compressed(raw, "gzip", level)
    out.write(data)
    out.close()
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(raw.getvalue()) == data
    assert decoder.eof
    assert decoder.unused_data == b""
    whole = zlib.compressobj(level, wbits=31)
    assert len(raw.getvalue()) < 1.05 * len(whole.compress(data) + whole.flush()) + 100, (
        "blocks see what is before them"
    )


def test_zstd_is_the_same_whatever_the_number_of_threads() -> None:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    key = zstd.CompressionParameter
    for workers in (2, 4):
        one = zstd.ZstdCompressor(options={key.compression_level: 1, key.nb_workers: workers})
        assert one.compress(TEXT * 4) + one.flush() == packed(TEXT * 4, "zstd")


@pytest.mark.parametrize(("codec", "level"), [("gzip", 10), ("gzip", -1), ("zstd", 0), ("zstd", 20)])
def test_levels_out_of_range(codec: Codec, level: int) -> None:
    with pytest.raises(ValueError, match="level"):
        open_compressed(io.BytesIO(), codec, level)
