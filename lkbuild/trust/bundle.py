"""Sigstore bundles, version 0.3, JSON (protobuf-specs sigstore_bundle.proto): a signature and what to check it by."""

from __future__ import annotations

import base64
import binascii
import json

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.frozen import frozen
from lkbuild.oci.document import Fields, parse_object
from lkbuild.trust.keys import PublicKey
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.statement import PAYLOAD_TYPE, statement

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_SAME = "application/vnd.dev.sigstore.bundle+json;version=0.3"
MAX_BUNDLE = 1 << 20
_MAX_SIGNATURE = 4096


@frozen
class Envelope:
    """A DSSE envelope with its one signature, which is over `signed`."""

    payload: bytes
    payload_type: str
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The pre-authentication encoding (DSSE v1)."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


@frozen
class MessageSignature:
    """A signature of a file; `digest` is the file's, for finding mistakes: it is not what is signed."""

    digest: Digest | None
    signature: bytes


@frozen
class Bundle:
    """A bundle taken apart.  `keyless`: a certificate says who signed, rather than a key known beforehand."""

    content: Envelope | MessageSignature
    keyless: bool

    @classmethod
    def parse(cls, raw: bytes) -> Bundle:
        """The bundle in `raw`; TrustError or ImageError where it is none."""
        fields = Fields(parse_object(raw, MAX_BUNDLE, "bundle"), "bundle")
        media_type = fields.text("mediaType")
        if media_type not in (MEDIA_TYPE, _SAME):
            raise TrustError(f"bundle: is of type {media_type!r:.80}, wanted {MEDIA_TYPE!r}")
        material = fields.object("verificationMaterial")
        keyless = material.has("certificate") or material.has("x509CertificateChain")
        if keyless == material.has("publicKey"):
            raise TrustError("bundle: says neither clearly that it was signed with a key nor with a certificate")
        if fields.has("dsseEnvelope") == fields.has("messageSignature"):
            raise TrustError("bundle: wanted either dsseEnvelope or messageSignature")
        content = _envelope(fields) if fields.has("dsseEnvelope") else _message_signature(fields)
        return cls(content, keyless)


def image_bundle(digest: Digest, key: PrivateKey) -> bytes:
    """A bundle that says that the image `digest` is signed, as cosign 3 makes it for a key."""
    return statement_bundle(statement(digest), key)


def statement_bundle(said: bytes, key: PrivateKey) -> bytes:
    """A bundle with an in-toto statement, signed in a DSSE envelope."""
    signature = key.sign(Envelope(said, PAYLOAD_TYPE, b"").signed)
    envelope = {"payload": _text(said), "payloadType": PAYLOAD_TYPE, "signatures": [{"sig": _text(signature)}]}
    return _bundle(key.public, {"dsseEnvelope": envelope})


def file_bundle(digest: Digest, signature: bytes, key: PublicKey) -> bytes:
    """A bundle with the signature of a file whose SHA-256 is `digest`."""
    message = {
        "messageDigest": {"algorithm": "SHA2_256", "digest": _text(bytes.fromhex(digest.hex))},
        "signature": _text(signature),
    }
    return _bundle(key, {"messageSignature": message})


def _bundle(key: PublicKey, content: dict[str, object]) -> bytes:
    hint = {"publicKey": {"hint": _text(bytes.fromhex(key.fingerprint.hex))}}
    document = {"mediaType": MEDIA_TYPE, "verificationMaterial": hint, **content}
    return json.dumps(document, separators=(",", ":")).encode()


def _envelope(fields: Fields) -> Envelope:
    envelope = fields.object("dsseEnvelope")
    signatures = envelope.objects("signatures")
    if len(signatures) != 1:
        raise TrustError(f"bundle: its envelope has {len(signatures)} signatures, wanted one")
    return Envelope(
        unbase64(envelope.text("payload"), "bundle: payload"),
        envelope.text("payloadType") or "",
        unbase64(signatures[0].text("sig"), "bundle: sig", _MAX_SIGNATURE),
    )


def _message_signature(fields: Fields) -> MessageSignature:
    message = fields.object("messageSignature")
    said, digest = message.object("messageDigest"), None
    if said.has("digest"):
        raw = unbase64(said.text("digest"), "bundle: digest", 64)
        if said.text("algorithm") != "SHA2_256" or len(raw) != 32:
            raise TrustError("bundle: messageDigest is none of SHA2_256")
        digest = Digest("sha256", raw.hex())
    return MessageSignature(digest, unbase64(message.text("signature"), "bundle: signature", _MAX_SIGNATURE))


def unbase64(text: str | None, what: str, limit: int = MAX_BUNDLE) -> bytes:
    """The bytes of base64 text, at least one and at most `limit`; TrustError otherwise."""
    try:
        raw = base64.b64decode((text or "").encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(f"{what} is not base64") from error
    if not 0 < len(raw) <= limit:
        raise TrustError(f"{what} has {len(raw)} bytes, wanted 1 to {limit}")
    return raw


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
