"""build.yml: what is accepted, what is refused and where, and the params that follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lkbuild.digest import canonical
from lkbuild.errors import ImageError, SpecError
from lkbuild.packages import DebianRequest, fingerprint, read_package, snapshot
from lkbuild.packages.layout import matcher, merged, merged_target, points_at
from lkbuild.packages.params import KernelLayer, LayerEntry, Ownership
from lkbuild.spec.decode import parse_label


def package(tmp_path: Path, text: str) -> Path:
    (tmp_path / "build.yml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("image: a\ndebain: {packages: [x]}\n", 2, "did you mean 'debian'"),
        ("debian: {packages: [x]}\n", 1, "'image' is missing"),
        ("image: a\ndebian:\n  packages: [Foo]\n", 3, "no Debian package's name"),
        ("image: a\ndebian:\n  packages: [foo-]\n", 3, "no Debian package's name"),
        ("image: a\ndebian: {packages: [x]}\nlinks: {../x: y}\n", 3, "leaves the image"),
        ("image: a\ndirectories:\n- {path: a/../../b}\n", 3, "leaves the image"),
        ("image: a\ndirectories:\n- {path: a, mode: '0888'}\n", 3, "not octal"),
        ("image: a\ndirectories:\n- {path: a, uid: -1}\n", 3, "no user or group id"),
        ("image: a\ndebian: {packages: [x]}\nmodes:\n- {path: a}\n", 4, "has no mode"),
        ("image: a\narches: [amd64, vax]\nlinks: {a: b}\n", 2, "'vax' is no architecture"),
        ("image: a\nlinks: {a: b}\nnetwork: true\n", 3, "only to a Dockerfile"),
        ("image: a\nlinks: {a: b}\ndepends: {docker-images: {list: [x]}}\n", 3, "not supported"),
        ("image: a\nkernel: {}\n", 2, "needs `debian`"),
        ("image: a\ndebian: {packages: [x]}\nkernel: {}\nlinks: {a: b}\n", 4, "cannot stand in a kernel's package"),
        ("image: a\ndockerfile: D\ncmd: [x]\n", 3, "cannot stand beside a Dockerfile"),
        ("image: a\ndockerfile: D\n", 2, "there is no 'D'"),
        ("image: a\n", 0, "nothing an image could be made of"),
        ("image: a\nroot: r\n", 2, "no directory 'r'"),
        ("image: a\nlinks: {a: b}\nenv: [A]\n", 3, "is not NAME=VALUE"),
        ("image: a\nusers: [{name: 'a:b', uid: 1}]\n", 2, "no user's or group's name"),
        ("image: a\nusers: [{name: a, uid: 1, home: 'x:y'}]\n", 2, "cannot hold"),
        ("image: a\nlinks: {a: b}\nconfig: {image: x}\n", 3, "unknown key 'image'"),
    ],
)
def test_refused(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_package(package(tmp_path, text))
    problem = next(p for p in caught.value.problems if words in str(p))
    assert not line or problem.origin.line == line
    assert problem.origin.file.endswith("build.yml")


def test_no_package_at_all(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no directory '.*/none'\n  hint: .*relative to the spec"):
        read_package(tmp_path / "none")
    with pytest.raises(SpecError, match=r"there is no build\.yml in .*\n  hint: .*image: NAME"):
        read_package(tmp_path)


def test_all_problems_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_package(package(tmp_path, "image: a\nlinks: {a: b}\narches: [vax]\nenv: [A]\nnetwork: true\n"))
    assert [p.origin.line for p in caught.value.problems] == [3, 4, 5]


def test_linuxkit_fields_are_known(tmp_path: Path) -> None:
    text = "image: a\norg: o\ntag: t\ngitrepo: g\ndisable-cache: true\ndisable-content-trust: true\nlinks: {a: b}\n"
    assert read_package(package(tmp_path, text)).name == "a"


def test_the_label_reads_back_as_the_same_config(tmp_path: Path) -> None:
    text = """image: a
links: {a: b}
config:
  capabilities: [all]
  binds.add: ["/a:/b"]
  readonly: false
  sysctl: {net.x: "1"}
  resources: {memory: {limit: 5, disableOOMKiller: true}, hugepageLimits: [{pageSize: 2MB, limit: 1}]}
  uidMappings: [{hostID: 1, containerID: 2, size: 3}]
  runtime: {mkdir: [/x], bindNS: {net: /run/n}}
