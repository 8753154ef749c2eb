"""Package databases and attestations read: what they say, and that nothing in them can hurt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL
from spdx_tools.common.spdx_licensing import spdx_licensing

from lkbuild.contents import apk, attestation, dpkg, os_release
from lkbuild.contents.image import RPM_NOTE, contents, databases
from lkbuild.contents.licenses import EXCEPTIONS, KNOWN, license_of
from lkbuild.contents.model import MAX_PACKAGES, Component, Contents, merged
from lkbuild.contents.purl import Distribution, deb_purl, oci_purl, purl
from lkbuild.digest import Digest
from lkbuild.errors import StepError
from lkbuild.reference import Reference

DEBIAN = Distribution("debian", "debian-12")
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: glibc (2.36-9)
Version: 2.36-9+deb12u14
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Homepage: https://www.gnu.org/software/libc/libc.html
Description: GNU C Library: Shared libraries
 Version: 99 is not its version, but part of the description
 .
 Package: nothing

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: half
Status: install ok half-configured
Version: 1:2~rc1-3
Architecture: all
Maintainer: Jörg Möller <joerg@example.org>

Package: held
Status: hold ok installed
Version: 3
Architecture: all
"""


def names(found: list[Component]) -> list[str]:
    return [f"{package.name} {package.version}" for package in found]


def test_dpkg() -> None:
    found, wrong = dpkg.parse(STATUS.encode(), DEBIAN)
    assert (names(found), wrong) == (["libc6 2.36-9+deb12u14", "half 1:2~rc1-3", "held 3"], [])
    assert found[0] == Component(
        type="deb",
        name="libc6",
        version="2.36-9+deb12u14",
        architecture="amd64",
        supplier="GNU Libc Maintainers <debian-glibc@lists.debian.org>",
        source="glibc (2.36-9)",
        homepage="https://www.gnu.org/software/libc/libc.html",
        purl="pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
    )
    assert found[1].purl == "pkg:deb/debian/half@1:2~rc1-3?arch=all&distro=debian-12"


@pytest.mark.parametrize(
    ("text", "expected", "wrong"),
    [
        ("", [], 0),
        ("\n\n\n", [], 0),
        ("Package: a\nVersion: 1\n", ["a 1"], 0),
        ("Package: a\r\nVersion: 1\r\n\r\nPackage: b\r\nVersion: 2\r\n", ["a 1", "b 2"], 0),
        ("Package: a\nVersion: 1\n \t\nPackage: b\nVersion: 2", ["a 1", "b 2"], 0),
        ("Package: a\n", [], 1),
        ("Version: 1\n", [], 1),
        ("no field at all\n", [], 1),
        (f"Package: {'a' * 300}\nVersion: 1\n", [], 1),
        (f"Package: a\nVersion: {'1' * 300}\n", [], 1),
        (f"Package: a\nVersion: 1\nDescription: {'x' * (2 << 20)}\n\nPackage: b\nVersion: 2\n", ["b 2"], 1),
        ("Package: a\0b\nVersion: 1\n\nPackage: ../a\nVersion: 1\n\nPackage: b\nVersion: 1\x1b[31m\n", [], 3),
    ],
    ids=[
        "empty", "blank", "no Status, as in status.d", "CRLF", "a blank line of blanks", "no version", "no name",
        "no fields", "a name of 300", "a version of 300", "a record of 2 MB", "no such words",
    ],
)  # fmt: skip
def test_dpkg_as_it_may_come(text: str, expected: list[str], wrong: int) -> None:
    found, said = dpkg.parse(text.encode(), DEBIAN)
    assert names(found) == expected
    assert [each.split()[0] for each in said] == [str(wrong)] * bool(wrong)


@pytest.mark.skipif(not Path(f"/{dpkg.STATUS}").is_file(), reason="this host has no dpkg")
def test_the_host_s_own_database_is_what_dpkg_query_reads_in_it() -> None:
    found, wrong = dpkg.parse(Path(f"/{dpkg.STATUS}").read_bytes(), DEBIAN)
    shown = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\t${Maintainer}\t${Homepage}\n"
    said = subprocess.run(["dpkg-query", "-W", "-f", shown], capture_output=True, text=True, check=True).stdout
    rows = [tuple(line.split("\t")) for line in said.splitlines()]
    expected = {row[1:] for row in rows if row[0] not in ("not-installed", "config-files")}
    assert {(p.name, p.version, p.architecture, p.supplier, p.homepage) for p in found} == expected
    assert (len(found), wrong) == (len(expected), [])


