"""Finding signatures beside an image, and putting them there, at registries of all sorts and in layouts."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.engine.signing import Trusted, sign_image, verify_image
from lkbuild.errors import ImageError, TrustError
from lkbuild.oci.image import Descriptor
from lkbuild.oci.referrers import Artifact, parse_referrers
from lkbuild.reference import Reference
from lkbuild.sources import Registry, RegistryOptions, open_path
from lkbuild.sources.attach import attach_bundle
from lkbuild.sources.registry import home
from lkbuild.sources.signatures import MAX_SIGNATURES, Looked, signatures
from lkbuild.sources.upload import Upload
from lkbuild.trust.bundle import MEDIA_TYPE, image_bundle
from lkbuild.trust.judge import Candidate
from lkbuild.trust.policy import Policy
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.simple_signing import MEDIA_TYPE as CLASSIC
from lkbuild.trust.simple_signing import SIGNATURE, payload
from tests.fakes.registry import OCI_INDEX, OCI_MANIFEST, Fake, sha256
from tests.support.layouts import Layout, layer
from tests.support.signing import load, new_key

REPOSITORY = "acme/app"


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as fake:
        fake.add_image(REPOSITORY, "1", b"layer")
        yield fake


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> PrivateKey:
    return load(new_key(tmp_path_factory.mktemp("keys") / "key"))


def registry(**options: Any) -> Registry:
    return Registry(RegistryOptions(**options), pause=lambda seconds: None)


def image(fake: Fake) -> Reference:
    return Reference.parse(f"{fake.host}/{REPOSITORY}:1")


def digest(fake: Fake) -> Digest:
    return Digest.of(fake.manifests[REPOSITORY, "1"][1])


def found(fake: Fake, source: Registry | None = None) -> list[Candidate | Looked]:
    return list(signatures(source or registry(), image(fake), digest(fake)))


def sign(fake: Fake, key: PrivateKey, form: str = "both", **options: Any) -> list[str]:
    return list(sign_image(registry(**options), image(fake), key, form))  # type: ignore[arg-type]


def verify(fake: Fake, key: PrivateKey) -> str:
    return verify_image(registry(), image(fake), Trusted(Policy.of([key.public])))


# -- pushing -----------------------------------------------------------------------------------------------------------


def test_with_the_referrers_api_no_tag_is_kept(fake: Fake, key: PrivateKey) -> None:
    fake.faults.referrers = True
    said = sign(fake, key, "bundle")
    assert [line.rpartition(": ")[2] for line in said] == ["referrers API"]
    assert (REPOSITORY, f"sha256-{digest(fake).hex}") not in fake.manifests
    assert verify(fake, key).endswith(f"referrers in registry {fake.host}, bundle 1")


def test_without_it_the_tag_lists_what_there_is(fake: Fake, key: PrivateKey) -> None:
    """What others put there stays, with what it says about itself."""
    tag = f"sha256-{digest(fake).hex}"
    other = {"mediaType": OCI_MANIFEST, "digest": sha256(b"sbom"), "size": 4, "artifactType": "application/spdx+json"}
    before = {"schemaVersion": 2, "manifests": [{**other, "annotations": {"by": "somebody"}}]}
    fake.add_manifest(REPOSITORY, tag, OCI_INDEX, before)
    sign(fake, key, "bundle")
    kind, raw = fake.manifests[REPOSITORY, tag]
    listed = json.loads(raw)["manifests"]
    assert kind == OCI_INDEX
    assert listed[0] == before["manifests"][0]
    assert [each["artifactType"] for each in listed[1:]] == [MEDIA_TYPE]


@pytest.mark.parametrize("status", [400, 405, 200])
def test_a_registry_that_says_otherwise_that_it_has_no_api(fake: Fake, key: PrivateKey, status: int) -> None:
    """Not all answer 404: some do not know the address, some have a page for people there."""
    fake.faults.no_referrers = status
    sign(fake, key, "bundle")
    assert f"tag sha256-{digest(fake).hex}" in verify(fake, key)


def test_blobs_are_there_before_the_manifest_and_the_tag_last(fake: Fake, key: PrivateKey) -> None:
    sign(fake, key, "bundle")
    manifest, tag = fake.pushed[-2:]
    assert tag == f"sha256-{digest(fake).hex}"
    document = json.loads(fake.manifests[REPOSITORY, manifest][1])
    blobs = [document["layers"][0]["digest"], document["config"]["digest"]]
    assert fake.pushed[:-2] == blobs
    assert document["subject"]["digest"] == str(digest(fake))


def test_who_signs_later_takes_nothing_away(fake: Fake, key: PrivateKey, tmp_path: Path) -> None:
    second = load(new_key(tmp_path / "second"))
    sign(fake, key)
    sign(fake, second)
    assert verify(fake, key)
    assert verify(fake, second)
    assert [type(each).__name__ for each in found(fake)].count("Candidate") == 4


def test_signing_twice_changes_nothing(fake: Fake, key: PrivateKey) -> None:
    sign(fake, key)
    before = dict(fake.manifests)
    assert all("has a" in line and line.endswith("by this key already") for line in sign(fake, key))
    assert fake.manifests == before


@pytest.mark.parametrize("form", ["classic", "bundle"])
def test_a_tag_that_somebody_else_wrote_meanwhile_is_written_again(fake: Fake, key: PrivateKey, form: str) -> None:
    nothing = {"schemaVersion": 2, "manifests": []} if form == "bundle" else {"schemaVersion": 2, "layers": []}
    fake.add_manifest(REPOSITORY, "lost", OCI_INDEX if form == "bundle" else OCI_MANIFEST, nothing)
    fake.faults.lose = 1
    sign(fake, key, form)
    assert verify(fake, key)
    fake.faults.lose = -1
    fake.add_image(REPOSITORY, "1", b"another layer")
    with pytest.raises(ImageError, match="does not hold what was added to it"):
        sign(fake, key, form)


def test_pushing_logs_in_for_pushing(fake: Fake, key: PrivateKey, tmp_path: Path) -> None:
    fake.faults.auth, fake.faults.user = "bearer", "me:secret"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {fake.host: {"auth": "bWU6c2VjcmV0"}}}))
    sign(fake, key, docker_config=config)
    assert any(path.endswith("pull%2Cpush") for path in fake.paths("/token"))
    with pytest.raises(ImageError, match="access denied"):
        sign(fake, key)


def test_pushing_waits_for_a_busy_registry(fake: Fake, key: PrivateKey) -> None:
    fake.faults.busy = 2
    sign(fake, key)
    assert verify(fake, key)


REFUSED = [
    ({"forget": -1}, "it took the blob sha256:", "a blob that is taken and not kept"),
    ({"other": -1}, "and gives back sha256:", "a manifest that becomes another"),
    ({"upload": "ftp://127.0.0.1/"}, "it wants an upload at ftp://127.0.0.1/one", "an upload to no web address"),
]


@pytest.mark.parametrize(("faults", "message", "why"), REFUSED, ids=[row[2] for row in REFUSED])
def test_a_registry_that_does_not_keep_its_word(
    fake: Fake, key: PrivateKey, faults: dict[str, Any], message: str, why: str
) -> None:
    for name, value in faults.items():
        setattr(fake.faults, name, value)
    with pytest.raises(ImageError) as caught:
        sign(fake, key, "bundle")
    assert message in caught.value.message


def test_an_upload_elsewhere_sees_no_login(fake: Fake, key: PrivateKey, tmp_path: Path) -> None:
    """As registries do that keep blobs in a cloud's store: the place they name knows who may by its own address."""
    fake.faults.auth, fake.faults.user = "bearer", "me:secret"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {fake.host: {"auth": "bWU6c2VjcmV0"}}}))
    with Fake() as elsewhere:
        fake.faults.upload = f"http://{elsewhere.host}/store/"
        with pytest.raises(ImageError, match="it took the blob"):
            sign(fake, key, docker_config=config)
        assert [request.authorization for request in elsewhere.requests if request.method == "PUT"] == [None]


