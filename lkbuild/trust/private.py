"""Private keys, and signing with them.  They are read from a file, used and forgotten: nothing here writes one."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from lkbuild.errors import TrustError
from lkbuild.oci.document import Fields, parse_object
from lkbuild.trust.keys import MAX_PEM, Message, PublicKey, hashed, whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    Known = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

Ask = Callable[[], bytes]
"""Asks for the passphrase of a key; called only for keys that have one."""

_COSIGN = re.compile(
    rb"-----BEGIN ENCRYPTED (COSIGN|SIGSTORE) PRIVATE KEY-----(.*?)-----END ENCRYPTED \1 PRIVATE KEY-----", re.DOTALL
)
_MAX_SCRYPT = 1 << 17
_WRONG = "the passphrase is wrong, or the file is damaged"


class PrivateKey:
    """A key to sign with, and its public half.  NB: it has no text form, so that none can get into a message."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Known, public: PublicKey) -> None:
        self._key = key
        self.public = public

    @classmethod
    def parse(cls, pem: bytes, name: str, ask: Ask) -> PrivateKey:
        """The private key in a file called `name`: PEM, encrypted or not, or cosign's own form of encryption.

        TrustError where it is none, or of a kind that `trust.keys` would not take.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            load_der_private_key,
            load_pem_private_key,
        )

        if len(pem) > MAX_PEM or b"PRIVATE KEY" not in pem:
            raise TrustError(f"{name}: is no private key in PEM form", _MAKE)
        try:
            if cosign := _COSIGN.search(pem):
                key = load_der_private_key(_open_cosign(cosign[2], name, ask), None)
            else:
                encrypted = b"ENCRYPTED" in pem
                key = load_pem_private_key(pem, ask() if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise TrustError(f"{name}: cannot be read as a private key: {_WRONG}", _MAKE) from error
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return cls(key, PublicKey.parse(public, name))  # type: ignore[arg-type]

    def sign(self, message: Message, *, classic: bool = False) -> bytes:
        """A signature that `PublicKey.signed` takes; `classic`: over SHA-256 whatever the curve, as cosign has it."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        if isinstance(self._key, rsa.RSAPrivateKey):
            digest, how = hashed(message, 256)
            return self._key.sign(digest, padding.PKCS1v15(), how)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            digest, how = hashed(message, 384 if self._key.key_size == 384 and not classic else 256)
            return self._key.sign(digest, ec.ECDSA(how))
        with whole(message) as data:
            return self._key.sign(data)


_MAKE = "`openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -out KEY` makes an encrypted one"


def _open_cosign(body: bytes, name: str, ask: Ask) -> bytes:
    """The PKCS #8 DER in a key file as `cosign generate-key-pair` writes it: scrypt, then NaCl's secretbox.

    ValueError where the passphrase is wrong.
    """
    try:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError as error:
        hint = "pip install 'lkbuild[cosign]', or sign with a key in PEM form"
        raise TrustError(f"{name}: is encrypted in cosign's own form, which needs the package pynacl", hint) from error
    fields = Fields(parse_object(base64.b64decode(b"".join(body.split()), validate=True), MAX_PEM, name), name)
    kdf, cipher = fields.object("kdf"), fields.object("cipher")
    numbers = kdf.object("params")
    n, r, p = (numbers.size(each) for each in ("N", "r", "p"))
    if kdf.text("name") != "scrypt" or cipher.text("name") != "nacl/secretbox" or n > _MAX_SCRYPT or r > 8 or p > 1:
        raise TrustError(f"{name}: is encrypted in a way that is not known here", _MAKE)
    salt, nonce, text = (base64.b64decode(part or "") for part in (
        kdf.text("salt"), cipher.text("nonce"), fields.text("ciphertext")
    ))  # fmt: skip
    secret = hashlib.scrypt(ask(), salt=salt, n=n, r=r, p=p, dklen=SecretBox.KEY_SIZE, maxmem=256 << 20)
    try:
        return SecretBox(secret).decrypt(text, nonce)
    except CryptoError as error:
        raise ValueError(_WRONG) from error
