"""Words for running a machine: what they mean, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.errors import UsageError
from lkbuild.machine import options
from lkbuild.machine.options import (
    MAX_DATA,
    Disk,
    Publish,
    data_of,
    parse_accel,
    parse_arch,
    parse_cpus,
    parse_disk,
    parse_memory,
    parse_publish,
    published,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8080:80", Publish(8080, 80)),
        ("5353:53/udp", Publish(5353, 53, "udp")),
        ("1:65535/TCP", Publish(1, 65535, "tcp")),
        ("127.0.0.1:8080:80", Publish(8080, 80, "tcp", "127.0.0.1")),
    ],
)
def test_ports(text: str, meant: Publish) -> None:
    assert parse_publish(text) == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("80", "is not HOST:GUEST"),
        ("", "is not HOST:GUEST"),
        ("1:2:3:4", "is not HOST:GUEST"),
        ("0:80", "'0' is no port"),
        ("80:65536", "'65536' is no port"),
        ("80:", "'' is no port"),
        ("80:-1", "'-1' is no port"),
        ("8o:80", "'8o' is no port"),
        ("٨:80", "is no port"),  # a digit, but not one of ours
        ("80:80/sctp", "'sctp' is no protocol"),
        ("80:80/", "'' is no protocol"),
        ("localhost:80:80", "'localhost' is no IPv4 address"),
        ("1.2.3.4,x=y:80:80", "is no IPv4 address"),  # would be an option of QEMU's
    ],
)
def test_ports_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_publish(text)


@given(
    st.builds(
        Publish,
        st.integers(1, 65535),
        st.integers(1, 65535),
        st.sampled_from(["tcp", "udp"]),
        st.just("") | st.ip_addresses(v=4).map(str),
    )
)
def test_a_port_is_read_as_it_is_written(port: Publish) -> None:
    assert parse_publish(str(port)) == port


@pytest.mark.parametrize(
    ("texts", "clash"),
    [
        (["80:80", "80:81"], True),
        (["80:80", "80:80/udp"], False),
        (["127.0.0.1:80:80", "127.0.0.2:80:80"], False),
        (["127.0.0.1:80:80", "80:81"], True),  # no address means all of them
        (["80:80", "81:80"], False),
    ],
)
def test_two_that_want_one_port_of_the_host(texts: list[str], clash: bool) -> None:
    if clash:
        with pytest.raises(UsageError, match="want the same port"):
            published(texts)
    else:
        assert len(published(texts)) == 2


@pytest.mark.parametrize(("text", "mb"), [("512", 512), ("512M", 512), ("2G", 2048), ("2gib", 2048), ("1024MB", 1024)])
def test_memory(text: str, mb: int) -> None:
    assert parse_memory(text) == mb


@pytest.mark.parametrize("text", ["", "lots", "0", "15", "1.5G", "-1", "99999999G", "5K", "512 M"])
def test_memory_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="mem"):
        parse_memory(text)


@pytest.mark.parametrize("text", ["0", "256", "two", "", "-1", "1.5"])
def test_processors_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="cpus"):
        parse_cpus(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("size=1G", Disk(None, 1024)),
        ("size=512,format=raw", Disk(None, 512, "raw")),
        ("file=a.img", Disk(Path("a.img"))),
        ("a.img", Disk(Path("a.img"))),  # as LinuxKit has it
        ("a.img,size=1G,format=qcow2", Disk(Path("a.img"), 1024, "qcow2")),
        ("format=qcow2,file=/x/a,size=2T", Disk(Path("/x/a"), 2 << 20, "qcow2")),
    ],
)
def test_disks(text: str, meant: Disk) -> None:
    assert parse_disk(text) == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "file is given no value"),
        ("format=raw", "neither a file nor a size"),
        ("size=", "size is given no value"),
        ("size=1G,size=2G", "size is given twice"),
        ("a.img,file=b.img", "file is given twice"),
        ("size=1G,b.img", "'b.img' is not known"),
        ("size=1G,cache=none", "'cache=none' is not known"),
        ("size=1G,format=iso", "'iso' is no format"),
        ("size=1X", "is no size"),
        ("size=0", "can be from 1"),
    ],
)
def test_disks_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_disk(text)


def test_names() -> None:
    assert [parse_arch(a) for a in ("amd64", "x86_64", "arm64", "aarch64")] == ["x86_64"] * 2 + ["aarch64"] * 2
    assert [parse_accel(a) for a in ("auto", "kvm", "tcg")] == ["auto", "kvm", "tcg"]
    with pytest.raises(UsageError, match="'riscv64'"):
        parse_arch("riscv64")
    with pytest.raises(UsageError, match="'hvf'"):
        parse_accel("hvf")


def test_metadata(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\0\xff")
    assert data_of(None, None) is None
    assert data_of("é", None) == b"\xc3\xa9"
    assert data_of("", None) == b"", "an empty string is metadata too"
    assert data_of(None, str(tmp_path / "data")) == b"\0\xff"


def test_metadata_that_is_none(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(MAX_DATA + 1)
    for text, file, words in (
        ("a", "b", "as a string and as a file"),
        (None, str(tmp_path / "none"), "No such file"),
        (None, str(tmp_path), "directory"),
        (None, str(tmp_path / "large"), "larger than 16 MB"),
    ):
        with pytest.raises(UsageError, match=words):
            data_of(text, file)


PARSERS: list[Callable[[str], object]] = [
    parse_publish, parse_memory, parse_cpus, parse_disk, parse_accel, parse_arch,
]  # fmt: skip


@given(st.text(max_size=40) | st.from_regex(r"[0-9:=,/GMsizefmat]{0,20}"), st.sampled_from(PARSERS))
def test_whatever_is_written_is_understood_or_refused(text: str, parser: Callable[[str], object]) -> None:
    try:
        parser(text)
    except UsageError as error:
        assert error.hint


def test_what_is_given_by_default_is_what_linuxkit_gives() -> None:
    assert (options.MachineOptions().cpus, options.MachineOptions().memory) == (1, 1024)