@pytest.mark.parametrize("parse", [dpkg.parse, apk.parse])
def test_more_packages_than_anybody_has(parse: Any) -> None:
    text = "".join(f"Package: p{n}\nVersion: 1\nP:p{n}\nV:1\n\n" for n in range(MAX_PACKAGES + 100))
    found, wrong = parse(text.encode(), DEBIAN)
    listed = contents((), [("", found, wrong)])
    assert (len(found), len(listed.packages)) == (MAX_PACKAGES + 1, MAX_PACKAGES)
    assert listed.notes == ("it has more than 20000 packages, and no more are listed",)


def test_dpkg_that_is_no_utf_8() -> None:
    found, _ = dpkg.parse(b"Package: a\nVersion: 1\nMaintainer: J\xf6rg <j@x>\nHomepage: javascript:alert(1)\n", DEBIAN)
    assert (found[0].supplier, found[0].homepage) == ("J�rg <j@x>", "")


@pytest.mark.parametrize(
    ("where", "maintainer", "vendor"),
    [
        (Distribution("ubuntu", "ubuntu-24.04"), "x <x@debian.org>", "ubuntu"),
        (Distribution(), "Ubuntu Developers <ubuntu-devel-discuss@lists.ubuntu.com>", "ubuntu"),
        (Distribution(), "x <x@debian.org>", "debian"),
        (Distribution(), "x <x@notubuntu.com>", "debian"),
        (Distribution(), "", "debian"),
    ],
)
def test_whose_a_debian_package_is(where: Distribution, maintainer: str, vendor: str) -> None:
    package = dpkg.component({"package": "a", "version": "1", "maintainer": maintainer}, where)
    assert package is not None
    assert package.purl.startswith(f"pkg:deb/{vendor}/a@1")


APK = """\
C:Q1p1HkmTCbvDIGaG1P1nXOSpO0Bdc=
P:musl
V:1.2.5-r0
A:x86_64
S:382904
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Timo Teräs <timo.teras@iki.fi>
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1KVQ4kAZmrkDY4ARZvvAv1N2PGsA=

P:busybox
V:1.36.1-r29
A:x86_64
P:not-its-name
L:GPL-2.0-only


P:no-version
"""


def test_apk() -> None:
    found, wrong = apk.parse(APK.encode(), Distribution("alpine", "alpine-3.20.0"))
    assert names(found) == ["musl 1.2.5-r0", "busybox 1.36.1-r29"]
    assert [each.split()[0] for each in wrong] == ["1"]
    assert found[0] == Component(
        type="apk",
        name="musl",
        version="1.2.5-r0",
        architecture="x86_64",
        supplier="Timo Teräs <timo.teras@iki.fi>",
        source="musl",
        homepage="https://musl.libc.org/",
        license="MIT",
        purl="pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.0",
    )


@pytest.mark.parametrize(
    ("text", "vendor", "release"),
    [
        ('NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n', "debian", "debian-12"),
        ("ID='alpine'\nVERSION_ID=3.20.0", "alpine", "alpine-3.20.0"),
        ("ID=arch\n", "arch", "arch"),
        ("VERSION_ID=12\n", "", ""),
        ("ID=$(reboot)\nVERSION_ID=12\n", "", ""),
        ("ID=debian\nVERSION_ID=1 2\n", "debian", "debian"),
        ("# ID=x\nIDENTITY=y\n", "", ""),
    ],
)
def test_os_release(text: str, vendor: str, release: str) -> None:
    assert os_release.parse(text.encode()) == Distribution(vendor, release)


@given(st.binary(max_size=400), st.sampled_from(["status", "apk", "os"]))
def test_no_bytes_hurt(data: bytes, kind: str) -> None:
    if kind == "os":
        os_release.parse(data)
        return
    found, _ = (dpkg.parse if kind == "status" else apk.parse)(data, Distribution())
    assert all(package.name and package.version and "\n" not in package.name for package in found)


