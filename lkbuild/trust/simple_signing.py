"""cosign's classic form: a small JSON payload, signed, in the manifest `sha256-….sig` (cosign's SIGNATURE_SPEC.md)."""

from __future__ import annotations

import json

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.oci.document import Fields, parse_object
from lkbuild.reference import Reference
from lkbuild.trust.policy import Subject

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
"""The annotation of a layer that holds the signature of its bytes, in base64."""
CERTIFICATE = "dev.sigstore.cosign/certificate"
"""The annotation that a keyless signature has besides."""

TYPE = "cosign container image signature"
MAX_PAYLOAD = 64 << 10


def payload(repository: str, digest: Digest) -> bytes:
    """What is signed to say that `digest` is an image of `repository`, byte for byte as cosign writes it."""
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": str(digest)},
        "type": TYPE,
    }
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def check_payload(raw: bytes, subject: Subject) -> None:
    """TrustError unless the payload is about `subject`.  NB: to be called only when its signature holds."""
    critical = Fields(parse_object(raw, MAX_PAYLOAD, "signed payload"), "signed payload").object("critical")
    kind, image = critical.text("type"), critical.object("image").text("docker-manifest-digest")
    if kind != TYPE:
        raise TrustError(f"the payload is of type {kind!r:.80}, wanted {TYPE!r}")
    if image != str(subject.digest):
        raise TrustError(f"it signs another image, {image!r:.100}")
    _check_name(critical.object("identity").text("docker-reference") or "", subject)


def _check_name(said: str, subject: Subject) -> None:
    """The repository must be one of the subject's, and a tag, which only some signers write, the one asked for."""
    try:
        signed = Reference.parse(said)
    except ValueError:
        raise TrustError(f"it names no repository: {said!r:.120}") from None
    tagged = ":" in said.partition("@")[0].rpartition("/")[2]
    if signed.name not in subject.names:
        raise TrustError(f"it is for the repository {signed.name}, wanted {' or '.join(subject.names)}")
    if tagged and subject.tag and signed.tag != subject.tag:
        raise TrustError(f"it is for the tag {signed.tag}, wanted {subject.tag}")
