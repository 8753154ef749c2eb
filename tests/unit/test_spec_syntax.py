"""The little languages inside a spec's strings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.spec import syntax

GOLDEN = Path(__file__).parents[1] / "conformance" / "golden"


def test_all_capabilities_are_those_the_reference_writes_in_its_order():
    entries = json.loads((GOLDEN / "field-capabilities_all.json").read_text())
    config = next(e["json"] for e in entries if e["path"] == "containers/services/one/config.json")
    assert list(syntax.CAPABILITIES) == config["process"]["capabilities"]["effective"]
    assert sorted(syntax.CAPABILITIES) == config["process"]["capabilities"]["bounding"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/a:/b", ("/a", "/b", None)),
        ("v:/b", ("v", "/b", None)),
        ("/a:/b:ro", ("/a", "/b", ("ro",))),
        ("/a:/b:rshared,rbind", ("/a", "/b", ("rshared", "rbind"))),
        ("/a:/b:", ("/a", "/b", ("",))),  # Go's strings.Split gives one empty option
    ],
)
def test_bind(text, value):
    assert syntax.parse_bind(text) == value


@pytest.mark.parametrize("text", ["", "/a", "/a:/b:ro:x", ":/b", "/a:", ":"])
def test_bind_that_is_none(text):
    with pytest.raises(ValueError, match=repr(text)):
        syntax.parse_bind(text)


def test_tmpfs():
    assert syntax.parse_tmpfs("/tmp") == ("/tmp", ())
    assert syntax.parse_tmpfs("/scratch:size=10m,noexec") == ("/scratch", ("size=10m", "noexec"))
    for text in ("/a:b:c", "", ":x"):
        with pytest.raises(ValueError, match="tmpfs"):
            syntax.parse_tmpfs(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nofile,1,2", ("RLIMIT_NOFILE", 1, 2)),
        ("core,0,unlimited", ("RLIMIT_CORE", 0, 18446744073709551615)),
        (" RLIMIT_as , 5 , UNLIMITED ", ("RLIMIT_AS", 5, syntax.UNLIMITED)),
        ("cpu,18446744073709551615,007", ("RLIMIT_CPU", syntax.UNLIMITED, 7)),
    ],
)
def test_rlimit(text, value):
    assert syntax.parse_rlimit(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nofile,1", "2 parts"),
        ("bogus,1,2", "'bogus' is no resource limit"),
        ("nofile,x,2", "'x' is neither"),
        ("nofile,-1,2", "'-1' is neither"),
        ("nofile,1,18446744073709551616", "neither"),
        ("nofile,1,2,3", "'2,3' is neither"),
        ("nofile,,", "'' is neither"),
        ("nofile,1,٣", "neither"),  # a digit to Python, none to the kernel
    ],
)
def test_rlimit_that_is_none(text, reason):
    with pytest.raises(ValueError, match=reason):
        syntax.parse_rlimit(text)


def test_capabilities():
    assert syntax.parse_capabilities(("ALL",)) == syntax.CAPABILITIES
    assert syntax.parse_capabilities(("None",)) == ()
    assert syntax.parse_capabilities(("CAP_KILL", "CAP_CHOWN", "CAP_KILL")) == ("CAP_KILL", "CAP_CHOWN", "CAP_KILL")
    for names in (("all", "CAP_KILL"), ("KILL",), ("cap_kill",), ("",)):
        with pytest.raises(ValueError, match="unknown capability"):
            syntax.parse_capabilities(names)


def test_modes():
    assert syntax.parse_mode("0644") == syntax.parse_device_mode("644") == 0o644
    assert syntax.parse_mode("7777") == 0o7777
    for text in ("", "9z", "0o644", "-1", "10000", "6_4", "٦"):
        with pytest.raises(ValueError, match="octal"):
            syntax.parse_mode(text)
    for nothing in (None, ""):
        with pytest.raises(ValueError, match="no mode"):
            syntax.parse_device_mode(nothing)


@pytest.mark.parametrize(
    ("given_type", "source", "destination", "wanted"),
    [
        ("devpts", None, None, ("devpts", "/dev/pts")),
        (None, "mqueue", None, ("mqueue", "/dev/mqueue")),
        (None, None, "/dev", ("tmpfs", "/dev")),
        ("bind", "/a", "/b", ("bind", "/b")),
        ("", "sysfs", "/x", ("sysfs", "/x")),
    ],
)
def test_mounts_fill_in_what_they_leave_out(given_type, source, destination, wanted):
    type_ = syntax.mount_type(given_type, source, destination)
    assert (type_, syntax.mount_destination(type_, destination)) == wanted


def test_mounts_that_leave_out_too_much():
    with pytest.raises(ValueError, match="'/x' has no type"):
        syntax.mount_type(None, "/y", "/x")
    with pytest.raises(ValueError, match="'bind' has no destination"):
        syntax.mount_destination("bind", None)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    for parse in (syntax.parse_bind, syntax.parse_tmpfs, syntax.parse_rlimit, syntax.parse_mode):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


@given(st.text(st.characters(exclude_characters=":,"), min_size=1), st.text(st.characters(exclude_characters=":,"), min_size=1), st.lists(st.text(st.characters(exclude_characters=":,"), min_size=1), min_size=1))  # fmt: skip  # noqa: E501
def test_a_bind_put_together_is_taken_apart_again(source, destination, options):
    assert syntax.parse_bind(f"{source}:{destination}:{','.join(options)}") == (source, destination, tuple(options))
