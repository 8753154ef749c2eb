"""Keys: which are taken, which are refused and how, and that openssl agrees with what is signed."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.errors import ImageError, TrustError
from lkbuild.trust.keys import PublicKey
from lkbuild.trust.private import PrivateKey
from tests.support.signing import KINDS, load, new_key, nobody, openssl

MESSAGE = b"what is signed"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("keys")
    return {kind: new_key(directory / kind, kind) for kind in KINDS}


def public(path: Path) -> PublicKey:
    return PublicKey.parse(Path(f"{path}.pub").read_bytes(), path.name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_sign_openssl_verifies(keys: dict[str, Path], kind: str, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "signature").write_bytes(load(keys[kind]).sign(MESSAGE, classic=True))
    words = ("-rawin",) if kind == "ed25519" else ("-rawin", "-digest", "sha256")
    said = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", f"{keys[kind]}.pub", *words),
        *("-in", tmp_path / "message", "-sigfile", tmp_path / "signature"),
    )
    assert b"Signature Verified Successfully" in said


@pytest.mark.parametrize(
    ("kind", "digest"), [("p256", "sha256"), ("p384", "sha256"), ("p384", "sha384"), ("rsa", "sha256")]
)
def test_what_openssl_signs_we_verify(keys: dict[str, Path], kind: str, digest: str) -> None:
    signature = openssl("dgst", f"-{digest}", "-sign", keys[kind], data=MESSAGE)
    assert public(keys[kind]).signed(MESSAGE, signature)
    assert not public(keys[kind]).signed(MESSAGE + b".", signature)
    assert not public(keys[kind]).signed(MESSAGE, signature[:-1])


def test_other_hashes_than_the_known_ones_do_not_count(keys: dict[str, Path]) -> None:
    for kind in ("p256", "p384", "rsa"):
        assert not public(keys[kind]).signed(MESSAGE, openssl("dgst", "-sha1", "-sign", keys[kind], data=MESSAGE))
    assert not public(keys["p256"]).signed(MESSAGE, openssl("dgst", "-sha384", "-sign", keys["p256"], data=MESSAGE))


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_takes_anothers_signature(keys: dict[str, Path], kind: str) -> None:
    signature = load(keys[kind]).sign(MESSAGE)
    assert [other for other in KINDS if public(keys[other]).signed(MESSAGE, signature)] == [kind]


def test_a_key_is_what_it_is_and_not_what_it_is_called(keys: dict[str, Path]) -> None:
    pem = Path(f"{keys['p256']}.pub").read_bytes()
    one, two = PublicKey.parse(pem, "one"), PublicKey.parse(b"\n" + pem + b"\n", "two")
    assert one == two
    der = openssl("pkey", "-pubin", "-outform", "DER", data=pem)
    assert one.fingerprint.hex == hashlib.sha256(der).hexdigest()


def _certificate(keys: dict[str, Path]) -> bytes:
    return openssl("req", "-x509", "-new", "-key", keys["p256"], "-subj", "/CN=somebody", "-days", "1")


REFUSED = [
    ("a private key", lambda keys: keys["p256"].read_bytes(), "holds a private key"),
    ("a certificate", _certificate, "holds a certificate"),
    ("garbage", lambda keys: b"\x00\xff" * 100, "is no key in PEM form"),
    ("nothing", lambda keys: b"", "is no key in PEM form"),
    (
        "PEM around garbage",
        lambda keys: b"-----BEGIN PUBLIC KEY-----\nQUJD\n-----END PUBLIC KEY-----\n",
        "is no public key that can be read",
    ),
    ("two keys", lambda keys: Path(f"{keys['p256']}.pub").read_bytes() * 2, "holds several keys"),
    ("too large", lambda keys: b"A" * (65 << 10), "is larger than 64 KiB"),
    (
        "RSA of 1024 bits",
        lambda keys: openssl(
            "pkey", "-pubout", data=openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
        ),
        "is an RSA key of 1024 bits",
    ),
    (
        "another curve",
        lambda keys: openssl(
            "pkey", "-pubout", data=openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")
        ),
        "is an ECDSA key on the curve secp256k1",
    ),
    (
        "a key that signs nothing",
        lambda keys: openssl("pkey", "-pubout", data=openssl("genpkey", "-algorithm", "X25519")),
        "is a kind of key that signs no images",
    ),
]


@pytest.mark.parametrize(("what", "make", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_no_public_key_is_refused(keys: dict[str, Path], what: str, make, message: str) -> None:  # type: ignore[no-untyped-def]
    raw = make(keys)
    with pytest.raises(TrustError) as caught:
        PublicKey.parse(raw, "some.pub")
    assert caught.value.message.startswith(f"some.pub: {message}")
    secret = b"".join(keys["p256"].read_bytes().splitlines()[1:-1]).decode()
    assert secret[:20] not in str(caught.value)


@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(lambda b: b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(b))
)
def test_no_bytes_make_it_fail_otherwise(raw: bytes) -> None:
    with pytest.raises(TrustError):
        PublicKey.parse(raw, "x")


def test_an_encrypted_key_asks_for_its_passphrase(keys: dict[str, Path]) -> None:
    pem = openssl("pkcs8", "-topk8", "-in", keys["p256"], "-passout", "pass:open sesame")
    key = PrivateKey.parse(pem, "key", lambda: b"open sesame")
    assert key.public == public(keys["p256"])
    with pytest.raises(TrustError, match="the passphrase is wrong, or the file is damaged"):
        PrivateKey.parse(pem, "key", lambda: b"simsalabim")


def test_the_traditional_forms_of_private_keys_are_read(keys: dict[str, Path]) -> None:
    for kind in ("p256", "rsa"):
        pem = openssl("pkey", "-in", keys[kind], "-traditional")
        assert PrivateKey.parse(pem, "key", nobody).public == public(keys[kind])


def cosign_key(path: Path, password: bytes, n: int = 1 << 14) -> bytes:
    """A key as `cosign generate-key-pair` writes it."""
    from nacl.secret import SecretBox

    der = openssl("pkcs8", "-topk8", "-nocrypt", "-in", path, "-outform", "DER")
    salt, nonce = b"s" * 32, b"n" * 24
    secret = hashlib.scrypt(password, salt=salt, n=n, r=8, p=1, dklen=32, maxmem=1 << 28)
    document = {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(SecretBox(secret).encrypt(der, nonce).ciphertext).decode(),
    }
    body = base64.encodebytes(json.dumps(document).encode())
    return (
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n" + body + b"-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
    )


def test_cosigns_own_form_of_encryption_is_read(keys: dict[str, Path]) -> None:
    pem = cosign_key(keys["p256"], b"pass")
    assert PrivateKey.parse(pem, "cosign.key", lambda: b"pass").public == public(keys["p256"])
    assert PrivateKey.parse(pem.replace(b"SIGSTORE", b"COSIGN"), "cosign.key", lambda: b"pass").public.spki
    with pytest.raises(TrustError, match="the passphrase is wrong"):
        PrivateKey.parse(pem, "cosign.key", lambda: b"word")


def test_a_key_that_would_take_all_memory_is_not_opened(keys: dict[str, Path]) -> None:
    pem = cosign_key(keys["p256"], b"pass")
    body = base64.b64decode(b"".join(pem.splitlines()[1:-1])).replace(b'"N": 16384', b'"N": 1073741824')
    lines = pem.splitlines()
    with pytest.raises(TrustError, match="encrypted in a way that is not known"):
        PrivateKey.parse(b"\n".join([lines[0], base64.b64encode(body), lines[-1]]), "cosign.key", lambda: b"pass")


@given(
    st.binary(max_size=300).map(
        lambda b: b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----" + b + b"-----END ENCRYPTED COSIGN PRIVATE KEY-----"
    )
)
def test_no_private_key_makes_it_fail_otherwise(raw: bytes) -> None:
    with pytest.raises(ImageError):
        PrivateKey.parse(raw, "x", lambda: b"")


def test_a_private_key_shows_nothing_of_itself(keys: dict[str, Path]) -> None:
    secret = b"".join(keys["p256"].read_bytes().splitlines()[1:-1]).decode()
    assert secret[:20] not in f"{load(keys['p256'])!r}"
