"""Keys for tests, made by openssl, and signatures that something is wrong with."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from lkbuild.trust.bundle import Envelope
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.statement import PAYLOAD_TYPE

KINDS: dict[str, tuple[str, ...]] = {
    "p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "ed25519": ("-algorithm", "ED25519"),
}


def openssl(*words: str | Path, data: bytes | None = None) -> bytes:
    """What openssl says."""
    return subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, check=True).stdout


def new_key(path: Path, kind: str = "p256") -> Path:
    """A private key at `path`, its public key at `path` with `.pub`."""
    openssl("genpkey", *KINDS[kind], "-out", path)
    openssl("pkey", "-in", path, "-pubout", "-out", f"{path}.pub")
    return path


def nobody() -> bytes:
    """Asked for a passphrase where none is needed."""
    raise AssertionError("asked for a passphrase")


def load(path: Path) -> PrivateKey:
    """The private key in a file without a passphrase."""
    return PrivateKey.parse(path.read_bytes(), str(path), nobody)


def envelope_bundle(statement: object, key: PrivateKey, **more: Any) -> dict[str, Any]:
    """A bundle around any statement, signed all the same."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    kind = str(more.pop("payload_type", PAYLOAD_TYPE))
    signature = key.sign(Envelope(payload, kind, b"").signed)
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "any"}},
        "dsseEnvelope": {"payload": text(payload), "payloadType": kind, "signatures": [{"sig": text(signature)}]},
        **more,
    }


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