"""
    read = read_package(package(tmp_path, text))
    assert parse_label(read.label() or "") == read.build.config
    assert json.loads(read.label() or "")["sysctl"] == {"net.x": "1"}
    assert read.run_config("amd64").label == read.label()


def test_the_run_config(tmp_path: Path) -> None:
    read = read_package(
        package(tmp_path, "image: a\nlinks: {a: b}\ncmd: [x]\nentrypoint: [y]\nworkdir: /w\nenv: [A=1]\n")
    )
    run = read.run_config("amd64")
    assert (run.cmd, run.entrypoint, run.working_dir, run.label) == (("x",), ("y",), "/w", None)
    assert run.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "A=1")
    run = read_package(package(tmp_path, "image: a\nlinks: {a: b}\nenv: ['PATH=/x']\n")).run_config("amd64")
    assert run.env == ("PATH=/x",)


def test_the_request_names_what_is_for_the_architecture(tmp_path: Path) -> None:
    text = "image: a\ndebian: {packages: [z, b], amd64: [m], arm64: [n], without: [p*, d]}\n"
    read = read_package(package(tmp_path, text))
    assert read.request("amd64") == DebianRequest("amd64", ("b", "m", "z"), ("d", "p*"))
    assert read.request("riscv64") == DebianRequest("riscv64", ("b", "z"), ("d", "p*"))
    read = read_package(package(tmp_path, "image: a\ndebian: {amd64: [m]}\nkernel: {modules: [a-b, kernel/fs/x-y]}\n"))
    assert read.request("arm64") is None
    assert read.debian_params() == KernelLayer(("a_b", "kernel/fs/x-y"))
    with pytest.raises(SpecError, match="no Debian package with a kernel for arm64"):
        read.check("arm64")


def test_arches(tmp_path: Path) -> None:
    read = read_package(package(tmp_path, "image: a\nlinks: {a: b}\narches: [arm64]\n"))
    read.check("arm64")
    with pytest.raises(SpecError, match="cannot be built for amd64"):
        read.check("amd64")


def test_entries_of_the_own_layer(tmp_path: Path) -> None:
    text = """image: a
