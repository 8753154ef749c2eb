"""Whole specs: merging, what is looked for on disk, the checks, and that everything wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lkbuild.errors import LkbuildError, Origin, SpecError, UsageError
from lkbuild.reference import Reference
from lkbuild.spec.fields import keys
from lkbuild.spec.load import load
from lkbuild.spec.model import (
    BlockIO,
    Container,
    ContainerConfig,
    File,
    HugepageLimit,
    Kernel,
    PackageDir,
    Resources,
    Runtime,
    Signer,
    Spec,
    ThrottleDevice,
    Trust,
    Volume,
)

HERE = Path("dir/a.yml")


def read(text: str, *more: str) -> Spec:
    texts = {HERE: text} | {Path(f"dir/{number}.yml"): each for number, each in enumerate(more)}
    return load(list(texts), text=texts)


def problems(text: str, *more: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text, *more)
    return [f"{p.origin.file.removeprefix('dir/')}:{p.origin.line} {p.message}" for p in caught.value.problems]


def only(text: str) -> str:
    """The message of the one problem of a service with these lines, that must stand in the third line or below."""
    with pytest.raises(SpecError) as caught:
        read(f"services:\n- name: x\n  image: a/b:1\n{text}")
    (problem,) = caught.value.problems
    assert problem.origin.line > 3
    return str(problem)


def test_every_section_becomes_its_value(tmp_path):
    (tmp_path / "src").write_text("x")
    path = tmp_path / "My.Spec.yml"
    path.write_text(
        """
kernel: {image: linuxkit/kernel:6, cmdline: quiet, tar: none, ucode: u.cpio}
init: [linuxkit/init:1, 'ghcr.io/x/y@sha256:"""
        + "a" * 64
        + """']
onboot:
- {name: a, image: nginx, command: [/bin/a, '-x'], capabilities: [CAP_CHOWN], uid: b, runtime: {mkdir: [/x]}}
onshutdown: [{name: b, image: nginx, uid: 0, gid: root, additionalGids: [a, 3, '']}]
services:
- name: c
  image: localhost:5000/c
  sysctl: {b: '1', a: '2'}
  resources:
    blockio: {throttleReadIOPSDevice: [{major: 8, minor: 0, rate: 10}]}
    hugepageLimits: [{pageSize: 2048, limit: 4096}]
files:
- {path: //etc/./x/, source: src, mode: '0640', uid: a, gid: 7}
- {path: d, directory: true}
- {path: l, symlink: ../etc/x}
- {path: m, metadata: json}
- {path: e, contents: ''}
volumes: [{name: v, image: a/b, readonly: true, format: oci, platforms: [linux/amd64]}, {name: w, image: ''}]
trust: {image: [], org: []}
outputs: [{format: iso-bios}, {format: tar}]
"""
    )
    spec = load([path])
    nginx = Reference.parse("nginx")
    runtime = Runtime(mkdir=("/x",))
    read_iops = BlockIO(throttle_read_iops_device=(ThrottleDevice(8, 0, 10),))
    resources = Resources(block_io=read_iops, hugepage_limits=(HugepageLimit("2048", 4096),))
    assert spec == Spec(
        name="My.Spec",
        kernel=Kernel(Reference.parse("linuxkit/kernel:6"), "quiet", tar=None, ucode="u.cpio"),
        init=(Reference.parse("linuxkit/init:1"), Reference.parse(f"ghcr.io/x/y@sha256:{'a' * 64}")),
        volumes=(Volume("v", Reference.parse("a/b"), True, "oci", ("linux/amd64",)), Volume("w")),
        onboot=(
            Container(
                "a",
                nginx,
                ContainerConfig(capabilities=("CAP_CHOWN",), command=("/bin/a", "-x"), uid="b", runtime=runtime),
            ),
        ),
        onshutdown=(Container("b", nginx, ContainerConfig(uid=0, gid="root", additional_gids=("a", 3, ""))),),
        services=(
            Container(
                "c",
                Reference.parse("localhost:5000/c"),
                ContainerConfig(sysctl=(("b", "1"), ("a", "2")), resources=resources),
            ),
        ),
        files=(
            File("etc/x", source=str(tmp_path / "src"), mode=0o640, uid="a", gid=7),
            File("d", directory=True),
            File("l", symlink="../etc/x"),
            File("m", metadata="json"),
            File("e", contents=""),
        ),
        trust=Trust(),
        outputs=("iso-bios", "tar"),
    )
    assert spec.origin("services", 0, "resources", "blockio").line == 12
    assert spec.origin("files", 1, "path").line == 16
    assert spec.origin("nothing", "here") == Origin(str(path))


