"""Debian packages: found by the real apt in a repository made here, and unpacked; dpkg-deb makes what is read."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.archive.deb import control, entries, fields
from lkbuild.digest import Digest
from lkbuild.errors import ArchiveError, ImageError, StepError
from lkbuild.oci.image import ImageConfig, Manifest, RunConfig
from lkbuild.packages import DebianRequest
from lkbuild.packages.closure import closure, parse_uri_line
from lkbuild.packages.params import Concatenation, DebianLayer, ImageDocuments, LayerEntry, Ownership, PackageLayer
from lkbuild.sources.debian import Apt, fetch
from lkbuild.steps.package_debian import debian_layer
from lkbuild.steps.package_image import image_documents
from lkbuild.steps.package_own import package_layer
from tests.unit.debs import Tree, listing, make_deb, needs_dpkg, text_of, work

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="the host has no apt")


def unpack(directory: Path, params: DebianLayer, *debs: Path) -> Path:
    job = work(directory, **{f"deb{n}": deb for n, deb in enumerate(debs)})
    debian_layer(params, job)
    assert [p.name for p in directory.iterdir()] == ["layer"]
    return job.output("layer")


# -- reading a package -------------------------------------------------------------------------------------------------


@needs_dpkg
@pytest.mark.parametrize("codec", ["xz", "gzip", "zstd", "none"])
def test_every_compression_of_a_package(tmp_path: Path, codec: str) -> None:
    deb = make_deb(tmp_path, "a", {"usr/bin/a": "x" * 100_000, "usr/bin/b": "-> a", "etc/c": ""}, ("-Z" + codec,))
    found = {e.path: (e.kind, e.mode, e.target, body.read() if body else None) for e, body in entries(deb)}
    assert found["usr/bin/a"] == ("file", 0o755, "", b"x" * 100_000)
    assert found["usr/bin/b"] == ("symlink", 0o777, "a", None)
    assert found["usr"][0] == "directory"
    assert fields(control(deb))["version"] == "1:1.0~rc"


@needs_dpkg
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_package_is_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    base = tmp_path_factory.getbasetemp() / "fuzz"
    if not base.exists():
        base.mkdir()
        make_deb(base, "a", {"usr/bin/a": "hello" * 100, "usr/bin/b": "-> a"})
    raw = bytearray((base / "a_1.0_all.deb").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(raw)))
    (base / "b.deb").write_bytes(raw[:end])
    try:
        control(base / "b.deb")
        for _, body in entries(base / "b.deb"):
            if body:
                body.read()
    except ArchiveError:
        pass


def test_names_do_not_leave_the_root(tmp_path: Path) -> None:
    tar = tmp_path / "data.tar"
    with tarfile.open(tar, "w") as out:
        out.addfile(tarfile.TarInfo("./../x"))
    data = tar.read_bytes()
    (tmp_path / "a.deb").write_bytes(
        b"!<arch>\n" + b"%-16s%-12s%-6s%-6s%-8s%-10d`\n" % (b"data.tar", b"0", b"0", b"0", b"0", len(data)) + data
    )
    with pytest.raises(ArchiveError, match="leaves the root"):
        list(entries(tmp_path / "a.deb"))


def test_fields_continue() -> None:
    found = fields(b"Package: a\nDepends: b,\n c (>= 1)\n# no\nDescription: d\n .\n")
    assert found == {"package": "a", "depends": "b,\nc (>= 1)", "description": "d\n."}


# -- the layer ---------------------------------------------------------------------------------------------------------


@needs_dpkg
def test_the_layer_has_the_merged_usr(tmp_path: Path) -> None:
    tree: Tree = {
        "bin/sh": "shell", "bin/up": "-> ../etc/x", "lib/a.so": "-> a.so.1", "usr/bin/self": "-> /bin/self",
        "lib64/ld.so": "-> ../lib/ld.so", "sbin/empty.d": None,
    }  # fmt: skip
    found = listing(unpack(tmp_path / "out", DebianLayer(), make_deb(tmp_path, "a", tree)))
    assert found == {
        **{name: f"l777 0:0 usr/{name}" for name in ("bin", "lib", "lib64", "sbin")},
        **{f"usr{name}": "d755 0:0" for name in ("", "/bin", "/lib", "/lib64", "/sbin", "/sbin/empty.d", "/share")},
        "usr/bin/sh": "-755 0:0",
        "usr/bin/up": "l777 0:0 ../../etc/x",
        "usr/lib/a.so": "l777 0:0 a.so.1",
        "usr/lib64/ld.so": "l777 0:0 ../lib/ld.so",
        **{f"var{name}": "d755 0:0" for name in ("", "/lib", "/lib/dpkg", "/lib/dpkg/status.d")},
        "var/lib/dpkg/status.d/a": "-644 0:0",
    }


@needs_dpkg
def test_filters(tmp_path: Path) -> None:
    tree: Tree = {
        "usr/share/doc/a/copyright": "c", "usr/share/doc/a/README": "r", "usr/share/man/man1/a.1": "m",
        "usr/share/a/keep/x": "1", "usr/share/a/drop/y": "2", "usr/share/a/drop/z": "3", "etc/a": "4",
    }  # fmt: skip
    deb = make_deb(tmp_path, "a", tree)

    def files(name: str, params: DebianLayer) -> set[str]:
        found = listing(unpack(tmp_path / name, params, deb))
        return {path for path, what in found.items() if what.startswith("-") and not path.startswith("var/")}

    always = {"usr/share/doc/a/copyright", "usr/share/a/keep/x"}
    assert files("1", DebianLayer()) == always | {"usr/share/a/drop/y", "usr/share/a/drop/z", "etc/a"}
    assert files("2", DebianLayer(exclude=("usr/share/a/drop",), keep=("usr/share/a/*/z", "usr/share/man"))) == (
        always | {"usr/share/a/drop/z", "etc/a", "usr/share/man/man1/a.1"}
    )
    assert files("3", DebianLayer(only=("usr/share/a/keep",))) == {"usr/share/a/keep/x"}


@needs_dpkg
def test_modes_and_hard_links(tmp_path: Path) -> None:
    deb = make_deb(tmp_path, "a", {"usr/bin/su": "x", "usr/bin/z": "= usr/bin/su", "usr/share/d": None})
    params = DebianLayer(modes=(Ownership("usr/bin/su", 0o4755), Ownership("usr/share/d", 0o700, 1, 2)))
    found = listing(unpack(tmp_path / "1", params, deb))
    assert (found["usr/bin/su"], found["usr/share/d"]) == ("-4755 0:0", "d700 1:2")
    assert found["usr/bin/z"].startswith("h") and found["usr/bin/z"].endswith("usr/bin/su")
    with pytest.raises(StepError, match=r"usr/bin/none: neither"):
        unpack(tmp_path / "2", DebianLayer(modes=(Ownership("usr/bin/none", 0o644),)), deb)
    with pytest.raises(StepError, match="hard link to usr/bin/su, which is left out"):
        unpack(tmp_path / "3", DebianLayer(exclude=("usr/bin/su",)), deb)


@needs_dpkg
def test_two_packages_with_one_path(tmp_path: Path) -> None:
    old = make_deb(tmp_path, "a", {"etc/x": "old"})
    with pytest.raises(StepError, match=r"etc/x is a file of the Debian package b, and a file of a"):
        unpack(tmp_path / "1", DebianLayer(), old, make_deb(tmp_path, "b", {"etc/x": "b"}))
    new = make_deb(tmp_path, "c", {"etc/x": "new"}, Replaces="a (<< 2), z")
    assert text_of(unpack(tmp_path / "2", DebianLayer(), old, new), "etc/x") == "new"
    with pytest.raises(StepError, match="is a directory of"):
        unpack(tmp_path / "3", DebianLayer(), old, make_deb(tmp_path, "d", {"etc/x/y": "1"}))
    with pytest.raises(StepError, match="two Debian packages are called 'a'"):
        unpack(tmp_path / "4", DebianLayer(), old, old)


@needs_dpkg
def test_same_packages_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debs = [make_deb(tmp_path, name, {f"etc/{name}": name, "usr/bin": None}) for name in ("a", "b")]
    first = unpack(tmp_path / "1", DebianLayer(), *debs).read_bytes()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = os.umask(0o077)
    try:
        second = unpack(tmp_path / "2", DebianLayer(), *reversed(debs)).read_bytes()
    finally:
        os.umask(before)
    assert first == second
    assert len(first) % 10240 == 0


@needs_dpkg
def test_own_layer_and_concatenation(tmp_path: Path) -> None:
    deb = make_deb(tmp_path, "ca", {"usr/share/ca/b.crt": "B", "usr/share/ca/a.crt": "A\n", "usr/share/ca/x": "no"})
    below = unpack(tmp_path / "below", DebianLayer(), deb)
    (tmp_path / "mine").write_bytes(b"MINE")
    params = PackageLayer(
        (
            LayerEntry("etc/ca/mine.crt", "file", 0o644),
            LayerEntry("etc/passwd", "file", 0o644, contents="root\n"),
            LayerEntry("run", "symlink", 0o777, target="/var/run"),
            LayerEntry("tmp", "directory", 0o1777),
        ),
        (Concatenation("etc/all.pem", ("usr/share/ca/*.crt", "etc/ca")),),
    )
    job = work(tmp_path / "own", debian=below, file0=tmp_path / "mine")
    package_layer(params, job)
    assert list(listing(job.output("layer")).items()) == [
        ("etc/all.pem", "-644 0:0"), ("etc/ca/mine.crt", "-644 0:0"), ("etc/passwd", "-644 0:0"),
        ("run", "l777 0:0 /var/run"), ("tmp", "d1777 0:0"),
    ]  # fmt: skip
    assert text_of(job.output("layer"), "etc/all.pem") == "MINE\nA\nB\n"
    empty = PackageLayer((), (Concatenation("x", ("nothing/**",)),))
    with pytest.raises(StepError, match="no file answers to"):
        package_layer(empty, work(tmp_path / "none", debian=below))


def test_a_package_without_debian_packages_has_the_merged_usr_itself(tmp_path: Path) -> None:
    job = work(tmp_path / "own")
    package_layer(
        PackageLayer((LayerEntry("usr/bin/x", "symlink", target="y"), LayerEntry("usr/bin", "directory")), base=True),
        job,
    )
    found = listing(job.output("layer"))
    assert found["lib"] == "l777 0:0 usr/lib" and found["usr/bin"] == "d755 0:0"


def test_image_documents(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"layer")
    job = work(tmp_path / "out", layer0=tmp_path / "l")
    image_documents(ImageDocuments("arm64", RunConfig(cmd=("a",), env=("B=c",)), (("k", "v"),)), job)
    config = job.output("config").read_bytes()
    manifest = Manifest.parse(job.output("manifest").read_bytes())
    assert manifest.config.digest == Digest.of(config)
    assert (manifest.layers[0].digest, manifest.layers[0].size) == (Digest.of(b"layer"), 5)
    assert ImageConfig.from_config(config).diff_ids == (Digest.of(b"layer"),)
    assert RunConfig.from_config(config).cmd == ("a",)


# -- apt ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Apt]:
    """Publishes packages in a flat repository, and gives an apt that knows no other."""
    place = tmp_path / "repo%"
    place.mkdir()
    (tmp_path / "parts").mkdir()

    def publish(*debs: Path) -> Apt:
        text = ""
        for deb in debs:
            shutil.copy(deb, place)
            raw = deb.read_bytes()
            text += control(deb).decode().rstrip("\n") + f"\nFilename: ./{deb.name}\nSize: {len(raw)}\n"
            text += f"SHA256: {hashlib.sha256(raw).hexdigest()}\n\n"
        (place / "Packages").write_text(text)
        (tmp_path / "list").write_text(f"deb [trusted=yes] file:{tmp_path}/repo%25 ./\n")
        options = (
            ("Dir::Etc::sourcelist", str(tmp_path / "list")),
            ("Dir::Etc::sourceparts", str(tmp_path / "parts")),
            ("Dir::Etc::preferencesparts", str(tmp_path / "parts")),
        )
        return Apt(tmp_path / "state", options)

    return publish


@needs_dpkg
@needs_apt
def test_apt_resolves_from_its_own_state(tmp_path: Path, repository: Callable[..., Apt]) -> None:
    apt = repository(
        make_deb(tmp_path, "app", {"etc/app": ""}, Depends="lib (>= 1), helper | other", Recommends="extra"),
        make_deb(tmp_path, "lib", {"etc/lib": ""}),
        make_deb(tmp_path, "helper", {"etc/h": ""}, Depends="deep", Provides="virtual"),
        make_deb(tmp_path, "deep", {"etc/d": ""}),
        make_deb(tmp_path, "extra", {"etc/e": ""}),
    )
    said: list[str] = []
    debs = apt.resolve(DebianRequest("amd64", ("app",)), say=said.append)
    assert [deb.name for deb in debs] == ["app", "deep", "helper", "lib"]
    assert [deb.name for deb in apt.resolve(DebianRequest("amd64", ("app",), ("hel*",)), say=said.append)] == [
        "app",
        "lib",
    ]
    assert len(said) == 1, "the lists are fetched once"
    assert (debs[0].version, debs[0].architecture) == ("1:1.0~rc", "all")
    assert apt.address(debs[0], "amd64") == debs[0].uri, "from the version alone, as a record has it"
    for other in (replace(debs[0], version="1:0.9"), replace(debs[0], name="-o=x"), replace(debs[0], version="a b")):
        with pytest.raises(ImageError):
            apt.address(other, "amd64")
    target = tmp_path / "got"
    seen: list[tuple[int, int]] = []
    fetch(debs[0].uri, debs[0].size, debs[0].digest, target, lambda done, of: seen.append((done, of)))
    assert Digest.of_file(target) == debs[0].digest
    assert seen == [(0, debs[0].size), (debs[0].size, debs[0].size)]
    with pytest.raises(ImageError, match="wanted sha256:0000"):
        fetch(debs[0].uri, debs[0].size, Digest.parse("sha256:" + "0" * 64), target, lambda done, of: None)
    assert not target.exists()


@needs_dpkg
@needs_apt
def test_apt_says_what_is_wrong(tmp_path: Path, repository: Callable[..., Apt]) -> None:
    apt = repository(
        make_deb(tmp_path, "nginx-light", {"etc/x": ""}),
        make_deb(tmp_path, "broken", {"etc/y": ""}, Depends="not-there (>= 3)"),
    )
    with pytest.raises(ImageError, match="did you mean nginx-light") as caught:
        apt.resolve(DebianRequest("arm64", ("nginx-lite",)))
    assert "for arm64" in caught.value.message
    with pytest.raises(ImageError, match=r"broken : Depends: not-there"):
        apt.resolve(DebianRequest("arm64", ("broken",)))


@needs_dpkg
@needs_apt
def test_lists_are_renewed_once(tmp_path: Path, repository: Callable[..., Apt]) -> None:
    repository(make_deb(tmp_path, "old", {"etc/y": ""})).resolve(DebianRequest("arm64", ("old",)))
    apt = repository(make_deb(tmp_path, "new", {"etc/z": ""}), make_deb(tmp_path, "newer", {"etc/a": ""}))
    said: list[str] = []
    for architecture in ("arm64", "amd64"):
        for name in ("new", "newer"):
            debs = apt.resolve(DebianRequest(architecture, (name,)), renew=True, say=said.append)
            assert [deb.name for deb in debs] == [name]
    assert said == [f"fetching the lists of Debian packages for {each}" for each in ("arm64", "amd64")]


@needs_dpkg
@needs_apt
@pytest.mark.parametrize(
    ("restriction", "offered", "found"),
    [
        ("", "amd64 arm64", True),
        ("arch=amd64,arm64", "amd64 arm64", True),
        ("arch+=s390x", "amd64 arm64", True),
        ("arch=amd64", "amd64 arm64", False),  # Debian's for a host that has others' packages too
        ("arch-=arm64", "amd64 arm64", False),
        ("", "amd64", False),  # Ubuntu's first mirror
    ],
)
def test_sources_for_some_architectures(
    tmp_path: Path, repository: Callable[..., Apt], restriction: str, offered: str, found: bool
) -> None:
    """What the host's sources say of architectures holds for another one than the host's too."""
    apt = repository(make_deb(tmp_path, "app", {"etc/app": ""}, Architecture="arm64"))
    place = tmp_path / "repo%"
    packages = (place / "Packages").read_text()
    release = f"Architectures: {offered}\nComponents: main\nSHA256:\n"
    for architecture in offered.split():
        listed = place / f"dists/s/main/binary-{architecture}/Packages"
        listed.parent.mkdir(parents=True)
        raw = packages.replace("Architecture: arm64", f"Architecture: {architecture}").encode()
        listed.write_bytes(raw)
        release += f" {hashlib.sha256(raw).hexdigest()} {len(raw)} main/binary-{architecture}/Packages\n"
    (place / "dists/s/Release").write_text(release)
    (tmp_path / "list").write_text(f"deb [trusted=yes {restriction}] file:{tmp_path}/repo%25 s main\n")
    request = DebianRequest("arm64", ("app",))
    if found:
        assert [deb.name for deb in apt.resolve(request)] == ["app"]
        return
    with pytest.raises(ImageError, match="for arm64") as caught:
        apt.resolve(request)
    assert "no packages for arm64" in (caught.value.hint or ""), caught.value


@needs_apt
def test_sources_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"deb [trusted=yes] file:{tmp_path}/nowhere ./\n")
    options = (("Dir::Etc::sourcelist", str(tmp_path / "list")), ("Dir::Etc::sourceparts", "/dev/null"))
    with pytest.raises(ImageError, match="could not be fetched"):
        Apt(tmp_path / "state", options).resolve(DebianRequest("amd64", ("a",)))
    with pytest.raises(ImageError, match="cannot fetch"):
        fetch(f"file:{tmp_path}/none.deb", 1, Digest.of(b""), tmp_path / "x", lambda done, of: None)


def test_no_apt_is_said_plainly(tmp_path: Path) -> None:
    from lkbuild.errors import ToolError

    with pytest.raises(ToolError, match="no-such-apt is missing"):
        Apt(tmp_path, program="no-such-apt").resolve(DebianRequest("amd64", ("a",)))


def test_uri_lines() -> None:
    line = "'http://x/libattr1_2.5.1-4_amd64.deb' libattr1_1%3a2.5.1-4_amd64.deb 22164 MD5Sum:52f"
    assert (parse_uri_line(line).name, parse_uri_line(line).version) == ("libattr1", "1:2.5.1-4")
    for bad in ("'http://x' a.deb 1", "x", "'a' b_c_d.deb x"):
        with pytest.raises(ImageError, match="not understood"):
            parse_uri_line(bad)


def test_the_closure_goes_through_provides_and_stops_at_what_is_left_out() -> None:
    stanzas = {
        name: {"sha256": "0" * 64, "size": "1", "architecture": "all", **more}
        for name, more in {
            "a": {"depends": "virt:any, c | d (>= 1)"}, "b": {"provides": "virt (= 1)", "pre-depends": "e"},
            "c": {}, "d": {"depends": "a"}, "e": {"depends": "f"}, "f": {}, "g": {},
        }.items()
    }  # fmt: skip
    listed = tuple(parse_uri_line(f"'{name}' {name}_1_all.deb 1") for name in stanzas)

    def names(*without: str) -> str:
        return "".join(deb.name for deb in closure(DebianRequest("amd64", ("a",), without), listed, stanzas))

    assert (names(), names("e"), names("b"), names("[cd]", "f")) == ("abcdef", "abcd", "acd", "abe")


@pytest.mark.network
@needs_apt
def test_the_hosts_own_repositories(tmp_path: Path) -> None:
    debs = Apt(tmp_path / "state").resolve(DebianRequest("amd64", ("ca-certificates",), ("openssl", "debconf")))
    assert [deb.name for deb in debs] == ["ca-certificates"]
    fetch(debs[0].uri, debs[0].size, debs[0].digest, tmp_path / "ca.deb", lambda done, of: None)
    layer = unpack(tmp_path / "out", DebianLayer(), tmp_path / "ca.deb")
    assert sum(path.endswith(".crt") for path in listing(layer)) > 100
