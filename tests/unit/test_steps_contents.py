"""The steps that tell what is in an image: layers, Debian packages, attestations; and which kernel a kernel is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lkbuild.contents import attestation
from lkbuild.contents.model import Contents
from lkbuild.digest import Digest
from lkbuild.errors import LkbuildError, StepError
from lkbuild.plan.contents_kinds import Hashes, ImageContents, KernelRelease
from lkbuild.store import Blob, Result, Store
from lkbuild.store.recipe import Recipe, Tree
from tests.support.layouts import layer
from tests.support.steps import carry_out
from tests.unit.debs import make_deb, needs_dpkg
from tests.unit.test_contents_databases import APK, GO, IMAGE, STATUS, names, statement

RELEASE = b"ID=alpine\nVERSION_ID=3.20.0\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def listed(store: Store, inputs: dict[str, bytes], params: ImageContents = ImageContents()) -> tuple[Contents, Result]:  # noqa: B008
    blobs = {role: store.add(data) for role, data in inputs.items()}
    result = carry_out(store, "image-contents", params, blobs)
    return Contents.decode(store.read(result["contents"].digest)), result


def test_layers(store: Store) -> None:
    layers = {
        "layer0": layer([("etc/os-release", RELEASE), ("lib/apk/db/installed", APK.encode())]),
        "layer1": layer([("etc/motd", b"hello")]),
    }
    found, result = listed(store, layers)
    assert names(list(found.packages)) == ["busybox 1.36.1-r29", "musl 1.2.5-r0"]
    assert found.sources == ("apk",)
    assert found.layers == tuple(map(Digest.of, layers.values()))
    assert result.notes == ("1 records of apk's database have no name and version that could be read",)


@pytest.mark.parametrize(
    ("files", "notes"),
    [
        ([("bin/app", b"x")], ()),
        ([("var/lib/rpm/rpmdb.sqlite", b"SQLite")], ("its rpm database is not read",)),
        ([("var/lib/dpkg/status", b"")], ()),
    ],
)
def test_an_image_without_a_database(store: Store, files: list[tuple[str, bytes]], notes: tuple[str, ...]) -> None:
    found, _ = listed(store, {"layer0": layer(files)})
    assert (found.packages, found.sources, found.notes) == ((), (), notes)


def test_a_damaged_layer_is_an_error_as_it_is_for_whoever_lays_it_down(store: Store) -> None:
    with pytest.raises(LkbuildError, match="layer sha256:"):
        listed(store, {"layer0": gzip.compress(b"no tar" * 1000)})


def test_an_attestation_beside_a_database(store: Store) -> None:
    status = layer([("var/lib/dpkg/status", STATUS.encode())])
    known = {"name": "libc6", "versionInfo": "2.36-9+deb12u14", "licenseDeclared": "LGPL-2.1-only"}
    purl = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
    known["externalRefs"] = [{"referenceType": "purl", "referenceLocator": purl}]  # type: ignore[assignment]
    found, result = listed(store, {"layer0": status, "sbom0": statement(GO, known)}, ImageContents(IMAGE))
    assert found.sources == ("dpkg", "the image's own SBOM")
    assert names(list(found.packages)) == [
        "half 1:2~rc1-3",
        "held 3",
        "libc6 2.36-9+deb12u14",
        "golang.org/x/net v0.1.0",
    ]
    libc = found.packages[2]
    assert (libc.supplier[:3], libc.license) == ("GNU", "LGPL-2.1-only"), "each account says what the other does not"
    assert result.notes == ()


def test_an_attestation_of_another_image_is_left_aside_and_said_so(store: Store) -> None:
    found, result = listed(store, {"layer0": layer([]), "sbom0": statement(GO)}, ImageContents(Digest.of(b"other")))
    assert (found.packages, found.sources) == ((), ())
    assert len(result.notes) == 1
    assert f"it is about {IMAGE.hex}, not about {Digest.of(b'other')}" in result.notes[0]


def test_an_attestation_too_large_to_be_fetched(store: Store) -> None:
    _, result = listed(store, {"layer0": layer([])}, ImageContents(IMAGE, (attestation.MAX_BYTES + 1,)))
    assert result.notes == ("the image's own SBOM has 16777217 bytes, 16777216 is the most that is read",)


def test_an_attestation_of_nothing(store: Store) -> None:
    with pytest.raises(StepError, match="it has no manifest"):
        listed(store, {"layer0": layer([]), "sbom0": statement(GO)})


@needs_dpkg
def test_debian_packages(store: Store, tmp_path: Path) -> None:
    """What the packages say counts; their layer is not even looked into, what lies above it is."""
    debs = [make_deb(tmp_path, name, {"usr/bin/x": "x"}, Homepage="https://example.org/") for name in ("one", "two")]
    inputs = {f"deb{n}": path.read_bytes() for n, path in enumerate(debs)}
    inputs |= {"layer0": b"not read", "layer1": layer([("lib/apk/db/installed", APK.encode())])}
    found, _ = listed(store, inputs)
    assert found.sources == ("Debian packages", "apk")
    one = next(package for package in found.packages if package.name == "one")
    assert (one.version, one.digest, one.supplier) == ("1:1.0~rc", str(Digest.of(inputs["deb0"])), "x <x@x>")
    assert one.purl == "pkg:deb/debian/one@1:1.0~rc?arch=all"
    assert {package.name for package in found.packages} == {"one", "two", "musl", "busybox"}


def test_equal_databases_of_different_bytes_give_different_contents_only_where_layers_differ(store: Store) -> None:
    one, _ = listed(store, {"layer0": layer([("var/lib/dpkg/status", STATUS.encode())])})
    two, _ = listed(store, {"layer0": layer([("var/lib/dpkg/status", b"\n" + STATUS.encode())])})
    assert one.packages == two.packages
    assert one != two


def bzimage(release: bytes, at: int = 0x300) -> bytes:
    head = bytearray(0x1000)
    head[0x1F1] = 4
    head[0x202:0x208] = b"HdrS\x0f\x02"
    head[0x20E:0x210] = at.to_bytes(2, "little")
    head[0x200 + at : 0x200 + at + len(release)] = release
    return bytes(head)


BANNER = b"\0" * 1_048_570 + b"Linux version 6.6.13-linuxkit (root@x) #1 SMP"


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (bzimage(b"6.1.0-18-cloud-amd64 (x@y) #1\0"), "6.1.0-18-cloud-amd64"),
        (BANNER, "6.6.13-linuxkit"),
        (gzip.compress(b"\0" * 56 + b"ARM\x64" + BANNER), "6.6.13-linuxkit"),
        (bzimage(b"\xff\xff\0"), ""),
        (bzimage(b"6.1", 0), ""),
        (b"kernel", ""),
        (b"", ""),
        (gzip.compress(b"x")[:-6], ""),
        (b"Linux version 6." + b"1" * 300, ""),
    ],
    ids=["bzImage", "plain, over two pieces", "gzip'd", "no release", "no pointer", "text", "empty", "cut", "too long"],
)
def test_a_kernel_s_release(store: Store, kernel: bytes, expected: str) -> None:
    result = carry_out(store, "kernel-release", KernelRelease("arm64"), {"kernel": store.add(kernel)})
    assert store.read(result["release"].digest).decode() == expected
    assert [name for name, _ in result.outputs] == ["release"]


def test_hashes_are_those_of_the_files_on_disk(store: Store, tmp_path: Path) -> None:
    from lkbuild.disk.extents import Data, Slice, Zeros

    blob = store.add(b"0123456789" * 1000)
    recipe = Recipe.of([Data(b"head"), Zeros(5000), Slice(blob.digest, 10, 5000), Zeros(3)])
    recipe.write(store, tmp_path / "file")
    expected = str(Digest.of_file(tmp_path / "file"))

    def hashed(form: str, data: bytes) -> object:
        output = store.add(data)
        result = carry_out(store, "hashes", Hashes(form), {"output": output})  # type: ignore[arg-type]
        return json.loads(store.read(result["hashes"].digest))

    assert hashed("recipe", recipe.encode()) == {"": expected}
    assert hashed("tree", Tree({"a/b": recipe, "c": Recipe(())}).encode()) == {
        "a/b": expected,
        "c": str(Digest.of(b"")),
    }
    assert hashed("blob", b"as it is") == {"": str(Digest.of(b"as it is"))}
    assert isinstance(blob, Blob)
