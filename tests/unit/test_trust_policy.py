"""Which images a trust section selects, and which names a classic signature may give."""

from __future__ import annotations

import pytest

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.reference import Reference
from lkbuild.trust.policy import Subject, selecting, selects_image, selects_org
from lkbuild.trust.simple_signing import check_payload, payload

HEX = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32

IMAGES = [
    ("nginx", "nginx", True, "the name alone"),
    ("nginx", "nginx:1.25", True, "any tag (moby: an image name only match)"),
    ("nginx", f"nginx@{HEX}", True, "any digest"),
    ("nginx", f"nginx:1.25@{HEX}", True, "both, as a lock makes it"),
    ("nginx", "docker.io/library/nginx:1", True, "the same name in full"),
    ("docker.io/library/nginx", "nginx", True, "and the other way round"),
    ("nginx:1.25", "nginx:1.25", True, "an exact name match"),
    ("nginx:1.25", f"nginx:1.25@{HEX}", True, "by removing a possible digest"),
    ("nginx:1.25", "nginx:1.26", False, "another tag"),
    ("nginx:latest", "nginx", True, "latest is what no tag means"),
    (f"nginx@{HEX}", f"nginx:1@{HEX}", True, "this digest"),
    (f"nginx@{HEX}", f"nginx@{OTHER}", False, "another digest"),
    (f"nginx@{HEX}", "nginx", False, "no digest"),
    ("nginx", "linuxkit/nginx", False, "another organisation"),
    ("nginx", "ghcr.io/library/nginx", False, "another registry"),
    ("localhost:5000/a", "localhost:5000/a:1", True, "a registry with a port, which moby took for a tag"),
    ("localhost:5000/a", "localhost:5001/a:1", False, "another port"),
    ("nginx", "nginx-evil", False, "a longer name"),
]


@pytest.mark.parametrize(("entry", "reference", "selected", "why"), IMAGES, ids=[f"{r[0]}-{r[1]}" for r in IMAGES])
def test_trust_image(entry: str, reference: str, selected: bool, why: str) -> None:
    assert selects_image(entry, Reference.parse(reference)) is selected, why


ORGS = [
    ("library", "nginx:1", True, "a single name is of library"),
    ("linuxkit", "linuxkit/init:v1", True, "the first part on Docker Hub"),
    ("linuxkit", "docker.io/linuxkit/init", True, "with the registry spelt out"),
    ("linuxkit", "ghcr.io/linuxkit/init", True, "on any registry: the second piece is the organisation"),
    ("linuxkit", "ghcr.io/linuxkit/deep/init", True, "however deep"),
    ("ghcr.io/linuxkit", "ghcr.io/linuxkit/init", True, "on that registry (the first moby's prefix)"),
    ("ghcr.io/linuxkit", "linuxkit/init", False, "and on no other"),
    ("ghcr.io/linuxkit/", "ghcr.io/linuxkit/init", True, "a slash at the end is nothing"),
    ("127.0.0.1:5000", "127.0.0.1:5000/app", True, "a registry without organisations"),
    ("linux", "linuxkit/init", False, "a part of a name"),
    ("init", "linuxkit/init", False, "the image's own name"),
    ("app", "127.0.0.1:5000/app", False, "an image without an organisation"),
]


@pytest.mark.parametrize(("org", "reference", "selected", "why"), ORGS, ids=[f"{r[0]}-{r[1]}" for r in ORGS])
def test_trust_org(org: str, reference: str, selected: bool, why: str) -> None:
    assert selects_org(org, Reference.parse(reference)) is selected, why


def test_either_selects() -> None:
    assert selecting(["a/b"], ["c"], Reference.parse("a/b:1"))
    assert selecting(["a/b"], ["c"], Reference.parse("c/d"))
    assert not selecting(["a/b"], ["c"], Reference.parse("a/e"))


NAMES = [
    ("docker.io/acme/app", None, "the repository, as cosign writes it"),
    ("index.docker.io/acme/app", None, "as go-containerregistry calls Docker Hub"),
    ("acme/app", None, "as Docker spells it"),
    ("mirror.example/hub/acme/app", None, "a mirror that is configured"),
    ("docker.io/acme/app:1", None, "with the tag asked for, as skopeo writes it"),
    ("docker.io/acme/app:2", "it is for the tag 2, wanted 1", "with another tag"),
    ("docker.io/acme/app:1@" + HEX, None, "with a digest too"),
    ("docker.io/acme/app-evil", "it is for the repository docker.io/acme/app-evil", "a longer name"),
    ("docker.io/acme", "it is for the repository docker.io/library/acme", "a shorter one"),
    ("other.example/hub/acme/app", "it is for the repository other.example/hub/acme/app", "a mirror nobody configured"),
    ("", "it names no repository: ''", "no name"),
    ("UPPER CASE", "it names no repository: 'UPPER CASE'", "no reference"),
]


@pytest.mark.parametrize(("said", "refused", "why"), NAMES, ids=[row[2] for row in NAMES])
def test_the_name_in_a_payload(said: str, refused: str | None, why: str) -> None:
    digest = Digest.parse(HEX)
    subject = Subject(digest, ("docker.io/acme/app", "mirror.example/hub/acme/app"), "1")
    if refused is None:
        check_payload(payload(said, digest), subject)
        return
    with pytest.raises(TrustError) as caught:
        check_payload(payload(said, digest), subject)
    assert caught.value.message.startswith(refused)


def test_an_image_asked_for_by_digest_takes_any_tag() -> None:
    digest = Digest.parse(HEX)
    check_payload(payload("docker.io/acme/app:7", digest), Subject(digest, ("docker.io/acme/app",)))
