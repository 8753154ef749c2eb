"""Keyless signatures: a short-lived certificate says who signed, sigstore's logs when.  Done by sigstore-python.

All offline: what there is to know stands in the bundle and in the trusted root.  The package is an extra,
`lkbuild[keyless]`, loaded when a keyless bundle is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lkbuild.digest import Digest
from lkbuild.errors import TrustError
from lkbuild.trust.policy import Identity

if TYPE_CHECKING:
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import VerificationPolicy

T = TypeVar("T")
MAX_ROOT = 1 << 20
"""The most bytes a trusted root may have."""


def public_root() -> bytes:
    """The trusted root of sigstore's public instance, as the installed sigstore-python carries it."""
    from importlib.resources import files

    _needed()
    place = files("sigstore") / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev" / "trusted_root.json"
    try:
        return place.read_bytes()
    except OSError as error:
        raise TrustError(
            "the installed sigstore-python carries no trusted root", "name one with trust.root: FILE"
        ) from error


def verify_envelope(raw: bytes, identities: Iterable[Identity], root: Path | None) -> tuple[str, bytes, Identity]:
    """Payload type, payload and signer of a bundle with an envelope; TrustError says why nobody of `identities` is."""

    def check(verifier: Verifier, bundle: Bundle, policy: VerificationPolicy) -> tuple[str, bytes]:
        return verifier.verify_dsse(bundle, policy)

    (payload_type, payload), identity = _by_any(raw, identities, root, check)
    return payload_type, payload, identity


def verify_file(raw: bytes, digest: Digest, identities: Iterable[Identity], root: Path | None) -> Identity:
    """The signer of a file whose SHA-256 is `digest`; errors as for `verify_envelope`."""

    def check(verifier: Verifier, bundle: Bundle, policy: VerificationPolicy) -> None:
        from sigstore.hashes import Hashed
        from sigstore_models.common.v1 import HashAlgorithm

        verifier.verify_artifact(
            Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest.hex)), bundle, policy
        )

    return _by_any(raw, identities, root, check)[1]


def _by_any(
    raw: bytes,
    identities: Iterable[Identity],
    root: Path | None,
    check: Callable[[Verifier, Bundle, VerificationPolicy], T],
) -> tuple[T, Identity]:
    """What `check` returns for the first identity it holds for.

    NB: sigstore-python's parsers raise many kinds of exceptions for what is malformed; all of them mean "no".
    """
    identities = tuple(identities)
    if not identities:
        raise TrustError("it is keyless, and trust.identities names nobody")
    if root is None:
        raise TrustError("it is keyless, and no trusted root is given")
    _needed()
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity as Wanted

    reasons = []
    try:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root)))
        bundle = Bundle.from_json(raw)
    except Exception as error:
        raise TrustError(f"it cannot be read as a keyless bundle: {_words(error)}") from error
    for identity in identities:
        try:
            return check(verifier, bundle, Wanted(identity=identity.identity, issuer=identity.issuer)), identity
        except Exception as error:
            reasons.append(f"not by {identity}: {_words(error)}")
    raise TrustError("; ".join(reasons))


def _needed() -> None:
    try:
        import sigstore  # noqa: F401
    except ImportError as error:
        raise TrustError(
            "keyless signatures are verified by the package sigstore, which is not installed",
            "pip install 'lkbuild[keyless]'",
        ) from error


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text:.300}" if text else type(error).__name__
