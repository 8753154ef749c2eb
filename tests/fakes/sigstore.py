"""A sigstore in this process: an authority, its certificate log, and a transparency log of one entry at a time.

It certifies whatever it is told, at whatever time: what a real one refuses can be made here, signed all the same.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from lkbuild.trust.bundle import MEDIA_TYPE, Envelope
from lkbuild.trust.policy import Identity
from lkbuild.trust.statement import PAYLOAD_TYPE

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
_SHA256 = ec.ECDSA(hashes.SHA256())
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER_V1, _ISSUER_V2 = (ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{n}") for n in (1, 8))


@dataclass(frozen=True)
class Faults:
    """What is wrong with a bundle."""

    logged: datetime.timedelta = MINUTE  # when it got into the log, after the certificate was made for ten minutes
    sct: bool = True  # the certificate log knows the certificate
    promise: bool = True  # the log's promise, without which nobody knows the time
    other_payload: bytes | None = None  # what the log says was signed


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_spki(key)).digest()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _der(tag: int, raw: bytes) -> bytes:
    """A DER element; short ones have one byte of length."""
    size = len(raw)
    head = bytes([size]) if size < 128 else bytes([0x82]) + struct.pack("!H", size)
    return bytes([tag]) + head + raw


class FakeSigstore:
    """Its keys; `root` is its trusted root."""

    def __init__(self) -> None:
        self._ca, self._ct, self._log = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self._authority = (
            x509.CertificateBuilder(name, name, self._ca.public_key(), 1, NOON - 60 * MINUTE, NOON + 600 * MINUTE)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._ca.public_key()), False)
            .sign(self._ca, hashes.SHA256())
        )

    @property
    def root(self) -> bytes:
        """The trusted root, JSON (protobuf-specs sigstore_trustroot.proto)."""
        since = {"start": "2025-01-01T00:00:00Z"}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": _text(_spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            where = {"baseUrl": "https://fake.example", "hashAlgorithm": "SHA2_256"}
            return {**where, "publicKey": public, "logId": {"keyId": _text(_id(key))}}

        chain = {"certificates": [{"rawBytes": _text(self._authority.public_bytes(serialization.Encoding.DER))}]}
        subject = {"organization": "fake", "commonName": "fake"}
        authority = {"subject": subject, "uri": "https://fake.example", "certChain": chain, "validFor": since}
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self._log)],
                "certificateAuthorities": [authority],
                "ctlogs": [log(self._ct)],
                "timestampAuthorities": [],
            }
        ).encode()

    def bundle(self, payload: bytes, signer: Identity, faults: Faults = Faults()) -> dict[str, Any]:
        """A bundle with `payload` in an envelope, signed by `signer`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(key.public_key(), signer, faults)
        signature = key.sign(Envelope(payload, PAYLOAD_TYPE, b"").signed, _SHA256)
        entry = self._entry(faults.other_payload or payload, signature, certificate)
        when = int((NOON + faults.logged).timestamp())
        return {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _text(certificate.public_bytes(serialization.Encoding.DER))},
                "tlogEntries": [self._logged(entry, when, faults)],
            },
            "dsseEnvelope": {
                "payload": _text(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": _text(signature)}],
            },
        }

    def _certificate(self, key: ec.EllipticCurvePublicKey, signer: Identity, faults: Faults) -> x509.Certificate:
        name = x509.UniformResourceIdentifier if "://" in signer.identity else x509.RFC822Name
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca.public_key())
        issuer = signer.issuer.encode()
        begun = (
            x509.CertificateBuilder(self._authority.subject, x509.Name([]), key, 2, NOON, NOON + 10 * MINUTE)
            .add_extension(usage, True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(authority, False)
            .add_extension(x509.SubjectAlternativeName([name(signer.identity)]), True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, issuer), False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, _der(0x0C, issuer)), False)
        )
        plain = begun.sign(self._ca, hashes.SHA256())
        log = self._ct if faults.sct else ec.generate_private_key(ec.SECP256R1())
        listed = _der(0x04, self._timestamp(plain.tbs_certificate_bytes, log))
        return begun.add_extension(x509.UnrecognizedExtension(_SCT_LIST, listed), False).sign(self._ca, hashes.SHA256())

    def _timestamp(self, certificate: bytes, log: ec.EllipticCurvePrivateKey) -> bytes:
        """A list of one signed certificate timestamp (RFC 6962, 3.2 and 3.3)."""
        when = int(NOON.timestamp() * 1000)
        signed = struct.pack("!BBQH", 0, 0, when, 1) + _id(self._ca)
        signed += struct.pack("!I", len(certificate))[1:] + certificate + struct.pack("!H", 0)
        signature = log.sign(signed, _SHA256)
        sct = struct.pack("!B32sQHBBH", 0, _id(self._ct), when, 0, 4, 3, len(signature)) + signature
        return struct.pack("!HH", len(sct) + 2, len(sct)) + sct

    def _entry(self, payload: bytes, signature: bytes, certificate: x509.Certificate) -> bytes:
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": _text(signature), "verifier": _text(pem)}],
        }
        return json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()

    def _logged(self, entry: bytes, when: int, faults: Faults) -> dict[str, Any]:
        """The entry in a log that has no other: its hash is the root of the tree (RFC 6962, 2.1)."""
        root = _text(hashlib.sha256(b"\0" + entry).digest())
        log = _id(self._log)
        note = f"fake.example\n1\n{root}\n"
        checkpoint = f"{note}\n— fake.example {_text(log[:4] + self._log.sign(note.encode(), _SHA256))}\n"
        said = {"body": _text(entry), "integratedTime": when, "logID": log.hex(), "logIndex": 0}
        promise = self._log.sign(json.dumps(said, sort_keys=True, separators=(",", ":")).encode(), _SHA256)
        logged = {
            "logIndex": "0",
            "logId": {"keyId": _text(log)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(when),
            "inclusionPromise": {"signedEntryTimestamp": _text(promise)},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": root,
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": _text(entry),
        }
        return {name: value for name, value in logged.items() if faults.promise or name != "inclusionPromise"}