applets: [{binary: bin/busybox, names: [sh, usr/sbin/init, sbin/x]}]
links: {init: sbin/init, bin/sh2: ../usr/bin/sh}
directories: [{path: tmp, mode: '1777'}]
modes: [{path: bin/tool, mode: '4750', uid: 5}]
users: [{name: www-data, uid: 33}]
"""
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/tool").write_text("x")
    (tmp_path / "root/bin/rel").symlink_to("../etc/x")
    read = read_package(package(tmp_path, text))
    tree = read.tree()
    assert tree is not None
    entries = snapshot(tree)
    params = read.package_params(entries)
    assert params is not None and params.base
    found = {each.path: each for each in params.entries}
    assert found["usr/bin/tool"] == LayerEntry("usr/bin/tool", "file", 0o4750, 5)
    assert found["usr/bin/rel"].target == "../../etc/x"
    assert found["usr/bin/sh"].target == "busybox"
    assert found["usr/sbin/init"].target == found["usr/sbin/x"].target == "/usr/bin/busybox"
    assert found["init"].target == "sbin/init"
    assert found["tmp"].mode == 0o1777
    assert found["etc/passwd"].contents == (
        "root:*:0:0::/root:/bin/sh\n"
        "www-data:*:33:33::/nonexistent:/usr/sbin/nologin\n"
        "nobody:*:65534:65534::/nonexistent:/usr/sbin/nologin\n"
    )
    assert found["etc/group"].contents == "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"
    assert canonical(params)


def test_a_mode_goes_to_the_layer_that_has_the_file(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/mine").write_text("")
    text = "image: a\ndebian: {packages: [x]}\nmodes: [{path: mine, mode: '0600'}, {path: bin/su, mode: '4755'}]\n"
    read = read_package(package(tmp_path, text))
    entries = snapshot(tmp_path / "root")
    below, above = read.debian_params(entries), read.package_params(entries)
    assert below is not None and not isinstance(below, KernelLayer) and above is not None
    assert below.modes == (Ownership("usr/bin/su", 0o4755),)
    assert [(each.path, each.mode) for each in above.entries] == [("mine", 0o600)]


def test_a_mode_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/mine").write_text("")
    modes = "- {path: mine, mode: '0600'}\n- {path: nime, mode: '0600'}\n- {path: bin/x, mode: '0700'}\n"
    read = read_package(package(tmp_path, f"image: a\nmodes:\n{modes}"))
    with pytest.raises(SpecError) as caught:
        read.package_params(snapshot(tmp_path / "root"))
    assert [(each.origin.line, each.message) for each in caught.value.problems] == [
        (4, "modes: nime: the package has no such file"),
        (5, "modes: usr/bin/x: the package has no such file"),
    ]
    assert "root/" in (caught.value.problems[0].hint or "")


def test_a_change_of_the_tree_leaves_the_debian_layer_alone(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_text("1")
    read = read_package(package(tmp_path, "image: a\ndebian: {packages: [x]}\n"))
    before = snapshot(tmp_path / "root")
    (tmp_path / "root/a").write_text("2")
    (tmp_path / "root/b").write_text("3")
    after = snapshot(tmp_path / "root")
    assert read.debian_params(before) == read.debian_params(after)
    assert read.package_params(before) != read.package_params(after)


def test_a_dockerfile_is_used_where_nothing_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    read = read_package(package(tmp_path, "image: a\nbuildArgs: [A=b=c]\nnetwork: true\nconfig: {readonly: true}\n"))
    assert read.kind == "dockerfile"
    params = read.dockerfile_params("amd64", snapshot(tmp_path))
    assert params.arguments == (("A", "b=c"),) and params.network
    assert params.labels == (("org.mobyproject.config", '{"readonly":true}'),)
    assert [each.path for each in params.entries] == ["Dockerfile", "build.yml"]
    assert read_package(package(tmp_path, "image: a\nlinks: {a: b}\n")).kind == "layers"


def test_users_and_a_passwd_of_ones_own_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text("")
    with pytest.raises(SpecError, match="keep one of the two"):
        read_package(package(tmp_path, "image: a\nusers: [{name: a, uid: 1}]\n"))


def test_one_place_named_twice_in_a_tree(tmp_path: Path) -> None:
    for name in ("bin/x", "usr/bin/x"):
        (tmp_path / "root" / name).parent.mkdir(parents=True)
        (tmp_path / "root" / name).write_text(name)
    read = read_package(package(tmp_path, "image: a\n"))
    with pytest.raises(ImageError, match="there twice"):
        read.package_params(snapshot(tmp_path / "root"))


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("usr/share/doc", "usr/share/doc/a/b", True),
        ("usr/share/doc", "usr/share/docs", False),
        ("usr/*/doc", "usr/share/doc", True),
        ("usr/*", "usr/a/b", True),
        ("**/*.crt", "a/b/c.crt", True),
        ("**/*.crt", "c.crt", True),
        ("a/**/c", "a/c", True),
        ("a/**", "a", False),
        ("a/**", "a/b/c", True),
        ("/bin/sh", "usr/bin/sh", True),
        ("usr/bin/[ab]?", "usr/bin/ax", True),
        ("usr/bin/[!ab]x", "usr/bin/ax", False),
        ("usr/bin/[", "usr/bin/[", True),
        ("a.c", "abc", False),
    ],
)
def test_globs(pattern: str, path: str, matches: bool) -> None:
    assert matcher((pattern,))(path) is matches


@pytest.mark.parametrize(
    ("path", "target", "moved", "reason"),
    [
        ("bin/x", "../etc/y", "../../etc/y", "one directory deeper now"),
        ("bin/x", "../usr/bin/y", "y", "neighbours now"),
        ("lib/a/x", "../../lib/b/y", "../b/y", "what it named has moved too"),
        ("bin/x", "y", "y", "a neighbour stays one"),
        ("bin/x", "/etc/y", "/etc/y", "absolute"),
        ("usr/bin/x", "../../etc/y", "../../etc/y", "not moved"),
    ],
)
def test_moved_links(path: str, target: str, moved: str, reason: str) -> None:
    assert merged_target(path, target) == moved, reason
    assert points_at(merged(path), moved) == points_at(path, target)


# -- trees -------------------------------------------------------------------------------------------------------------


def test_a_snapshot_keeps_what_git_keeps(tmp_path: Path) -> None:
    (tmp_path / "d/empty").mkdir(parents=True)
    (tmp_path / "d/tool").write_text("x")
    (tmp_path / "d/tool").chmod(0o700)
    (tmp_path / "plain").write_text("y")
    (tmp_path / "plain").chmod(0o666)
    (tmp_path / "link").symlink_to("d/tool")
    for name in ("a~", ".#a", ".a.swp", "4913", ".DS_Store"):
        (tmp_path / name).write_text("z")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/x").write_text("z")
    (tmp_path / ".gitignore").write_text("kept")
    found = [(e.path, e.kind, oct(e.mode), e.target, e.size) for e in snapshot(tmp_path)]
    assert found == [
        (".gitignore", "file", "0o644", "", 4),
        ("d/tool", "file", "0o755", "", 1),
        ("link", "symlink", "0o777", "d/tool", 0),
        ("plain", "file", "0o644", "", 1),
    ]


def test_a_file_that_does_not_hold_still(tmp_path: Path) -> None:
    from lkbuild.digest import Digest

    (tmp_path / "a").write_text("1")
    counts = []

    def once(path: Path) -> Digest:
        digest = Digest.of_file(path)
        if not counts:
            path.write_text("22")
        counts.append(1)
        return digest

    assert snapshot(tmp_path, once)[0].digest == Digest.of(b"22")

    def always(path: Path) -> Digest:
        path.write_text(path.read_text() + "x")
        return Digest.of_file(path)

    with pytest.raises(ImageError, match="changes while it is read"):
        snapshot(tmp_path, always)


def test_special_files_are_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="neither a file"):
        snapshot(tmp_path)


def test_the_fingerprint_sees_what_a_snapshot_would(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "none") == "absent"
    (tmp_path / "a").write_text("1")
    seen = [fingerprint(tmp_path)]
    assert fingerprint(tmp_path) == seen[0]
    (tmp_path / "a").write_text("2")
    seen.append(fingerprint(tmp_path))
    (tmp_path / "a").chmod(0o755)
    seen.append(fingerprint(tmp_path))
    (tmp_path / "b").symlink_to("x")
    seen.append(fingerprint(tmp_path))
    (tmp_path / "b").unlink()
    (tmp_path / "b").symlink_to("y")
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == 5
    (tmp_path / "a~").write_text("editor")
    assert fingerprint(tmp_path) == seen[-1]