WORD = st.text("aB9.+~:_^-/", min_size=1, max_size=12)


@given(WORD, WORD, WORD)
def test_purls_are_what_packageurl_reads_and_writes(name: str, version: str, architecture: str) -> None:
    package = dpkg.component({"package": name, "version": version, "architecture": architecture}, DEBIAN)
    if package is None or not package.name.strip("."):
        return
    read = PackageURL.from_string(package.purl)
    assert (read.type, read.namespace, read.version) == ("deb", "debian", package.version)
    assert read.to_string() == package.purl


def test_purls() -> None:
    assert deb_purl("nginx", "1:1.22+b1", "amd64", Distribution()) == "pkg:deb/debian/nginx@1:1.22%2Bb1?arch=amd64"
    image = Reference.parse("ghcr.io/Acme/web:1".lower())
    expected = f"pkg:oci/web@sha256:{'0' * 64}?arch=arm64&repository_url=ghcr.io/acme/web&tag=1"
    assert PackageURL.from_string(oci_purl(image, f"sha256:{'0' * 64}", "arm64")) == PackageURL.from_string(expected)
    assert purl("generic", "", "a b", "") == "pkg:generic/a%20b"


@pytest.mark.parametrize(
    ("text", "expression", "texts"),
    [
        ("", "NOASSERTION", []),
        ("NOASSERTION", "NOASSERTION", []),
        ("MIT", "MIT", []),
        ("GPL-2.0-only WITH Linux-syscall-note", "GPL-2.0-only WITH Linux-syscall-note", []),
        ("( MIT OR  Apache-2.0 ) AND ISC", "(MIT OR Apache-2.0) AND ISC", []),
        ("MIT AND custom", "MIT AND LicenseRef-custom-", ["custom"]),
        ("GPL2", "LicenseRef-GPL2-", ["GPL2"]),
        ("BSD-3-Clause GPL-2.0-only", "LicenseRef-BSD-3-Clause-GPL-2.0-only-", ["BSD-3-Clause GPL-2.0-only"]),
        ("MIT AND", "LicenseRef-MIT-AND-", ["MIT AND"]),
        ("((MIT)", "LicenseRef-MIT-", ["((MIT)"]),
        ("MIT)(", "LicenseRef-MIT-", ["MIT)("]),
        ("ISC WITH nothing-known", "LicenseRef-ISC-WITH-nothing-known-", ["ISC WITH nothing-known"]),
        ("public domain, really!", "LicenseRef-public-domain-really-", ["public domain, really!"]),
        ("©", "LicenseRef-other-", ["©"]),
        ("MIT AND " * 60 + "MIT", "LicenseRef-MIT-AND-", ["MIT AND " * 60 + "MIT"]),
    ],
)  # fmt: skip
def test_licences(text: str, expression: str, texts: list[str]) -> None:
    found = license_of(text)
    assert found.expression.startswith(expression)
    assert [each for _, each in found.texts] == texts


def test_the_licences_known_are_spdx_s() -> None:
    wrong = [each for each in sorted(KNOWN) if spdx_licensing.validate(each).errors]
    wrong += [each for each in EXCEPTIONS if spdx_licensing.validate(f"MIT WITH {each}").errors]
    assert wrong == []


WORDS = st.lists(st.sampled_from(["MIT", "ISC", "AND", "OR", "WITH", "LLVM-exception", "(", ")", "odd", "x+y"]))


@given(st.one_of(st.text(max_size=40), WORDS.map(" ".join)))
def test_any_text_becomes_an_expression_that_holds(text: str) -> None:
    found = license_of(text)
    known = dict(found.texts)
    parsed = spdx_licensing.parse(found.expression) if found.expression != "NOASSERTION" else None
    keys = {str(each.key) for each in spdx_licensing.unknown_license_symbols(parsed)} if parsed is not None else set()
    assert keys <= known.keys()


# -- attestations ------------------------------------------------------------------------------------------------------

IMAGE = Digest.of(b"manifest")


def statement(*packages: dict[str, Any], **more: Any) -> bytes:
    document = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://spdx.dev/Document",
        "subject": [{"name": "pkg:docker/x@1", "digest": {"sha256": IMAGE.hex}}],
        "predicate": {"spdxVersion": "SPDX-2.3", "packages": list(packages)},
        **more,
    }
    return json.dumps(document).encode()