def test_not_given_is_not_empty():
    config = read("services: [{name: x, image: a, capabilities: [], sysctl: {}, readonly: false}]").services[0].config
    assert (config.capabilities, config.sysctl, config.readonly) == ((), (), False)
    assert (config.binds, config.annotations, config.no_new_privileges) == (None, None, None)


def test_lists_append_and_the_kernel_is_overridden_key_by_key():
    base = "kernel: {image: k:1, cmdline: a, binary: b, tar: t}\ninit: [i:1]\nvolumes: [{name: v}]\n"
    base += "services:\n- {name: one, image: a}\noutputs: [{format: tar}]\n"
    more = "kernel: {cmdline: c, binary: '', tar: ''}\ninit: [i:2]\nvolumes: [{name: w}]\n"
    more += "services:\n- {name: two, image: a, binds: ['v:/v', 'w:/w']}\noutputs: [{format: iso-efi}]\n"
    spec = read(base, more)
    assert spec.name == "a"
    assert spec.kernel == Kernel(Reference.parse("k:1"), "c", "b", None)
    assert [str(each) for each in spec.init] == ["docker.io/library/i:1", "docker.io/library/i:2"]
    assert [each.name for each in spec.volumes] == ["v", "w"]
    assert [each.name for each in spec.services] == ["one", "two"]
    assert spec.outputs == ("tar", "iso-efi")
    assert spec.origin("services", 1, "name") == Origin("dir/0.yml", 5, 10)
    assert spec.origin("kernel", "cmdline") == Origin("dir/0.yml", 1, 19)
    assert spec.origin("kernel", "image") == Origin("dir/a.yml", 1, 17)


def test_names_clash_across_files_and_both_places_are_named():
    found = problems("services:\n- {name: x, image: a}\n", "services:\n- {name: y, image: a}\n- {name: x, image: a}\n")
    assert found == ["0.yml:3 there is already a service named 'x' (at dir/a.yml:2:10)"]


def test_problems_of_all_files_are_said_at_once(tmp_path):
    missing = tmp_path / "missing.yml"
    texts = {Path("a.yml"): "services: {}\n", Path("b.yml"): "a: [\n", Path("c.yml"): "kernl: {}\ninit: 3\n"}
    with pytest.raises(SpecError) as caught:
        load([*texts, missing, Path("d.yml")], text=texts | {Path("d.yml"): "- x\n"})
    assert [(p.origin.file, p.origin.line) for p in caught.value.problems] == sorted(
        [("a.yml", 1), ("b.yml", 2), ("c.yml", 1), ("c.yml", 2), ("d.yml", 1), (str(missing), 0)]
    )


def test_the_name_is_the_first_file_s_unless_given():
    texts = {Path("x/one.two.yml"): "init: [a]", Path("three.yml"): "init: [b]"}
    assert load(list(texts), text=texts).name == "one.two"
    assert load(list(texts), text=texts, name="n").name == "n"
    with pytest.raises(UsageError, match="no spec file"):
        load([])


@pytest.mark.parametrize(
    ("kernel", "wanted"),
    [("{}", None), ("{image: '', cmdline: ''}", None), ("{image: a/k}", Kernel(Reference.parse("a/k")))],
)
def test_an_empty_kernel_section_is_no_kernel(kernel, wanted):
    assert read(f"kernel: {kernel}").kernel == wanted


def test_a_kernel_needs_an_image():
    assert problems("kernel:\n  cmdline: quiet\n") == ["a.yml:1 'image' is missing in kernel"]
    assert problems("kernel: {image: '', cmdline: x}") == ["a.yml:1 kernel.image: the image reference is empty"]


