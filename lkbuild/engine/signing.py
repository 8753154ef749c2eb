"""Signing images and files with a key, and verifying them outside a build."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lkbuild.digest import Digest
from lkbuild.engine.trusting import read_small
from lkbuild.errors import ImageError, LkbuildError, TrustError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Descriptor
from lkbuild.plan.kinds import Verify
from lkbuild.reference import Reference
from lkbuild.sources import Registry, Source
from lkbuild.sources.attach import attach_bundle, attach_classic
from lkbuild.sources.signatures import signatures
from lkbuild.sources.upload import Upload
from lkbuild.steps.verify import first_that_counts
from lkbuild.store.files import replace_file
from lkbuild.trust.bundle import MAX_BUNDLE, file_bundle, image_bundle
from lkbuild.trust.judge import Candidate, Form, judge_file, judge_image
from lkbuild.trust.policy import Called, Policy, Subject
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.simple_signing import payload

Forms = Literal["classic", "bundle", "both"]
SIGNATURE, BUNDLE = ".sig", ".sigstore.json"
"""How the files that hold a file's signature end."""
_MAX_SIGNATURE = 8 << 10


@frozen
class Trusted:
    """Whose signature counts, the file with sigstore's trusted root, for identities, and what the keys are called."""

    policy: Policy
    root: Path | None = None
    called: Called = ()


def forms(wanted: Forms) -> tuple[Form, ...]:
    """The forms a word stands for."""
    return ("classic", "bundle") if wanted == "both" else (wanted,)


def sign_image(registry: Registry, reference: Reference, key: PrivateKey, wanted: Forms) -> Iterator[str]:
    """Sign what `reference` means in its registry now, and put the signatures there; yields what was done, in words.

    A form in which this key has signed already is left as it is.  `registry` must know no mirrors.
    """
    found = registry.find(reference, None)
    subject = Subject(found.digest, registry.names(reference), reference.tag)
    policy, upload = Policy.of([key.public]), Upload(registry.asking)
    for form in forms(wanted):
        if any(_counts(policy, subject, each) for each in _of_form(registry, reference, found.digest, form)):
            yield f"{reference} ({found.digest}) has a {form} signature by this key already"
            continue
        if form == "classic":
            signed = payload(reference.name, found.digest)
            signature = base64.b64encode(key.sign(signed, classic=True)).decode()
            where = attach_classic(registry, upload, reference, (found.digest, signed, signature))
        else:
            descriptor = Descriptor(found.media_type, found.digest, len(found.raw))
            where = attach_bundle(registry, upload, reference, (descriptor, image_bundle(found.digest, key)))
        if not any(_counts(policy, subject, each) for each in _of_form(registry, reference, found.digest, form)):
            raise ImageError(f"{reference}: the {form} signature was pushed, and is not found again ({where})")
        yield f"signed {reference} ({found.digest}), {form}: {where}"


def verify_image(source: Source, reference: Reference, trusted: Trusted) -> str:
    """Who signed what `reference` means at `source`, in words; TrustError where nobody did who counts."""
    digest = reference.digest or source.find(reference, None).digest
    subject = Subject(digest, source.names(reference), reference.tag)
    params = Verify(subject, trusted.policy, reference, trusted.called)
    found, by = first_that_counts(params, signatures(source, reference, digest), trusted.root)
    return f"{reference} ({digest}) is signed by {by}: {found.place}"


def _of_form(source: Source, reference: Reference, digest: Digest, form: Form) -> Iterator[Candidate]:
    for found in signatures(source, reference, digest):
        if isinstance(found, Candidate) and found.form == form:
            yield found


def _counts(policy: Policy, subject: Subject, candidate: Candidate) -> bool:
    with contextlib.suppress(LkbuildError):
        return bool(judge_image(policy, subject, candidate, None))
    return False


# -- files -------------------------------------------------------------------------------------------------------------


def sign_file(path: Path, key: PrivateKey, wanted: Forms) -> list[Path]:
    """Write detached signatures of a file beside it; returns their paths.

    `FILE.sig` is what `cosign sign-blob` writes, base64 of a signature over the file; `FILE.sigstore.json` is a bundle.
    """
    digest, written = _digest(path), []
    for form in forms(wanted):
        signature = key.sign(path, classic=form == "classic")
        beside = Path(f"{path}{SIGNATURE if form == 'classic' else BUNDLE}")
        text = base64.b64encode(signature) if form == "classic" else file_bundle(digest, signature, key.public)
        replace_file(beside, text + b"\n")
        written.append(beside)
    return written


def verify_file(path: Path, beside: tuple[Path, ...], trusted: Trusted) -> list[str]:
    """Who signed a file, in words, by each of the signature files, or those beside it where none is named.

    TrustError where there is none, or one of them does not hold.
    """
    files = beside or tuple(p for end in (SIGNATURE, BUNDLE) if (p := Path(f"{path}{end}")).exists())
    if not files:
        raise TrustError(
            f"{path} has no signature: there is neither {path.name}{SIGNATURE} nor {path.name}{BUNDLE} beside it",
            f"`lkbuild sign {path} --key KEY` writes both",
        )
    digest, said = _digest(path), []
    for file in files:
        raw = read_small(file, MAX_BUNDLE)
        try:
            by = judge_file(trusted.policy, (digest, path), _candidate(file, raw), trusted.root)
        except LkbuildError as error:
            wanted = trusted.policy.words(trusted.called)
            message = f"{path} is not signed as {file} says: {error.message}; wanted {wanted}"
            raise TrustError(message, error.hint) from error
        said.append(f"{path} ({digest}) is signed by {by}: {file}")
    return said


def _candidate(file: Path, raw: bytes) -> Candidate:
    if raw.lstrip().startswith(b"{"):
        return Candidate("bundle", str(file), raw)
    return Candidate("classic", str(file), b"", raw[:_MAX_SIGNATURE].decode("ascii", "replace"))


def _digest(path: Path) -> Digest:
    try:
        return Digest.of_file(path)
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
