"""YAML to nodes: what scalars mean, what is refused, and that hostile documents cost little."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lkbuild.errors import Problem
from lkbuild.spec.yaml_nodes import MAX_BYTES, ListNode, MapNode, Node, ScalarNode, resolve
from lkbuild.spec.yaml_parse import parse_text, read_text


def parse(text: str) -> tuple[Node | None, list[Problem]]:
    problems: list[Problem] = []
    return parse_text(text, "a.yml", problems), problems


def plain(node: Node | None) -> object:
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    if isinstance(node, MapNode):
        return {key.text: plain(value) for key, value in node.entries}
    assert isinstance(node, ScalarNode)
    return node.value


def refused(text: str) -> Problem:
    node, problems = parse(text)
    assert node is None
    (problem,) = problems
    return problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("NO", "NO"), ("y", "y"),  # YAML 1.1's truths are text
        ("true", True), ("True", True), ("FALSE", False), ("tRue", "tRue"),
        ("", None), ("~", None), ("null", None), ("Null", None), ("nULL", "nULL"),
        ("0", 0), ("-12", -12), ("+3", 3), ("1_000", 1000),
        ("0x1F", 31), ("0o17", 15), ("0644", 420), ("0b101", 5), ("-0x10", -16),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),  # beyond Go's uint64 it is a float
        ("09", 9.0), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", -math.inf),
        ("0o8", "0o8"), ("1.2.3", "1.2.3"), ("12:30", "12:30"), ("2001-01-01", "2001-01-01"),  # neither 750 nor a date
        ("_1", "_1"), ("-", "-"), ("+", "+"), (".", "."), ("0x", "0x"), ("1k", "1k"), ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_they_mean_to_yaml_v3(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_nan():
    assert math.isnan(resolve(".nan"))  # type: ignore[arg-type]


def test_quotes_blocks_and_tags_make_text():
    text = "a: '1'\nb: \"true\"\nc: |\n  2\nd: !!str 3\nf: !!int '5'\ng: !!float 1\nh: !!map {}\n"
    assert plain(parse(text)[0]) == {
        "a": "1", "b": "true", "c": "2\n", "d": "3", "f": 5, "g": 1, "h": {},
    }  # fmt: skip


def test_places_count_from_one_and_in_characters():
    node, _ = parse("\ufeffé: [x,\n  'é', y]\n".removeprefix("\ufeff"))
    assert isinstance(node, MapNode)
    value = node.get("é")
    assert isinstance(value, ListNode)
    assert [str(item.origin) for item in value.items] == ["a.yml:1:5", "a.yml:2:3", "a.yml:2:8"]


def test_aliases_and_merge_keys():
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{x: 7}, *a], z: 4}\n"
    assert plain(parse(text)[0]) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"y": 3, "x": 1},
        "d": {"x": 7, "y": 2, "z": 4},
    }


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "empty"),
        ("# only a comment\n", 0, "empty"),
        ("---\n...\n", 0, "empty"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: b\n\tc: d\n", 2, "tab"),
        ("a: [1,\n", 2, "not YAML"),
        ("a: 'x\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("- image: @pkg:./x\n", 1, 'hint: put it in quotes: "@pkg:./x"'),
        ("a: {image: @pkg:./x, b: 1}\n", 1, 'hint: put it in quotes: "@pkg:./x"'),
        ("x:\n  a: \x01\n", 2, "U+0001"),
        ("a: *nothing\n", 1, "*nothing has no anchor"),
        ("a: &a [*a]\n", 1, "*a stands within itself"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "python/object"),
        ("a: !vault x\n", 1, "!vault"),
        ("a: !!binary aGk=\n", 1, "binary"),
        ("a: !!int x\n", 1, "'x'"),
        ("a: !!set {x}\n", 1, "set"),
        ("a: {<<: 1}\n", 1, "merges maps"),
        ("%YAML 9.9\n---\na: 1\n", 1, "not YAML"),
    ],
)
def test_documents_that_cannot_be_read(text, line, words):
    problem = refused(text)
    assert problem.origin.file == "a.yml"
    assert problem.origin.line == line
    assert words in str(problem)


def test_keys_that_stand_twice_or_are_no_text_are_all_named():
    _, problems = parse("a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}\n[x]: 1\n~: 1\ntrue: 1\n? {}\n: 2\n386: x\n")
    assert [(p.origin.line, p.message) for p in problems] == [
        (4, "key 'd' stands twice (first in line 4)"),
        (3, "key 'a' stands twice (first in line 1)"),
        (5, "a list is no key"),
        (6, "nothing is no key"),
        (7, "true is no key"),
        (8, "a map is no key"),
    ]


def test_an_alias_bomb_is_refused_before_it_goes_off():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "100,000 values" in refused("\n".join(lines)).message


def test_a_bomb_of_long_texts_is_refused_too():
    text = f"a: &a {'x' * 1_000_000}\nb: [{', '.join(['*a'] * 200)}]\n"
    assert "100,000 values" in refused(text).message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(opening):
    assert "deeper" in refused(opening * 5000).message


def test_long_documents_are_refused(tmp_path):
    assert "4 MiB" in refused("a: " + "x" * MAX_BYTES).message
    path = tmp_path / "long.yml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    problems: list[Problem] = []
    assert read_text(path, problems) is None
    assert "4 MiB" in problems[0].message


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a: 1\nb: \xff\n", 2, "0xff"),
        (b"\xff\xfea\x00:\x00", 1, "UTF-8"),
        (b"a: \xed\xa0\x80", 1, "UTF-8"),
    ],
)
def test_files_that_are_no_utf8(tmp_path, data, line, words):
    (tmp_path / "a.yml").write_bytes(data)
    problems: list[Problem] = []
    assert read_text(tmp_path / "a.yml", problems) is None
    assert problems[0].origin.line == line
    assert words in problems[0].message


def test_files_that_cannot_be_read(tmp_path):
    problems: list[Problem] = []
    assert read_text(tmp_path / "none.yml", problems) is None
    assert read_text(tmp_path, problems) is None
    assert ["No such file" in problems[0].message, "directory" in problems[1].message] == [True, True]


def test_a_byte_order_mark_and_crlf_are_nothing_special(tmp_path):
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: [x]\r\n")
    text = read_text(tmp_path / "a.yml", [])
    assert text is not None
    assert plain(parse(text)[0]) == {"a": 1, "b": ["x"]}


def test_lone_surrogates_are_refused():
    assert "surrogate" in refused("a: \ud800\n").message


texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=5), inner),
    max_leaves=20,
)


@given(json_values.filter(lambda value: value is not None))
def test_json_is_yaml(value):
    node, problems = parse(json.dumps(value, ensure_ascii=False))
    bad = [c for c in json.dumps(value, ensure_ascii=False) if not c.isprintable()]
    if not bad:
        assert problems == []
        assert plain(node) == value


@given(st.text(max_size=200))
@example("\0")
@example("a: \x85\u2028")
@example("&a *a")
@example("- !<> x")
def test_any_text_gives_a_node_or_a_problem(text):
    node, problems = parse(text)
    assert (node is None) <= bool(problems)


@given(st.text(st.sampled_from("ab:-?[]{},&*!|>'\"#%@ \n\t0<\\u"), max_size=80))
def test_any_yaml_like_text_gives_a_node_or_a_problem(text):
    node, problems = parse(text)
    assert (node is None) <= bool(problems)