def test_package_directories_are_beside_the_spec_that_names_them(tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / "pkg/web").mkdir(parents=True)
    (tmp_path / "pkg/web/build.yml").write_text("image: web\n")
    (tmp_path / "pkg/empty").mkdir()
    path = tmp_path / "specs/a.yml"
    path.write_text("init: ['@pkg:../pkg/web']\nservices:\n- {name: x, image: '@pkg:../pkg/web'}\n")
    wanted = PackageDir(str(tmp_path / "pkg/web"), "@pkg:../pkg/web")
    assert load([path]).init == (wanted,)
    assert load([path]).services[0].image == wanted
    path.write_text("init:\n- '@pkg:../pkg/none'\n- '@pkg:../pkg/empty'\n- '@pkg:'\n- '@pkg:" + "x" * 5000 + "'\n")
    with pytest.raises(SpecError) as caught:
        load([path])
    found = [(p.origin.line, p.message.removesuffix(repr(str(tmp_path)))) for p in caught.value.problems]
    assert [line for line, _ in found] == [2, 3, 4, 5]
    for words, (_, message) in zip(
        ("no directory", "no build.yml", "names no directory", "no directory"), found, strict=True
    ):
        assert words in message


def test_sources_are_beside_the_spec_or_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/h").write_text("")
    (tmp_path / "s").write_text("")
    text = "files:\n- {path: a, source: s}\n- {path: b, source: ~/h}\n- {path: c, source: none, optional: true}\n"
    path = tmp_path / "a.yml"
    sources = [file.source for file in load([path], text={path: text}).files]
    assert sources == [str(tmp_path / "s"), str(tmp_path / "home/h"), str(tmp_path / "none")]


def test_sources_that_are_no_files(tmp_path):
    (tmp_path / "dir").mkdir()
    path = tmp_path / "a.yml"
    text = "files:\n- {path: a, source: dir}\n- {path: b, source: dir, optional: true}\n- {path: c, source: none}\n"
    text += "- {path: d, source: " + "x" * 5000 + '}\n- {path: e, source: "a\\0b"}\n'
    with pytest.raises(SpecError) as caught:
        load([path], text={path: text})
    assert [p.origin.line for p in caught.value.problems] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("{path: a/../../b, contents: ''}", "leads out"),
        ("{path: .., contents: ''}", "leads out"),
        ("{path: '', contents: ''}", "path is empty"),
        ("{path: /, directory: true}", "the root directory itself"),
        ('{path: "a\\0b", contents: ""}', "leads out"),
        ("{path: a}", "no contents"),
        ("{path: a, directory: false}", "no contents"),
        ("{path: a, symlink: ''}", "no contents"),
        ("{path: a, symlink: b, directory: true}", "symlink and directory"),
        ("{path: a, contents: x, metadata: yaml}", "contents and metadata"),
        ("{path: a, contents: x, mode: '0888'}", "'0888' is not octal"),
        ("{path: a, contents: x, mode: 0644}", "mode is the number 0644"),
        ("{path: a, contents: x, uid: x}", "no container is named 'x'"),
        ("{path: a, contents: x, gid: -1}", "gid -1 is out of range"),
        ("{path: a, contents: x, gid: 4294967295}", "out of range"),
        ("{path: a, contents: x, uid: '33'}", "write 33, without quotes"),
        ("{path: a, content: x}", "did you mean 'contents'"),
    ],
)
def test_files_that_are_refused(file, words):
    with pytest.raises(SpecError) as caught:
        read(f"files:\n- {file}\n")
    (problem,) = caught.value.problems
    assert words in str(problem)
    assert problem.origin.line == 2


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("  capabilities: [net_admin]", "did you mean CAP_NET_ADMIN"),
        ("  capabilities: [CAP_KILL, all]", "'all' stands for the whole list"),
        ("  capabilities.add: [CAP_X]", "unknown capability 'CAP_X'"),
        ("  ambient: [CAP_SYS_ADMN]", "did you mean CAP_SYS_ADMIN"),
        ("  binds.add: [/x]", "bind '/x' has no ':'"),
        ("  binds: ['v:/x']", "there is no volume 'v'"),
        ("  binds: ['./v:/x']", "a path begins with /"),
        ("  mounts: [{type: bind, source: v, destination: /x}]", "there is no volume 'v'"),
        ("  mounts: [{type: bind, destination: /x}]", "no source"),
        ("  mounts: [{type: tmpfs}]", "mount of type 'tmpfs' has no destination"),
        ("  mounts: [{typ: tmpfs, destination: /x}]", "did you mean 'type'"),
        ("  devices: [{type: c, mode: '0600'}]", "a device has no path"),
        ("  devices: [{path: /dev/x, mode: '0600'}]", "device '/dev/x' has no type"),
        ("  devices: [{path: /dev/x, type: z, mode: '0600'}]", "'z' is no device type"),
        ("  devices: [{path: /dev/x, type: c, major: 1, minor: 2}]", "has no mode"),
        ("  devices: [{path: all, type: p}]", "'p' is no device type here (wanted a or b or c)"),
        ("  additionalGids: [0, who]", "no container is named 'who'"),
        ("  uid: xx", "did you mean 'x'?"),
        ("  sysctl: {a: 1}", "services[0].sysctl.a is the number 1"),
        ("  resources: {memory: {limit: 1g}}", "services[0].resources.memory.limit is the text '1g'"),
        ("  resources: {devices: [{alow: true}]}", "did you mean 'allow'"),
        ("  runtime: {interfaces: [{createinroot: true}]}", "did you mean 'createInRoot'"),
        ("  runtime: {noRestart: true}", "unknown key 'noRestart'"),
    ],
)
def test_entries_that_are_refused(lines, words):
    assert words in only(lines)