def test_mirrors_are_not_pushed_to(fake: Fake, key: PrivateKey) -> None:
    with Fake() as mirror:
        options = RegistryOptions(mirrors=((fake.host, (f"http://{mirror.host}",)),))
        list(sign_image(home(options), image(fake), key, "both"))
        assert mirror.requests == []


def test_a_tag_that_is_no_list_of_signatures_is_left_alone(fake: Fake, key: PrivateKey) -> None:
    fake.add_image(REPOSITORY, f"sha256-{digest(fake).hex}.sig", b"somebody's image")
    before = dict(fake.manifests)
    with pytest.raises(ImageError, match="is there, and is no manifest of signatures"):
        sign(fake, key, "classic")
    assert fake.manifests == before


# -- finding -----------------------------------------------------------------------------------------------------------


def test_places_are_looked_at_in_order(fake: Fake) -> None:
    places = [each.place for each in found(fake) if isinstance(each, Looked)]
    tag = f"sha256-{digest(fake).hex}"
    where = f"in registry {fake.host}"
    assert places == [f"referrers {where}", f"tag {tag} {where}", f"tag {tag}.sig {where}"]
    assert [each.found for each in found(fake) if isinstance(each, Looked)] == [
        "it keeps no list (no referrers API)",
        "there is no such tag",
        "there is no such tag",
    ]


