"""Where signatures of an image lie: the referrers API, the referrers tag, the `.sig` tag.  Whether they count is not
decided here.

Nothing that is found is believed: sizes are bounded, and there may be any number of signatures by anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Descriptor
from lkbuild.oci.referrers import Artifact, Referrer, parse_referrers, referrers_tag
from lkbuild.reference import Reference
from lkbuild.sources.source import AbsentError, Source
from lkbuild.trust import bundle, simple_signing
from lkbuild.trust.judge import Candidate
from lkbuild.trust.statement import SIGN

MAX_MANIFEST = 512 << 10
"""The most bytes a manifest of signatures may have."""
MAX_SIGNATURES = 64
"""How many signatures are looked at in one place."""
PREDICATE = "dev.sigstore.bundle.predicateType"
"""The annotation that tells what a bundle says.  It is not signed: it only spares fetching what cannot help."""


@frozen
class Looked:
    """A place that was looked at, and what was there instead of a signature."""

    place: str
    found: str


def signatures(source: Source, reference: Reference, digest: Digest) -> Iterator[Candidate | Looked]:
    """The signatures of the image `digest`, fetched one after the other as they are asked for."""
    where = source.where(reference)
    api = f"referrers in {where}"
    try:
        listed = source.referrers(reference, digest, bundle.MEDIA_TYPE)
        if listed is None:
            yield Looked(api, "it keeps no list (no referrers API)")
        else:
            yield from _bundles(source, reference, (api, digest), listed)
    except ImageError as error:
        yield Looked(api, error.message)
    tag = referrers_tag(digest)
    try:
        listed = parse_referrers(source.tagged(reference, tag).raw)
        yield from _bundles(source, reference, (f"tag {tag} in {where}", digest), listed)
    except AbsentError:
        yield Looked(f"tag {tag} in {where}", "there is no such tag")
    except ImageError as error:
        yield Looked(f"tag {tag} in {where}", error.message)
    yield from _classic(source, reference, f"{tag}.sig")


def signature_tag(digest: Digest) -> str:
    """The tag where classic signatures of `digest` lie."""
    return f"{referrers_tag(digest)}.sig"


def _bundles(
    source: Source, reference: Reference, place: tuple[str, Digest], listed: Iterable[Referrer]
) -> Iterator[Candidate | Looked]:
    """The bundles a list of referrers names; `place` is what to call it, and the digest they must refer to."""
    name, digest = place
    wanted = [referrer for referrer in listed if referrer.artifact_type == bundle.MEDIA_TYPE]
    if not wanted:
        yield Looked(name, "no bundle is listed")
    for number, referrer in enumerate(wanted[:MAX_SIGNATURES], 1):
        here = f"{name}, bundle {number}"
        kind = referrer.descriptor.annotation(PREDICATE)
        if kind not in (None, SIGN):
            yield Looked(here, f"it is an attestation of type {kind:.120} and no signature")
            continue
        try:
            artifact = _artifact(source, reference, referrer.descriptor)
            if artifact.subject != digest:
                raise ImageError(f"its manifest refers to {artifact.subject}")
            layers = [layer for layer in artifact.layers if layer.media_type == bundle.MEDIA_TYPE]
            if len(layers) != 1:
                raise ImageError(f"its manifest holds {len(layers)} bundles, wanted one")
            yield Candidate("bundle", here, source.read(reference, layers[0], bundle.MAX_BUNDLE))
        except ImageError as error:
            yield Looked(here, error.message)


def _classic(source: Source, reference: Reference, tag: str) -> Iterator[Candidate | Looked]:
    """The signatures in the manifest that `tag` names."""
    name = f"tag {tag} in {source.where(reference)}"
    try:
        found = source.tagged(reference, tag)
        layers = Artifact.parse(found.raw, MAX_MANIFEST).layers
    except AbsentError:
        yield Looked(name, "there is no such tag")
        return
    except ImageError as error:
        yield Looked(name, error.message)
        return
    if not layers:
        yield Looked(name, "its manifest holds no signature")
    for number, layer in enumerate(layers[:MAX_SIGNATURES], 1):
        here = f"{name}, signature {number}"
        try:
            yield _classic_candidate(source, reference, layer, here)
        except ImageError as error:
            yield Looked(here, error.message)


def _classic_candidate(source: Source, reference: Reference, layer: Descriptor, here: str) -> Candidate:
    if layer.media_type != simple_signing.MEDIA_TYPE:
        raise ImageError(f"it is of type {layer.media_type:.80}, wanted {simple_signing.MEDIA_TYPE}")
    signature = layer.annotation(simple_signing.SIGNATURE)
    if signature is None:
        raise ImageError(f"it has no annotation {simple_signing.SIGNATURE}")
    data = source.read(reference, layer, simple_signing.MAX_PAYLOAD)
    keyless = layer.annotation(simple_signing.CERTIFICATE) is not None
    return Candidate("classic", here, data, signature, keyless)


def _artifact(source: Source, reference: Reference, descriptor: Descriptor) -> Artifact:
    return Artifact.parse(source.read(reference, descriptor, MAX_MANIFEST), MAX_MANIFEST)
