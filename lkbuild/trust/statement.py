"""in-toto statements that say "this image is signed", as cosign 3 puts them into bundles (in-toto Statement v1)."""

from __future__ import annotations

import json

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.oci.document import Fields, parse_object

TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type of a signature.  Any other, of an SBOM for instance, signed by the same key, is none."""
MAX_STATEMENT = 1 << 20


def statement(digest: Digest) -> bytes:
    """The statement that `digest` is signed."""
    document = {
        "_type": TYPE,
        "subject": [{"digest": {digest.algorithm: digest.hex}}],
        "predicateType": SIGN,
        "predicate": {},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def check_statement(raw: bytes, payload_type: str, digest: Digest) -> None:
    """TrustError unless the payload of an envelope says that `digest` is signed.

    NB: to be called only when the envelope's signature holds.
    """
    if payload_type != PAYLOAD_TYPE:
        raise TrustError(f"its envelope holds {payload_type!r:.80}, wanted {PAYLOAD_TYPE!r}")
    fields = Fields(parse_object(raw, MAX_STATEMENT, "signed statement"), "signed statement")
    kind, predicate = fields.text("_type"), fields.text("predicateType")
    if kind != TYPE:
        raise TrustError(f"its statement is of type {kind!r:.80}, wanted {TYPE!r}")
    if predicate != SIGN:
        raise TrustError(f"it is an attestation of type {predicate!r:.120} and no signature ({SIGN})")
    subjects = [subject.object("digest").text(digest.algorithm) for subject in fields.objects("subject")]
    if digest.hex not in subjects:
        found = ", ".join(f"{digest.algorithm}:{each}" for each in subjects[:3] if each) or "nothing"
        raise TrustError(f"it signs another image, {found:.250}")