GO = {
    "name": "golang.org/x/net",
    "SPDXID": "SPDXRef-1",
    "versionInfo": "v0.1.0",
    "supplier": "Organization: The Go Team (go@example.org)",
    "licenseDeclared": "BSD-3-Clause",
    "checksums": [{"algorithm": "SHA1", "checksumValue": "0"}, {"algorithm": "SHA256", "checksumValue": "A" * 64}],
    "externalRefs": [
        {"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a"},
        {"referenceType": "purl", "referenceLocator": "pkg:golang/golang.org/x/net@v0.1.0"},
    ],
}


def test_an_attestation() -> None:
    found, wrong = attestation.parse(statement(GO, {"name": "the image itself", "versionInfo": "sha256:1"}), IMAGE)
    assert wrong == []
    assert found == [
        Component(
            type="golang",
            name="golang.org/x/net",
            version="v0.1.0",
            supplier="The Go Team <go@example.org>",
            license="BSD-3-Clause",
            digest=f"sha256:{'a' * 64}",
            purl="pkg:golang/golang.org/x/net@v0.1.0",
        )
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is no JSON that can be read"),
        (b"[]", "it does not have the form of a statement"),
        (b"\xff\xfe", "it is no JSON that can be read"),
        (b"[" * 100_000, "it is no JSON that can be read"),
        (statement(GO, subject=[{"name": "x", "digest": {"sha256": "0" * 64}}]), f"it is about {'0' * 64}, not about"),
        (statement(GO, subject=[]), "it is about nothing"),
        (statement(GO, subject=[{"name": "x"}]), "it has no 'digest'"),
        (statement(GO, predicateType="https://slsa.dev/provenance/v1"), "https://slsa.dev/provenance/v1"),
        (statement(GO, _type="https://example.org/"), "left aside"),
        (statement(GO, predicate={}), "it has no 'packages'"),
        (statement(GO, predicate={"packages": 7}), "it does not have the form of a statement"),
    ],
    ids=[
        "empty", "a list", "no UTF-8", "deep", "another image's", "about nothing", "a subject without digest",
        "a provenance", "no statement", "no packages", "packages are a number",
    ],
)  # fmt: skip
def test_an_attestation_that_is_none_is_left_aside_with_the_reason(data: bytes, said: str) -> None:
    found, wrong = attestation.parse(data, IMAGE)
    assert found == []
    assert len(wrong) == 1
    assert said in wrong[0]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(sorted(GO)), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(GO)), JSON, max_size=6), max_size=3))
def test_no_package_of_an_attestation_hurts(packages: list[dict[str, Any]]) -> None:
    found, _ = attestation.parse(statement(*packages), IMAGE)
    assert all(package.name and package.version for package in found)


# -- an image ----------------------------------------------------------------------------------------------------------


def test_databases_of_an_image() -> None:
    accounts = databases(
        {
            "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
            "var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12\n",
            "var/lib/dpkg/status.d/tz": b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n\n",
            "var/lib/dpkg/status.d/tz.md5sums": b"0123  usr/share/zoneinfo/UTC\n",
            "lib/apk/db/installed": None,
        }
    )
    found = contents((IMAGE,), accounts, [RPM_NOTE])
    assert found.sources == ("dpkg status.d",)
    assert names(list(found.packages)) == ["base-files 12", "tzdata 2024a"]
    assert found.packages[1].purl.endswith("?arch=all&distro=debian-12")
    assert found.notes == (RPM_NOTE, "the apk database is too large to be believed, and not read")
    assert Contents.decode(found.encode()) == found


def test_accounts_of_one_package_are_joined_the_first_counting_most() -> None:
    one = Component("deb", "a", "1", "amd64", supplier="s")
    two = Component("deb", "a", "1", "amd64", supplier="other", license="MIT")
    other = Component("deb", "a", "2", "amd64")
    assert merged((one,), (two, other, other)) == (Component("deb", "a", "1", "amd64", "s", license="MIT"), other)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"layers": ["x"], "packages": [], "sources": [], "notes": []}'])
def test_contents_that_are_none(data: bytes) -> None:
    with pytest.raises(StepError, match="not the contents of an image"):
        Contents.decode(data)
