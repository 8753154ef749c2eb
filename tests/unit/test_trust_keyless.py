"""Keyless bundles: of a sigstore of our own, where everything can be wrong, and of sigstore's conformance suite."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from lkbuild.digest import Digest
from lkbuild.errors import ImageError, TrustError
from lkbuild.trust.bundle import Bundle
from lkbuild.trust.judge import Candidate, judge_file, judge_image
from lkbuild.trust.keyless import public_root, verify_envelope
from lkbuild.trust.keys import PublicKey
from lkbuild.trust.policy import Identity, Policy, Subject
from lkbuild.trust.statement import statement
from tests.fakes.sigstore import MINUTE, FakeSigstore, Faults

VECTORS = Path(__file__).parents[1] / "support" / "sigstore"
DIGEST = Digest.of(b"an image")
SUBJECT = Subject(DIGEST, ("docker.io/acme/app",))
SIGNER = Identity("https://accounts.example", "release@acme.example")
WORKFLOW = Identity("https://token.example", "https://git.example/acme/app/.workflows/release.yml@refs/heads/main")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may ask anybody."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def sigstore() -> FakeSigstore:
    return FakeSigstore()


def judge(sigstore: FakeSigstore, bundle: Any, *signers: Identity, root: bytes | None = None, tmp: Path) -> str:
    (tmp / "root.json").write_bytes(root or sigstore.root)
    candidate = Candidate("bundle", "here", json.dumps(bundle).encode())
    return judge_image(Policy.of((), signers), SUBJECT, candidate, tmp / "root.json")


@pytest.mark.parametrize("signer", [SIGNER, WORKFLOW], ids=["address", "workflow"])
def test_a_signer_that_is_named_counts(sigstore: FakeSigstore, signer: Identity, tmp_path: Path) -> None:
    bundle = sigstore.bundle(statement(DIGEST), signer)
    assert judge(sigstore, bundle, SIGNER, WORKFLOW, tmp=tmp_path) == f"identity {signer}"


def _cut(*path: str | int) -> Any:
    def cut(bundle: dict[str, Any]) -> None:
        place: Any = bundle
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return cut


def _spoil(*path: str | int) -> Any:
    def spoil(bundle: dict[str, Any]) -> None:
        place: Any = bundle
        for part in path[:-1]:
            place = place[part]
        text = place[path[-1]]
        place[path[-1]] = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]

    return spoil


GOOD = statement(DIGEST)
ENTRY = ("verificationMaterial", "tlogEntries", 0)
PROMISE = (*ENTRY, "inclusionPromise", "signedEntryTimestamp")
CERTIFICATE = ("verificationMaterial", "certificate", "rawBytes")
OTHER = Digest.of(b"another image")
SBOM = json.dumps(json.loads(statement(DIGEST)) | {"predicateType": "https://spdx.dev/Document"}).encode()

REFUSED: list[tuple[str, bytes, Identity, Faults, Any, str]] = [
    ("another name", GOOD, Identity(SIGNER.issuer, "evil@acme.example"), Faults(), None, "not by"),
    ("another issuer", GOOD, Identity("https://evil.example", SIGNER.identity), Faults(), None, "not by"),
    ("a name that begins alike", GOOD, Identity(SIGNER.issuer, SIGNER.identity + ".evil"), Faults(), None, "not by"),
    ("another image", statement(OTHER), SIGNER, Faults(), None, "it signs another image"),
    ("an attestation", SBOM, SIGNER, Faults(), None, "it is an attestation of type 'https://spdx.dev/Document'"),
    ("an expired certificate", GOOD, SIGNER, Faults(logged=11 * MINUTE), None, "not by"),
    ("a certificate from the future", GOOD, SIGNER, Faults(logged=-MINUTE), None, "not by"),
    ("a certificate nobody logged", GOOD, SIGNER, Faults(sct=False), None, "failed to verify SCT"),
    ("no time", GOOD, SIGNER, Faults(promise=False), None, "must contain an inclusion promise"),
    ("another payload logged", GOOD, SIGNER, Faults(other_payload=b"x"), None, "payload hash does not match"),
    ("no log entry", GOOD, SIGNER, Faults(), _cut(*ENTRY), "cannot be read as a keyless bundle"),
    ("no proof", GOOD, SIGNER, Faults(), _cut(*ENTRY, "inclusionProof"), "cannot be read as a keyless bundle"),
    ("a changed promise", GOOD, SIGNER, Faults(), _spoil(*PROMISE), "not by"),
    ("a changed root hash", GOOD, SIGNER, Faults(), _spoil(*ENTRY, "inclusionProof", "rootHash"), "not by"),
    ("a changed entry", GOOD, SIGNER, Faults(), _spoil(*ENTRY, "canonicalizedBody"), "not by"),
    ("a changed payload", GOOD, SIGNER, Faults(), _spoil("dsseEnvelope", "payload"), "not by"),
    ("a changed signature", GOOD, SIGNER, Faults(), _spoil("dsseEnvelope", "signatures", 0, "sig"), "not by"),
    ("no certificate in it", GOOD, SIGNER, Faults(), _cut(*CERTIFICATE), "cannot be read as a keyless bundle"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "payload", "signer", "faults", "bend", "message"), REFUSED, ids=[r[0] for r in REFUSED]
)
def test_what_is_wrong_is_refused(
    sigstore: FakeSigstore,
    tmp_path: Path,
    what: str,
    payload: bytes,
    signer: Identity,
    faults: Faults,
    bend: Any,
    message: str,
) -> None:
    bundle = sigstore.bundle(payload, signer, faults)
    if bend is not None:
        bend(bundle)
    with pytest.raises(ImageError) as caught:
        judge(sigstore, bundle, SIGNER, tmp=tmp_path)
    assert message in caught.value.message


def test_another_sigstore_is_not_this_one(sigstore: FakeSigstore, tmp_path: Path) -> None:
    bundle = sigstore.bundle(statement(DIGEST), SIGNER)
    for root in (FakeSigstore().root, public_root()):
        with pytest.raises(TrustError, match=r"not by release@acme\.example"):
            judge(sigstore, bundle, SIGNER, root=root, tmp=tmp_path)


@pytest.mark.parametrize("root", [b"", b"{}", b"\xff", b"[]", b'{"mediaType": "x"}'])
def test_a_root_that_is_none_trusts_nobody(sigstore: FakeSigstore, tmp_path: Path, root: bytes) -> None:
    bundle = sigstore.bundle(statement(DIGEST), SIGNER)
    with pytest.raises(TrustError, match="cannot be read as a keyless bundle"):
        judge(sigstore, bundle, SIGNER, root=root or b" ", tmp=tmp_path)


def test_keys_and_identities_may_stand_side_by_side(sigstore: FakeSigstore, tmp_path: Path) -> None:
    bundle = sigstore.bundle(statement(DIGEST), SIGNER)
    with pytest.raises(TrustError, match=r"it is keyless, and trust\.identities names nobody"):
        judge(sigstore, bundle, tmp=tmp_path)


# -- vectors -----------------------------------------------------------------------------------------------------------

BEACON = Identity(
    "https://token.actions.githubusercontent.com",
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
)
A_TXT = Digest("sha256", "a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf")

KEYED = [
    ("intoto-canonical-log-entry", "it is an attestation of type 'https://example.com/test' and no signature"),
    ("dsse-statement-missing-type_fail", "its statement is of type None"),
    ("dsse-statement-unknown-type_fail", "its statement is of type 'https://in-toto.io/Statement/v2'"),
]


@pytest.mark.parametrize(("name", "message"), KEYED, ids=[row[0] for row in KEYED])
def test_vectors_with_keys(name: str, message: str) -> None:
    """The signatures of all three hold, and none of them is one of an image."""
    vector = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    key = PublicKey.parse(vector["key"].encode(), "key.pub")
    raw = json.dumps(vector["bundle"]).encode()
    content = Bundle.parse(raw).content
    assert key.signed(content.signed, content.signature)  # type: ignore[union-attr]
    with pytest.raises(TrustError) as caught:
        judge_image(Policy.of([key]), Subject(A_TXT, ()), Candidate("bundle", "", raw), None)
    assert message in caught.value.message


def test_the_vector_of_a_key_that_is_another(sigstore: FakeSigstore) -> None:
    """managed-key-and-trusted-root, whose own key is not at hand: it is not signed by the other vectors' keys."""
    vector = json.loads((VECTORS / "managed-key-and-trusted-root.json").read_text("utf-8"))
    key = PublicKey.parse(json.loads((VECTORS / f"{KEYED[0][0]}.json").read_text("utf-8"))["key"].encode(), "key.pub")
    with pytest.raises(TrustError, match="it was not made with"):
        judge_file(Policy.of([key]), (A_TXT, b""), Candidate("bundle", "", json.dumps(vector).encode()), None)


def test_the_keyless_vector(tmp_path: Path) -> None:
    """dsse-with-hashedrekord-happy-path is valid; certificate, time and log hold, but sigstore-python reads no envelope
    that is logged as hashedrekord/0.0.1, which no signer writes: it wants dsse/0.0.1 or hashedrekord/0.0.2."""
    (tmp_path / "root.json").write_bytes(public_root())
    raw = (VECTORS / "dsse-with-hashedrekord-happy-path.json").read_bytes()
    with pytest.raises(TrustError, match=r"Unsupported DSSE log entry type: hashedrekord/0\.0\.1"):
        verify_envelope(raw, [BEACON], tmp_path / "root.json")
    changed = json.loads(raw)
    changed["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "7"
    with pytest.raises(TrustError, match="invalid log entry"):
        verify_envelope(json.dumps(changed).encode(), [BEACON], tmp_path / "root.json")
    with pytest.raises(TrustError, match="not by somebody"):
        verify_envelope(raw, [Identity(BEACON.issuer, "somebody")], tmp_path / "root.json")
