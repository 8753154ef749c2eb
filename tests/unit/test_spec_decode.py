"""Nodes to values: strictness, wrong types and what is said about them, the image label, classes of one's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from lkbuild.errors import SpecError
from lkbuild.spec.decode import load_document, parse_label, read_document
from lkbuild.spec.fields import Pairs, about, given, key
from lkbuild.spec.model import Container, ContainerConfig, Device, IdMapping, Memory, Resources


@dataclass(frozen=True, slots=True)
class Part:
    size: int
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    title: str
    parts: tuple[Part, ...] = ()
    flag: bool | None = None
    number: int | str | None = None
    texts: tuple[str, ...] | None = key("some-texts")
    pairs: Pairs | None = None
    form: Literal["a", "b"] = given("the form", default="a")
    config: ContainerConfig | None = None
    main: Part = field(default=Part(0), metadata=about("the main part", "main-part"))


def whole(text: str) -> Whole:
    return load_document(Path("w.yml"), Whole, text=text)


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        whole(text)
    return [str(problem) for problem in caught.value.problems]


def test_a_class_of_ones_own():
    text = """
title: x
parts: [{size: 0x10, label: '1'}, {size: 2}]
flag: false
number: seven
some-texts: [a, yes, 2020-01-01]
pairs: {z: '1', a: b}
form: b
config: {readonly: true, binds.add: ['/a:/b']}
main-part: {size: 1.0}
"""
    assert whole(text) == Whole(
        title="x",
        parts=(Part(16, "1"), Part(2)),
        flag=False,
        number="seven",
        texts=("a", "yes", "2020-01-01"),
        pairs=(("z", "1"), ("a", "b")),
        form="b",
        config=ContainerConfig(readonly=True, binds_add=("/a:/b",)),
        main=Part(1),
    )


def test_what_is_not_given_is_the_default():
    assert whole("title: ''") == Whole("")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("title: 1", "w.yml:1:8: title is the number 1, wanted text\n  hint: put it in quotes: '1'"),
        ("title: true", "w.yml:1:8: title is true, wanted text\n  hint: put it in quotes: 'true'"),
        ("title:", "w.yml:1:1: title is nothing, wanted text\n  hint: remove 'title' or give it a value"),
        ("title: [x]", "w.yml:1:1: title is a list, wanted text"),
        ("title: {x: y}", "w.yml:1:1: title is a map, wanted text"),
        ("parts: []", "w.yml:1:1: 'title' is missing"),
        ("[]", "w.yml:1:1: the document is a list, wanted a map"),
        ("x", "w.yml:1:1: the document is the text 'x', wanted a map"),
    ],
)
def test_one_thing_wrong_with_the_title(text, wanted):
    assert problems(text) == [wanted]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("parts: {size: 1}", "2:1: parts is a map, wanted a list", 'begin each entry with "- "'),
        ("config: {env: {A: b, C: 1}}", "2:10: config.env is a map, wanted a list", 'say env: ["A=b", "C=1"]'),
        ("parts: [1]", "2:9: parts[0] is the number 1, wanted a map", None),
        ("parts: [{}]", "2:9: 'size' is missing in parts[0]", None),
        ("parts: [{size: '1'}]", "2:16: parts[0].size is the text '1', wanted a whole number", "write 1, without"),
        ("parts: [{size: 1.5}]", "2:16: parts[0].size is the number 1.5, wanted a whole number", None),
        ("parts: [{size: true}]", "2:16: parts[0].size is true, wanted a whole number", None),
        ("flag: yes", "2:7: flag is the text 'yes', wanted true or false", "write true, without quotes"),
        ("flag: 'False'", "2:7: flag is the text 'False', wanted true or false", "write false, without quotes"),
        ("flag: 1", "2:7: flag is the number 1, wanted true or false", None),
        ("number: [1]", "2:1: number is a list, wanted a whole number or text", None),
        ("number: true", "2:9: number is true, wanted a whole number or text", None),
        ("some-texts: x", "2:13: some-texts is the text 'x', wanted a list", "write it as a list: some-texts: ['x']"),
        ("some-texts: [x, 2]", "2:17: some-texts[1] is the number 2, wanted text", "put it in quotes: '2'"),
        ("some-texts: [null]", "2:14: some-texts[0] is nothing, wanted text", "give it a value"),
        ("some_texts: []", "2:1: unknown key 'some_texts'; did you mean 'some-texts'?", "allowed here: title, parts"),
        ("pairs: [a]", "2:1: pairs is a list, wanted a map", None),
        ("pairs: {a: 1}", "2:12: pairs.a is the number 1, wanted text", "put it in quotes: '1'"),
        ("form: c", "2:7: form is the text 'c', wanted 'a' or 'b'", None),
        ("form: [a]", "2:1: form is a list, wanted 'a' or 'b'", None),
        ("config: {name: x}", "2:10: unknown key 'name' in config", "allowed here: capabilities"),
        ("config: {uid: null}", "2:10: config.uid is nothing, wanted a whole number or text", "remove 'uid'"),
        ("Title: y", "2:1: unknown key 'Title'; did you mean 'title'?", "allowed here"),
    ],
)
def test_one_thing_wrong_in_the_second_line(line, message, hint):
    (found,) = problems(f"title: x\n{line}\n")
    first, _, rest = found.partition("\n  hint: ")
    assert first == f"w.yml:{message}"
    assert (hint or "") in rest


def test_everything_wrong_is_said_at_once_in_order():
    text = "titel: x\nparts:\n- size: a\n- label: 1\n  colour: 2\nflag: 3\nflag: 4\n"
    assert [problem.partition(":")[2].partition("\n")[0] for problem in problems(text)] == [
        "1:1: 'title' is missing",
        "1:1: unknown key 'titel'; did you mean 'title'?",
        "3:9: parts[0].size is the text 'a', wanted a whole number",
        "4:3: 'size' is missing in parts[1]",
        "4:10: parts[1].label is the number 1, wanted text",
        "5:3: unknown key 'colour' in parts[1]",
        "6:7: flag is the number 3, wanted true or false",
        "7:1: key 'flag' stands twice (first in line 6)",
    ]


def test_an_alias_used_twice_is_wrong_in_both_places():
    found = problems("title: x\nparts: [&p {size: a}, *p]\n")
    assert [each.split(" is ")[0] for each in found] == ["w.yml:2:19: parts[0].size", "w.yml:2:19: parts[1].size"]


def test_origins_know_every_line(tmp_path):
    path = tmp_path / "w.yml"
    path.write_text("title: x\nparts:\n- size: 1\n- size: 2\n  label: b\nsome-texts:\n- a\n")
    document = read_document(path, Whole)
    places = [(), ("title",), ("parts",), ("parts", 1), ("parts", 1, "label"), ("some-texts", 0), ("flag",)]
    assert [document.origin(*place).line for place in places] == [1, 1, 2, 4, 5, 7, 1]
    assert document.origin("parts", 0, "label").line == 3
    assert document.value.parts[1] == Part(2, "b")


def test_a_file_that_is_not_there():
    with pytest.raises(SpecError, match=r"no/such\.yml.*No such file"):
        load_document(Path("no/such.yml"), Whole)


def test_a_label_in_yaml_and_in_json():
    wanted = ContainerConfig(capabilities=("all",), readonly=True, resources=Resources(memory=Memory(limit=5)))
    assert parse_label("capabilities: [all]\nreadonly: true\nresources: {memory: {limit: 5}}\n") == wanted
    assert parse_label('{"capabilities":["all"],\t"readonly":true,\n"resources":{"memory":{"limit":5}}}') == wanted


def test_an_empty_label_says_nothing():
    assert parse_label("") == parse_label("{}") == ContainerConfig()


def test_a_label_keeps_the_case_of_camel_case_keys():
    text = "uidMappings: [{hostID: 1000, containerID: 0, size: 10}]\ndevices: [{path: all, type: c}]\n"
    wanted = ContainerConfig(uid_mappings=(IdMapping(1000, 0, 10),), devices=(Device(path="all", type="c"),))
    assert parse_label(text) == wanted
    assert parse_label("resources: {hugepageLimits: [{pageSize: 2048, limit: 1}, {pageSize: 2MB}]}").resources == (
        load_document(Path("x"), Resources, text="hugepageLimits: [{pageSize: '2048', limit: 1}, {pageSize: 2MB}]")
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x", "unknown key 'name'"),
        ("image: x", "unknown key 'image'"),
        ("[]", "wanted a map"),
        ("null", "empty"),
        ('{"readonly": "true"}', "readonly is the text 'true'"),
        ("{", "not YAML"),
        ("resources: {cpu: {share: 1}}", "did you mean 'shares'"),
    ],
)
def test_labels_are_as_strict_as_specs(text, words):
    with pytest.raises(SpecError) as caught:
        parse_label(text, "label of conf/x:1")
    assert words in str(caught.value)
    assert caught.value.problems[0].origin.file == "label of conf/x:1"


def test_the_label_is_named_where_nobody_says_which():
    with pytest.raises(SpecError, match=r"^label org\.mobyproject\.config:1:1: "):
        parse_label("x: 1")


def test_inline_keys_stand_among_the_others():
    text = "name: n\nimage: a/b:1\nreadonly: true\n"
    container = load_document(Path("c.yml"), Container, text=text)
    assert (container.name, str(container.image), container.config) == (
        "n",
        "docker.io/a/b:1",
        ContainerConfig(readonly=True),
    )