def test_nothing_is_fetched_beyond_what_counts(fake: Fake, key: PrivateKey) -> None:
    sign(fake, key)
    fake.requests.clear()
    verify(fake, key)
    assert not fake.paths("/manifests/sha256-" + digest(fake).hex + ".sig")


def test_a_long_list_is_read_to_its_end(fake: Fake, key: PrivateKey) -> None:
    fake.faults.referrers, fake.faults.page = True, 2
    source, upload = registry(), Upload(registry().asking)
    subject = Descriptor(OCI_MANIFEST, digest(fake), 0)
    for _ in range(5):
        attach_bundle(source, upload, image(fake), (subject, image_bundle(digest(fake), key)))
    assert sum(isinstance(each, Candidate) for each in found(fake)) == 5
    assert len([path for path in fake.paths("/referrers/") if "from=" in path]) == 2


def test_a_list_does_not_lead_elsewhere(fake: Fake, key: PrivateKey) -> None:
    fake.faults.referrers = True
    sign(fake, key, "bundle")
    fake.faults.page, fake.faults.next_host = 0, "http://localhost:1"
    looked = found(fake)[0]
    assert isinstance(looked, Looked)
    assert "goes on at another host, localhost:1" in looked.found


def _classic(fake: Fake, layers: list[dict[str, Any]], **more: Any) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": layers, **more}
    fake.add_manifest(REPOSITORY, f"sha256-{digest(fake).hex}.sig", OCI_MANIFEST, document)


def _layer(fake: Fake, data: bytes, **more: Any) -> dict[str, Any]:
    annotations = {"dev.cosignproject.cosign/signature": "AA=="}
    return {"mediaType": CLASSIC, "digest": fake.add_blob(data), "size": len(data), "annotations": annotations, **more}


_NAMES = ("mediaType", "artifactType", "subject", "config", "layers", "manifests", "digest", "size", "annotations")

ODD = [
    ("a layer of gigabytes", lambda fake: [_layer(fake, b"x", size=1 << 40)], "1099511627776"),
    ("a layer larger than it says", lambda fake: [_layer(fake, b"x" * 100, size=10)], "has more than the 10 bytes"),
    ("a layer smaller than it says", lambda fake: [_layer(fake, b"x", size=10)], "ends after 1 bytes, wanted 10"),
    ("a layer that is not there", lambda fake: [_layer(fake, b"x", digest=sha256(b"gone"))], "has no such image"),
    ("a layer of another type", lambda fake: [_layer(fake, b"x", mediaType="text/plain")], "it is of type text/plain"),
    ("no signature", lambda fake: [_layer(fake, b"x", annotations={})], "it has no annotation"),
    ("no digest", lambda fake: [_layer(fake, b"x", digest="sha256:../../etc")], "not a digest"),
    ("nothing", lambda fake: [], "its manifest holds no signature"),
    ("a list of numbers", lambda fake: [1, 2], "wanted a list of objects"),
]


@pytest.mark.parametrize(("what", "make", "message"), ODD, ids=[row[0] for row in ODD])
def test_odd_manifests_of_signatures(fake: Fake, what: str, make: Any, message: str) -> None:
    _classic(fake, make(fake))
    looked = found(fake)[-1]
    assert isinstance(looked, Looked)
    assert message in looked.found


