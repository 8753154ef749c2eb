"""Whether a signature that was found is by somebody who counts, and about what was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.frozen import frozen
from lkbuild.trust.bundle import Bundle, Envelope, MessageSignature, unbase64
from lkbuild.trust.keyless import verify_envelope, verify_file
from lkbuild.trust.keys import Message, PublicKey
from lkbuild.trust.policy import Policy, Subject
from lkbuild.trust.simple_signing import check_payload
from lkbuild.trust.statement import check_statement

Form = Literal["classic", "bundle"]


@frozen
class Candidate:
    """A signature as it was found, at `place`.

    `data` is the payload of a classic one, whose signature in base64 is `signature`, or a whole bundle.  `keyless`: a
    classic one with a certificate.
    """

    form: Form
    place: str
    data: bytes
    signature: str = ""
    keyless: bool = False


def judge_image(policy: Policy, subject: Subject, candidate: Candidate, root: Path | None) -> str:
    """Who signed `subject`, in words; TrustError or ImageError says why `candidate` does not count.

    `root` is a file with sigstore's trusted root, for identities.  A payload is looked into only when its signature
    holds.
    """
    if candidate.form == "classic":
        if candidate.keyless and not policy.keys:
            raise TrustError("it is keyless in the form from before bundles, which is not read; sign with cosign 3")
        signature = unbase64(candidate.signature, "its signature", 4096)
        key = _signer(policy.keys, candidate.data, signature)
        check_payload(candidate.data, subject)
        return f"key {key.fingerprint}"
    bundle = Bundle.parse(candidate.data)
    if not isinstance(bundle.content, Envelope):
        raise TrustError("its bundle signs a file, and an image's has a statement")
    if bundle.keyless:
        payload_type, payload, identity = verify_envelope(candidate.data, policy.identities, root)
        check_statement(payload, payload_type, subject.digest)
        return f"identity {identity}"
    key = _signer(policy.keys, bundle.content.signed, bundle.content.signature)
    check_statement(bundle.content.payload, bundle.content.payload_type, subject.digest)
    return f"key {key.fingerprint}"


def judge_file(policy: Policy, file: tuple[Digest, Message], candidate: Candidate, root: Path | None) -> str:
    """Who signed a file, its SHA-256 and its bytes, in words; errors as for `judge_image`."""
    digest, message = file
    if candidate.form == "classic":
        signature = unbase64(candidate.signature.strip(), "the signature", 4096)
        return f"key {_signer(policy.keys, message, signature).fingerprint}"
    bundle = Bundle.parse(candidate.data)
    if not isinstance(bundle.content, MessageSignature):
        raise TrustError("the bundle holds a statement, and a file's has a signature")
    if bundle.content.digest not in (None, digest):
        raise TrustError(f"the bundle is for a file of {bundle.content.digest}, and this one is {digest}")
    if bundle.keyless:
        return f"identity {verify_file(candidate.data, digest, policy.identities, root)}"
    return f"key {_signer(policy.keys, message, bundle.content.signature).fingerprint}"


def _signer(keys: Iterable[PublicKey], message: Message, signature: bytes) -> PublicKey:
    """The key that made the signature; TrustError where none of them did."""
    keys = tuple(keys)
    for key in keys:
        if key.signed(message, signature):
            return key
    if not keys:
        raise TrustError("it was made with a key, and no key is trusted")
    raise TrustError("it was not made with " + ("the key" if len(keys) == 1 else f"any of the {len(keys)} keys"))
