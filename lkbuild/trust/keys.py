"""Public keys as `trust.keys` names them, and whether a signature is by one.

Read are ECDSA keys on P-256 and P-384, RSA keys from 2048 bits and Ed25519 keys, in PEM form.  `cryptography` is loaded
when a key is first looked at: most builds verify nothing.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.frozen import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    Known = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

Message = bytes | Path
"""What is signed: bytes, or a file, of which no more is in memory than must be."""

MAX_PEM = 64 << 10
MIN_RSA = 2048
CURVES = ("secp256r1", "secp384r1")
_WANTED = "wanted an ECDSA (P-256, P-384), RSA (2048 bits or more) or Ed25519 public key, `-----BEGIN PUBLIC KEY-----`"


@frozen
class PublicKey:
    """A public key: its SubjectPublicKeyInfo in DER, which is all it is.  What its file is called is no part of it."""

    spki: bytes

    @classmethod
    def parse(cls, pem: bytes, name: str) -> PublicKey:
        """The one public key in a PEM file called `name`; TrustError says what is there instead.

        NB: no message quotes what is in the file: it may be a private key.
        """
        if len(pem) > MAX_PEM:
            raise TrustError(f"{name}: is larger than {MAX_PEM >> 10} KiB, which no public key is", _WANTED)
        if b"PRIVATE KEY" in pem:
            hint = f"`openssl pkey -in {name} -pubout` writes its public key; a private key has no place beside a spec"
            raise TrustError(f"{name}: holds a private key, and a public key is wanted", hint)
        if b"BEGIN CERTIFICATE" in pem:
            hint = f"`openssl x509 -in {name} -noout -pubkey` writes its key; that is trusted whatever the dates say"
            raise TrustError(f"{name}: holds a certificate, and a public key is wanted", hint)
        count = pem.count(b"-----BEGIN ")
        if count != 1:
            raise TrustError(f"{name}: {'holds several keys' if count else 'is no key in PEM form'}", _WANTED)
        return cls(_spki(pem, name))

    @property
    def fingerprint(self) -> Digest:
        """The SHA-256 of its SubjectPublicKeyInfo: what people compare, and what bundles call a key's hint."""
        return Digest.of(self.spki)

    def signed(self, message: Message, signature: bytes) -> bool:
        """Whether `signature` is one of `message` by this key.

        ECDSA: DER, over SHA-256, which cosign takes for every curve, or for P-384 over SHA-384, which bundles take.
        RSA: PKCS #1 v1.5 over SHA-256.
        """
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        key = self._key()
        if isinstance(key, rsa.RSAPublicKey):
            digest, how = hashed(message, 256)
            return _holds(lambda: key.verify(signature, digest, padding.PKCS1v15(), how))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            with whole(message) as data:
                return _holds(lambda: key.verify(signature, data))
        for bits in (256, 384)[: 2 if key.key_size == 384 else 1]:
            digest, how = hashed(message, bits)
            if _holds(functools.partial(key.verify, signature, digest, ec.ECDSA(how))):
                return True
        return False

    def _key(self) -> Known:
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        return load_der_public_key(self.spki)  # type: ignore[return-value]


def hashed(message: Message, bits: int) -> tuple[bytes, Prehashed]:
    """The SHA-256 or SHA-384 of a message, and what says so to `cryptography`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    how = Prehashed(hashes.SHA384() if bits == 384 else hashes.SHA256())
    if isinstance(message, bytes):
        return hashlib.new(f"sha{bits}", message).digest(), how
    with message.open("rb") as file:
        return hashlib.file_digest(file, f"sha{bits}").digest(), how


@contextmanager
def whole(message: Message) -> Iterator[bytes | memoryview]:
    """All of a message, which Ed25519 wants: it signs no hash.  A file is mapped: its pages can be given back."""
    if isinstance(message, bytes):
        yield message
        return
    with message.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view


def _holds(verify: Callable[[], None]) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        verify()
    except InvalidSignature:
        return False
    return True


def _spki(pem: bytes, name: str) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{name}: is no public key that can be read", _WANTED) from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        found = f"an ECDSA key on the curve {key.curve.name}" if key.curve.name not in CURVES else ""
    elif isinstance(key, rsa.RSAPublicKey):
        found = f"an RSA key of {key.key_size} bits" if key.key_size < MIN_RSA else ""
    else:
        found = "" if isinstance(key, ed25519.Ed25519PublicKey) else "a kind of key that signs no images"
    if found:
        raise TrustError(f"{name}: is {found}", _WANTED)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