def test_a_huge_manifest_of_signatures_is_not_read(fake: Fake) -> None:
    _classic(fake, [], annotations={"x": "y" * (600 << 10)})
    looked = found(fake)[-1]
    assert isinstance(looked, Looked)
    assert "524288 is the most that is read" in looked.found


def test_of_very_many_signatures_some_are_looked_at(fake: Fake) -> None:
    _classic(fake, [_layer(fake, str(n).encode()) for n in range(MAX_SIGNATURES + 20)])
    assert sum(isinstance(each, Candidate) for each in found(fake)) == MAX_SIGNATURES


def test_attestations_are_not_even_fetched(fake: Fake) -> None:
    about = {"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}
    entry = {"mediaType": OCI_MANIFEST, "digest": sha256(b"m"), "size": 1, "artifactType": MEDIA_TYPE}
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": about}]}
    fake.add_manifest(REPOSITORY, f"sha256-{digest(fake).hex}", OCI_INDEX, index)
    looked = found(fake)[1]
    assert isinstance(looked, Looked)
    assert looked.found == "it is an attestation of type https://slsa.dev/provenance/v1 and no signature"
    assert not fake.paths(sha256(b"m"))


def test_a_registry_that_is_down_has_no_signatures(fake: Fake, key: PrivateKey) -> None:
    fake.faults.busy, fake.faults.busy_status = -1, 500
    looked = found(fake, registry(attempts=1))
    assert all(isinstance(each, Looked) and "it answered 500" in each.found for each in looked)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=9)
    | st.sampled_from([MEDIA_TYPE, CLASSIC, sha256(b"")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=4), inner),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(_json | st.binary(max_size=60))
def test_no_manifest_or_list_makes_it_fail_otherwise(document: object) -> None:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    for parse in (Artifact.parse, parse_referrers):
        with contextlib.suppress(ImageError):
            parse(raw)


# -- layouts -----------------------------------------------------------------------------------------------------------


class Disk:
    """An OCI layout with an image, to which things are added."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.layout.add("acme/app:1", [layer([("a", b"a")])])
        self.reference = Reference.parse("acme/app:1")
        self.digest = Digest.parse(str(self.layout.manifests[0]["digest"]))

    def add(self, name: str | None, document: dict[str, Any], kind: str = OCI_MANIFEST) -> None:
        entry = self.layout.blob(json.dumps(document).encode(), kind)
        annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        self.layout.manifests.append({**entry, **annotations})
        index = {"schemaVersion": 2, "manifests": self.layout.manifests}
        (self.layout.directory / "index.json").write_text(json.dumps(index))

    def bundle(self, key: PrivateKey, name: str | None = None) -> dict[str, Any]:
        layer = self.layout.blob(image_bundle(self.digest, key), MEDIA_TYPE)
        subject = {"mediaType": OCI_MANIFEST, "digest": str(self.digest), "size": 1}
        config = self.layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
        document = {"schemaVersion": 2, "artifactType": MEDIA_TYPE, "config": config, "layers": [layer]}
        return {**document, "mediaType": OCI_MANIFEST, "subject": subject}

    def verify(self, key: PrivateKey) -> str:
        source = open_path(self.layout.directory, self.layout.directory)
        return verify_image(source, self.reference, Trusted(Policy.of([key.public])))


def test_in_a_layout_referrers_are_entries_that_name_the_image(tmp_path: Path, key: PrivateKey) -> None:
    disk = Disk(tmp_path / "layout")
    with pytest.raises(TrustError, match="no bundle is listed"):
        disk.verify(key)
    disk.add(None, disk.bundle(key))
    assert "referrers in OCI layout" in disk.verify(key)


@pytest.mark.parametrize("prefix", ["", "acme/app:", "docker.io/acme/app:"])
def test_in_a_layout_classic_signatures_have_their_tag(tmp_path: Path, key: PrivateKey, prefix: str) -> None:
    disk = Disk(tmp_path / "layout")
    said = payload("docker.io/acme/app", disk.digest)
    layer = disk.layout.blob(said, CLASSIC)
    layer["annotations"] = {SIGNATURE: base64.b64encode(key.sign(said, classic=True)).decode()}
    config = disk.layout.blob(b"{}", "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    disk.add(f"{prefix}sha256-{disk.digest.hex}.sig", document)
    assert ".sig in OCI layout" in disk.verify(key)
