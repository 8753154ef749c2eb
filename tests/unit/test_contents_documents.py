"""SPDX, CycloneDX and provenance documents, read and checked by programs of others."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lkbuild.contents import cyclonedx, spdx
from lkbuild.contents.bill import Bill, ImageTitle, Listed, Used
from lkbuild.contents.model import Component, Contents
from lkbuild.contents.provenance import Made, statement
from lkbuild.contents.spdx import kernel_cpe, supplier
from lkbuild.digest import Digest
from tests.support.documents import check_cyclonedx, check_provenance, check_spdx

LAYERS = (Digest.of(b"1"), Digest.of(b"2"))
MANIFEST, INDEX = Digest.of(b"manifest"), Digest.of(b"index")
LIBC = Component(
    "deb", "libc6", "2.36-9", "amd64", "GNU Libc Maintainers <l@debian.org>", "glibc", "https://gnu.org/", "",
    str(Digest.of(b"deb")), "pkg:deb/debian/libc6@2.36-9?arch=amd64",
)  # fmt: skip
MUSL = Component(
    "apk", "musl", "1.2.5-r0", "x86_64", "Timo <t@x.fi>", "musl", "", "MIT AND odd", "", "pkg:apk/alpine/musl@1.2.5-r0"
)
WEB = ImageTitle("docker.io/acme/web", "docker.io/acme/web:1", "amd64", MANIFEST, INDEX, "docker.io/acme")
INIT = ImageTitle("init", publisher="acme")
BILL = Bill(
    "web",
    "amd64",
    "Example Ltd",
    "6.1.0-18-cloud-amd64",
    (
        Listed(Used(ImageTitle("kernel", architecture="amd64"), ("kernel",)), Contents(LAYERS)),
        Listed(Used(INIT, ("init[0]", "volumes/v")), Contents(LAYERS[:1], ("apk",), (MUSL,))),
        Listed(Used(WEB, ("services/web", "onboot/000-first")), Contents(LAYERS, ("dpkg",), (LIBC, MUSL), ("a note",))),
        Listed(Used(ImageTitle("other"), ("services/a_b", "services/a-b")), Contents(LAYERS, ("dpkg",), (LIBC,))),
    ),
)  # fmt: skip


def test_spdx() -> None:
    document = check_spdx(spdx.document(BILL))
    packages = {package.spdx_id: package for package in document.packages}
    said = {
        (
            packages[r.spdx_element_id].name,
            r.relationship_type.name,
            packages[r.related_spdx_element_id].name,
            r.comment,
        )
        for r in document.relationships
        if r.spdx_element_id in packages
    }
    assert said == {
        ("web", "CONTAINS", "linux", "kernel"),
        ("web", "CONTAINS", "kernel", "kernel"),
        ("web", "CONTAINS", "init", "init[0]"),
        ("web", "CONTAINS", "init", "volumes/v"),
        ("init", "CONTAINS", "musl", None),
        ("web", "CONTAINS", "web", "services/web"),
        ("web", "CONTAINS", "first", "onboot/000-first"),
        ("web", "CONTAINS", "docker.io/acme/web", None),
        ("first", "CONTAINS", "docker.io/acme/web", None),
        ("docker.io/acme/web", "CONTAINS", "libc6", None),
        ("docker.io/acme/web", "CONTAINS", "musl", None),
        ("web", "CONTAINS", "a_b", "services/a_b"),
        ("web", "CONTAINS", "a-b", "services/a-b"),
        ("a_b", "CONTAINS", "other", None),
        ("a-b", "CONTAINS", "other", None),
        ("other", "CONTAINS", "libc6", None),
    }
    described = [r for r in document.relationships if r.relationship_type.name == "DESCRIBES"]
    assert [packages[r.related_spdx_element_id].name for r in described] == ["web"]


def test_what_spdx_says_of_each() -> None:
    document = json.loads(spdx.document(BILL))
    packages = {package["name"]: package for package in document["packages"]}
    libc, image, kernel = packages["libc6"], packages["docker.io/acme/web"], packages["kernel"]
    assert libc["supplier"] == "Organization: GNU Libc Maintainers (l@debian.org)"
    assert libc["checksums"] == [{"algorithm": "SHA256", "checksumValue": Digest.of(b"deb").hex}]
    assert libc["externalRefs"][0]["referenceLocator"] == LIBC.purl
    assert libc["licenseDeclared"] == "NOASSERTION"
    assert packages["musl"]["licenseDeclared"].startswith("MIT AND LicenseRef-odd-")
    assert [each["extractedText"] for each in document["hasExtractedLicensingInfos"]] == ["odd"]
    assert image["versionInfo"] == str(MANIFEST)
    assert image["comment"] == "packages from: dpkg; a note"
    purl = image["externalRefs"][0]["referenceLocator"]
    assert purl == f"pkg:oci/web@{MANIFEST}?arch=amd64&repository_url=docker.io/acme/web&tag=1"
    assert kernel["comment"] == "no package database found"
    assert kernel["versionInfo"] == str(Digest.of(f"{LAYERS[0]} {LAYERS[1]}".encode())), "the ChainID of its layers"
    assert packages["init"]["supplier"] == "Organization: acme"
    assert packages["kernel"]["supplier"] == "Organization: Example Ltd"
    assert document["creationInfo"]["created"] == "2017-04-18T16:30:00Z"


def test_cyclonedx() -> None:
    document = check_cyclonedx(cyclonedx.document(BILL))
    components = {each["bom-ref"]: each["name"] for each in document["components"]} | {"machine": "web"}
    inside = {
        components[each["ref"]]: [components[ref] for ref in each["dependsOn"]] for each in document["dependencies"]
    }
    assert inside == {
        "web": ["docker.io/acme/web"],  # the container; the machine itself comes first and is hidden by it here
        "linux": [],
        "kernel": [],
        "init": ["musl"],
        "musl": [],
        "docker.io/acme/web": ["libc6", "musl"],
        "first": ["docker.io/acme/web"],
        "libc6": [],
        "other": ["libc6"],
        "a_b": ["other"],
        "a-b": ["other"],
    }
    machine = next(each for each in document["dependencies"] if each["ref"] == "machine")
    assert [components[ref] for ref in machine["dependsOn"]] == [
        "linux",
        "kernel",
        "init",
        "web",
        "first",
        "a_b",
        "a-b",
    ]
    licences = {each["name"]: each.get("licenses") for each in document["components"]}
    assert licences["musl"] == [{"license": {"name": "MIT AND odd"}}]


def test_a_machine_of_nothing() -> None:
    bill = Bill("empty", "amd64", "x", None, ())
    assert [package.name for package in check_spdx(spdx.document(bill), by_ntia=False).packages] == ["empty"]
    assert check_cyclonedx(cyclonedx.document(bill))["components"] == []


def test_identifiers_follow_from_contents_and_not_from_their_order() -> None:
    one, two = (
        json.loads(spdx.document(BILL)),
        json.loads(spdx.document(dataclasses.replace(BILL, images=BILL.images[::-1]))),
    )
    ids = [{package["SPDXID"] for package in document["packages"]} for document in (one, two)]
    assert ids[0] == ids[1]
    assert one["documentNamespace"] != two["documentNamespace"]
    assert spdx.document(BILL) == spdx.document(dataclasses.replace(BILL))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kees Cook <kees@debian.org>", "Person: Kees Cook (kees@debian.org)"),
        ("Debian GCC Maintainers <g@d.org>", "Organization: Debian GCC Maintainers (g@d.org)"),
        ("Foo (Bar) <f@b>", "Person: Foo Bar (f@b)"),
        ("<a@b>", "Person: a@b"),
        ("docker.io/library", "Organization: docker.io/library"),
        ("", "NOASSERTION"),
        ("()", "NOASSERTION"),
    ],
)
def test_suppliers(text: str, expected: str) -> None:
    assert supplier(text) == expected


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.1.0-18-cloud-amd64", "cpe:2.3:o:linux:linux_kernel:6.1.0:*:*:*:*:*:*:*"),
        ("5.10.104-linuxkit", "cpe:2.3:o:linux:linux_kernel:5.10.104:*:*:*:*:*:*:*"),
        ("", ""),
        ("next", ""),
    ],
)
def test_kernels(release: str, expected: str) -> None:
    assert kernel_cpe(release) == expected


LINE = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).filter(str.strip)
COMPONENTS = st.builds(
    Component,
    type=st.sampled_from(["deb", "golang"]),
    name=LINE.map(str.strip),
    version=LINE.map(str.strip),
    architecture=st.sampled_from(["", "amd64"]),
    supplier=LINE,
    source=LINE,
    license=LINE,
)  # fmt: skip


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(COMPONENTS, max_size=4), LINE.map(str.strip))
def test_documents_hold_whatever_packages_are_called(packages: list[Component], name: str) -> None:
    image = Listed(Used(ImageTitle(name), (f"services/{name}",)), Contents(LAYERS, ("dpkg",), tuple(packages)))
    bill = Bill("m", "amd64", "x", None, (image,))
    check_spdx(spdx.document(bill), by_ntia=False)
    check_cyclonedx(cyclonedx.document(bill))


MADE = Made(
    ("web", Digest.of(b"spec")), Digest.of(b"lock"), (("web/build.yml", Digest.of(b"b")),), ("tar",),
    (("arch", "amd64"),), (("tree", 2),), "1.0",
)  # fmt: skip


def test_provenance() -> None:
    document = check_provenance(statement({"web.tar": MANIFEST, "a": INDEX}, MADE, BILL.images))
    assert document["subject"] == [
        {"name": "a", "digest": {"sha256": INDEX.hex}},
        {"name": "web.tar", "digest": {"sha256": MANIFEST.hex}},
    ]
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "spec": {"name": "web", "digest": {"sha256": Digest.of(b"spec").hex}},
        "formats": ["tar"],
        "options": {"arch": "amd64"},
    }
    dependencies = {each["name"]: each for each in definition["resolvedDependencies"]}
    assert list(dependencies) == ["kernel", "init", "docker.io/acme/web:1", "other", "lock", "web/build.yml"]
    assert dependencies["docker.io/acme/web:1"]["annotations"] == {
        "places": ["services/web", "onboot/000-first"],
        "index": str(INDEX),
    }
    assert document["predicate"]["runDetails"]["builder"]["version"] == {"lkbuild": "1.0"}


def test_provenance_names_the_debian_packages_an_image_was_made_of_and_no_others() -> None:
    made_of = Listed(Used(ImageTitle("web"), ("services/web",)), Contents(LAYERS, ("Debian packages",), (LIBC, MUSL)))
    attested = dataclasses.replace(BILL.images[2])
    document = check_provenance(
        statement({"x": MANIFEST}, dataclasses.replace(MADE, lock=None, files=()), (made_of, attested))
    )
    names = [each["name"] for each in document["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert names == ["web", "docker.io/acme/web:1", "libc6"]