@pytest.mark.parametrize("name", ["''", ".", "..", "a/b", "../x", '"a\\nb"', "'" + "x" * 251 + "'"])
def test_names_that_are_no_directory_names(name):
    for section in ("onboot", "onshutdown", "services"):
        (found,) = problems(f"{section}:\n- name: {name}\n  image: a\n")
        assert found.startswith("a.yml:2 ")
        assert "name" in found


def test_onboot_may_repeat_a_name_and_services_may_not():
    text = "[{name: x, image: a}, {name: x, image: a}]"
    assert len(read(f"onboot: {text}").onboot) == 2
    assert len(problems(f"services: {text}")) == 1


@pytest.mark.parametrize(
    ("use", "fine"),
    [
        ("binds: ['v:/m:ro']", True),
        ("binds.add: ['v:/m:ro']", True),
        ("binds: ['v:/m']", False),
        ("binds: ['v:/m:ro,rshared']", False),  # the reference wants exactly ro
        ("binds.add: ['v:/m:rw']", False),
        ("mounts: [{type: bind, source: v, destination: /m, options: [bind, ro]}]", True),
        ("mounts: [{type: bind, source: v, destination: /m, options: [rw, ro]}]", False),
        ("mounts: [{type: bind, source: v, destination: /m}]", False),
        ("mounts: [{type: tmpfs, source: v, destination: /m}]", True),
    ],
)
def test_a_readonly_volume_is_bound_readonly(use, fine):
    text = f"volumes: [{{name: v, readonly: true}}]\nonboot:\n- name: x\n  image: a\n  {use}\n"
    if fine:
        read(text)
    else:
        (found,) = problems(text)
        assert found.startswith("a.yml:5 volume 'v' is readonly")


