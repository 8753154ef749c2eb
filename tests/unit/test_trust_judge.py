"""What of a signature makes it count, and the words for each thing that makes it not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.errors import ImageError, TrustError
from lkbuild.trust.bundle import Bundle, file_bundle, image_bundle
from lkbuild.trust.judge import Candidate, judge_file, judge_image
from lkbuild.trust.keys import PublicKey
from lkbuild.trust.policy import Identity, Policy, Subject
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.simple_signing import payload
from lkbuild.trust.statement import statement
from tests.support.signing import KINDS, envelope_bundle, load, new_key, text

DIGEST = Digest.of(b"an image")
OTHER = Digest.of(b"another image")
SUBJECT = Subject(DIGEST, ("docker.io/acme/app",), "1")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> PrivateKey:
    return load(new_key(tmp_path_factory.mktemp("keys") / "key"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> PrivateKey:
    return load(new_key(tmp_path_factory.mktemp("keys") / "stranger"))


def judge(data: object, *keys: PublicKey) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return judge_image(Policy.of(keys), SUBJECT, Candidate("bundle", "here", raw), None)


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_hold_for_every_kind_of_key(kind: str, tmp_path: Path, stranger: PrivateKey) -> None:
    key = load(new_key(tmp_path / kind, kind))
    said = payload("docker.io/acme/app", DIGEST)
    classic = Candidate("classic", "here", said, text(key.sign(said, classic=True)))
    both = Policy.of([stranger.public, key.public])
    wanted = f"key {key.public.fingerprint}"
    assert judge_image(both, SUBJECT, classic, None) == wanted
    assert judge(image_bundle(DIGEST, key), stranger.public, key.public) == wanted


def test_the_order_of_keys_is_nothing(key: PrivateKey, stranger: PrivateKey) -> None:
    one, two = key.public, stranger.public
    assert Policy.of([one, two]) == Policy.of([two, one, two])


SIGN = json.loads(statement(DIGEST))

STATEMENTS = [
    ("another image", {**SIGN, "subject": [{"digest": {"sha256": OTHER.hex}}]}, f"it signs another image, {OTHER}"),
    ("no subject", {**SIGN, "subject": []}, "it signs another image, nothing"),
    ("the digest by another algorithm", {**SIGN, "subject": [{"digest": {"sha512": DIGEST.hex}}]}, "it signs another"),
    (
        "an SBOM",
        {**SIGN, "predicateType": "https://spdx.dev/Document"},
        "it is an attestation of type 'https://spdx.dev/Document' and no signature",
    ),
    ("no predicate type", {k: v for k, v in SIGN.items() if k != "predicateType"}, "it is an attestation of type None"),
    ("another type of statement", {**SIGN, "_type": "https://in-toto.io/Statement/v2"}, "its statement is of type"),
    ("no type", {k: v for k, v in SIGN.items() if k != "_type"}, "its statement is of type None"),
    ("no object", b"[]", "signed statement is a list"),
    ("no JSON", b"\xff", "signed statement is not JSON"),
    (
        "subjects that are none",
        {**SIGN, "subject": ["x"]},
        "signed statement: subject is a list, wanted a list of objects",
    ),
]


@pytest.mark.parametrize(("what", "said", "message"), STATEMENTS, ids=[row[0] for row in STATEMENTS])
def test_a_well_signed_statement_must_say_the_right_thing(
    key: PrivateKey, what: str, said: object, message: str
) -> None:
    with pytest.raises(ImageError) as caught:
        judge(envelope_bundle(said, key), key.public)
    assert message in caught.value.message


def test_the_payload_type_is_signed_and_checked(key: PrivateKey) -> None:
    with pytest.raises(TrustError, match="its envelope holds 'text/plain'"):
        judge(envelope_bundle(SIGN, key, payload_type="text/plain"), key.public)
    moved = envelope_bundle(SIGN, key, payload_type="text/plain")
    moved["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+json"
    with pytest.raises(TrustError, match="it was not made with"):
        judge(moved, key.public)


def _changed(*path: str | int, to: Any) -> Any:
    def change(bundle: dict[str, Any]) -> dict[str, Any]:
        place: Any = bundle
        for part in path[:-1]:
            place = place[part]
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        return bundle

    return change


MALFORMED = [
    ("another version", _changed("mediaType", to="application/vnd.dev.sigstore.bundle+json;version=0.1"), "is of type"),
    ("no version", _changed("mediaType", to=None), "bundle: is of type None"),
    ("no material", _changed("verificationMaterial", to={}), "says neither clearly"),
    (
        "key and certificate",
        _changed("verificationMaterial", "certificate", to={"rawBytes": ""}),
        "says neither clearly",
    ),
    ("no content", _changed("dsseEnvelope", to=None), "wanted either dsseEnvelope or messageSignature"),
    ("two contents", _changed("messageSignature", to={"signature": "AA=="}), "wanted either"),
    ("no signature", _changed("dsseEnvelope", "signatures", to=[]), "its envelope has 0 signatures"),
    (
        "two signatures",
        _changed("dsseEnvelope", "signatures", to=[{"sig": "AA=="}] * 2),
        "its envelope has 2 signatures",
    ),
    ("an empty signature", _changed("dsseEnvelope", "signatures", 0, "sig", to=""), "has 0 bytes"),
    ("no base64", _changed("dsseEnvelope", "signatures", 0, "sig", to="!!"), "is not base64"),
    (
        "a signature of 1 MB",
        _changed("dsseEnvelope", "signatures", 0, "sig", to="AAAA" * (1 << 18)),
        "the most that is read",
    ),
    ("a payload that was changed", _changed("dsseEnvelope", "payload", to="e30="), "it was not made with"),
    ("a number for text", _changed("dsseEnvelope", "payload", to=7), "payload holds a whole number, wanted text"),
    ("a list for an object", _changed("dsseEnvelope", to=[1]), "dsseEnvelope is a list, wanted an object"),
]


@pytest.mark.parametrize(("what", "change", "message"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_a_malformed_bundle_is_refused(key: PrivateKey, what: str, change: Any, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        judge(change(envelope_bundle(SIGN, key)), key.public)
    assert message in caught.value.message


def test_who_counts_is_said(key: PrivateKey, stranger: PrivateKey) -> None:
    with pytest.raises(TrustError, match=r"^it was not made with the key$"):
        judge(image_bundle(DIGEST, key), stranger.public)
    with pytest.raises(TrustError, match=r"^it was made with a key, and no key is trusted$"):
        judge(image_bundle(DIGEST, key))
    fingerprint = str(key.public.fingerprint)
    policy = Policy.of([key.public, stranger.public], [Identity("https://issuer", "me@example")])
    words = policy.words(((fingerprint, "cosign.pub"),))
    assert f"key cosign.pub ({fingerprint})" in words
    assert f"key {stranger.public.fingerprint}" in words
    assert words.endswith(", me@example (https://issuer)")


CLASSIC = [
    ("another image", payload("docker.io/acme/app", OTHER), "it signs another image"),
    ("another repository", payload("docker.io/acme/evil", DIGEST), "it is for the repository docker.io/acme/evil"),
    (
        "another type",
        payload("docker.io/acme/app", DIGEST).replace(b"cosign container", b"atomic container"),
        "is of type",
    ),
    ("no object", b"7", "signed payload is a whole number"),
    ("no critical", b"{}", "the payload is of type None"),
]


@pytest.mark.parametrize(("what", "said", "message"), CLASSIC, ids=[row[0] for row in CLASSIC])
def test_a_well_signed_payload_must_say_the_right_thing(key: PrivateKey, what: str, said: bytes, message: str) -> None:
    candidate = Candidate("classic", "here", said, text(key.sign(said)))
    with pytest.raises(ImageError) as caught:
        judge_image(Policy.of([key.public]), SUBJECT, candidate, None)
    assert message in caught.value.message


def test_a_payload_is_not_read_before_its_signature_holds(key: PrivateKey, stranger: PrivateKey) -> None:
    said = b"{" * 10_000
    with pytest.raises(TrustError, match="it was not made with"):
        judge_image(Policy.of([key.public]), SUBJECT, Candidate("classic", "", said, text(stranger.sign(said))), None)


def test_keyless_ones_need_identities(key: PrivateKey) -> None:
    bundle = envelope_bundle(SIGN, key, verificationMaterial={"certificate": {"rawBytes": "AA=="}})
    with pytest.raises(TrustError, match=r"it is keyless, and trust\.identities names nobody"):
        judge(bundle, key.public)
    with pytest.raises(TrustError, match="keyless in the form from before bundles"):
        judge_image(Policy(), SUBJECT, Candidate("classic", "", b"{}", "AA==", keyless=True), None)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("AA=="),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for name, item in inside for each in _paths(item, (*path, name)))]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bundle_that_was_changed_counts_or_fails_otherwise(key: PrivateKey, data: st.DataObject) -> None:
    """Any value at any place: the bundle still counts only where what was changed is not signed and does not matter."""
    good = envelope_bundle(SIGN, key)
    bundle = copy.deepcopy(good)
    path = data.draw(st.sampled_from(_paths(bundle)[1:]))
    value = data.draw(_json)
    _changed(*path, to=value)(bundle)
    try:
        judge(bundle, key.public)
    except ImageError:
        return
    assert bundle["dsseEnvelope"]["payload"] == good["dsseEnvelope"]["payload"]
    assert bundle["dsseEnvelope"]["payloadType"] == good["dsseEnvelope"]["payloadType"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(raw: bytes) -> None:
    with pytest.raises(ImageError):
        Bundle.parse(raw)


def test_files(key: PrivateKey, stranger: PrivateKey) -> None:
    message = b"an initrd"
    digest, policy = Digest.of(message), Policy.of([key.public])
    signature = key.sign(message)
    bundle = Candidate("bundle", "", file_bundle(digest, signature, key.public))
    assert judge_file(policy, (digest, message), bundle, None) == f"key {key.public.fingerprint}"
    detached = Candidate("classic", "", b"", text(signature) + "\n")
    assert judge_file(policy, (digest, message), detached, None) == f"key {key.public.fingerprint}"
    with pytest.raises(TrustError, match="the bundle is for a file of sha256:"):
        judge_file(policy, (Digest.of(b"x"), b"x"), bundle, None)
    with pytest.raises(TrustError, match="it was not made with"):
        judge_file(policy, (Digest.of(b"x"), b"x"), detached, None)
    with pytest.raises(TrustError, match="holds a statement"):
        judge_file(policy, (digest, message), Candidate("bundle", "", image_bundle(digest, key)), None)
    with pytest.raises(TrustError, match="its bundle signs a file"):
        judge(bundle.data, key.public)