def test_trust_of_several_files_is_put_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read("trust: {}\ninit: [a]").trust == Trust()
    one = "init: [a]\ntrust:\n  org: [linuxkit, library]\n  image: [a/b]\n  keys: [keys/one.pub]\n"
    two = "trust: {org: [more], identities: [{issuer: i, identity: me}], root: root.json}\n"
    assert read(one, two).trust == Trust(
        image=("a/b",),
        org=("linuxkit", "library", "more"),
        keys=(str(tmp_path / "dir/keys/one.pub"),),
        identities=(Signer("i", "me"),),
        root=str(tmp_path / "dir/root.json"),
    )


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        ("{keys: [a.pub]}", "a.yml:2 trust.keys says who must have signed, but nothing says what"),
        ("{identities: [{issuer: i, identity: me}]}", "a.yml:2 trust.identities says who must have signed, but"),
        ("{image: [a], keys: [a.pub], root: r}", "a.yml:2 trust.root is for keyless signers"),
        ("{image: ['A B'], keys: [a.pub]}", "a.yml:2 invalid image reference 'A B'"),
        ("{org: ['/'], keys: [a.pub]}", "a.yml:2 trust.org: '/' names no organisation"),
        ("{org: [a], keys: ['']}", "a.yml:2 trust.keys[0]: '' names no file"),
        ("{org: [a], identities: [{issuer: i}]}", "a.yml:2 'identity' is missing in trust.identities[0]"),
    ],
)
def test_what_trust_cannot_mean(trust, said):
    (found,) = problems(f"init: [a]\ntrust: {trust}\n")
    assert found.startswith(said)


def test_a_trust_section_without_keys_can_be_read():
    """Whether anything is verified is the build's: trust=ignore takes specs of 2017 as they are."""
    assert read("init: [a]\ntrust: {org: [library]}\n").trust == Trust(org=("library",))


def test_a_mistake_is_not_followed_by_others_it_causes():
    text = """
volumes:
- {nam: v}
- {name: w, readonly: 'yes'}
services:
- {name: x, image: 'NO SUCH', binds: ['v:/v', '/a'], uid: y}
- {nmae: y, image: a, gid: x}
- {image: a}
files:
- {path: f, content: x}
- {path: g, contents: 5}
- {contents: x, uid: y}
"""
    assert [each.partition(" ")[0].removeprefix("a.yml:") for each in problems(text)] == [
        "3",  # name is missing
        "3",  # unknown key nam
        "4",  # readonly is text
        "6",  # the reference
        "6",  # a bind without colon
        "7",  # name is missing
        "7",  # unknown key nmae
        "8",  # name is missing
        "10",  # unknown key content
        "11",  # contents is a number
        "12",  # path is missing
    ]


def test_what_stands_after_a_dropped_item_keeps_its_line():
    text = "services:\n- 3\n- name: x\n  image: a\n  binds:\n  - 1\n  - /a:/b\n  - /c\n  tmpfs:\n  - a:b:c\n"
    assert [each.partition(" ")[0] for each in problems(text)] == ["a.yml:2", "a.yml:6", "a.yml:8", "a.yml:10"]


words = st.sampled_from(["x", "a/b:1", "/a:/b", "v:/m", "all", "yaml", "0644", "true", "1", "nofile,1,2", "@pkg:.", ""])
scalars = words | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False) | st.text(max_size=5)


def texts_of(cls: type, depth: int) -> st.SearchStrategy[object]:
    """Maps with keys of `cls`, and now and then another key, of values right and wrong."""
    names = st.sampled_from([*keys(cls), "other"])
    inner = scalars if depth == 0 else scalars | st.lists(st.deferred(lambda: anything(depth - 1)), max_size=3)
    return st.dictionaries(names, inner | anything(depth - 1) if depth else inner, max_size=6)


def anything(depth: int) -> st.SearchStrategy[object]:
    if depth <= 0:
        return scalars
    return st.sampled_from([Container, Kernel, File, Volume, Resources, Runtime, Trust]).flatmap(
        lambda cls: texts_of(cls, depth)
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(texts_of(Spec, 3), min_size=1, max_size=3))
def test_any_documents_give_a_spec_or_a_spec_error(documents):
    texts = {Path(f"{number}.yml"): json.dumps(each) for number, each in enumerate(documents)}
    try:
        assert isinstance(load(list(texts), text=texts), Spec)
    except SpecError as error:
        assert error.problems
        assert all(problem.origin.line or "empty" in problem.message for problem in error.problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=100) | st.text("- :\n[]{}ainmekrl&*'\"", max_size=60).map(str.encode))
def test_any_bytes_give_a_spec_or_a_spec_error(tmp_path, data):
    (tmp_path / "a.yml").write_bytes(data)
    try:
        assert isinstance(load([tmp_path / "a.yml"]), Spec)
    except LkbuildError as error:
        assert isinstance(error, SpecError)
