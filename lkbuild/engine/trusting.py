"""What a spec's trust section comes to: keys read, the trusted root taken in, a verification before each image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.events import Said
from lkbuild.engine.finding import Finder
from lkbuild.engine.options import Trusting
from lkbuild.engine.stamp import Watch
from lkbuild.errors import LkbuildError, Origin, Problem, SpecError, TrustError
from lkbuild.frozen import frozen
from lkbuild.plan.images import verified
from lkbuild.plan.kinds import Verify
from lkbuild.plan.step import Input, Step
from lkbuild.reference import Reference
from lkbuild.spec.model import Spec
from lkbuild.store import Store
from lkbuild.trust.keyless import MAX_ROOT, public_root
from lkbuild.trust.keys import MAX_PEM, PublicKey
from lkbuild.trust.policy import Called, Identity, Policy, Subject, selecting, selects_image, selects_org

IGNORED = "trust=ignore"
"""The name of the fingerprint of a build that ignored its trust section.  None such ever holds, so it is said again."""

_WRITE = (
    "say by whom, with `trust: {keys: [cosign.pub]}` (PEM files beside the spec) or `trust: {identities: [{issuer: …, "
    "identity: …}]}`; Docker Content Trust, which needed neither, is shut down (notary.docker.io on 2026-12-08); "
    "trust=ignore builds without verifying"
)


@frozen
class Demand:
    """What one spec wants verified, and by whom it must be signed.  `root`: sigstore's trusted root, for identities."""

    images: tuple[str, ...]
    orgs: tuple[str, ...]
    policy: Policy
    root: Input | None = None
    called: Called = ()

    def covers(self, reference: Reference) -> bool:
        """Whether the image must be verified."""
        return selecting(self.images, self.orgs, reference)

    def gate(self, reference: Reference, digest: Digest, finder: Finder, origin: Origin) -> Step:
        """The step that verifies the image `reference`, whose digest (the index's where there is one) is `digest`."""
        names = finder.sources.registry.names(reference)
        params = Verify(Subject(digest, names, reference.tag), self.policy, reference, self.called)
        return verified(params, self.root, origin)


def demand_of(spec: Spec, named: Iterable[Reference], finder: Finder, watch: Watch, how: Trusting) -> Demand | None:
    """What `spec` wants verified of the images `named`; None where that is nothing, or is ignored, which is said.

    SpecError where nothing says by whom, or a key cannot be read.
    """
    trust = spec.trust
    if not trust.image and not trust.org:
        return None
    if how == "ignore":
        wanted = ", ".join((*trust.image, *(f"all of {org}" for org in trust.org)))
        finder.listen(
            Said(f"{spec.origin('trust')}: trust=ignore: signatures are NOT verified, though asked for: {wanted}")
        )
        watch.add_text(IGNORED, "signatures were not verified")
        return None
    if not trust.keys and not trust.identities:
        key = "image" if trust.image else "org"
        message = f"trust.{key} asks for signatures to be verified, and nothing says by whom they must be"
        raise SpecError([Problem(spec.origin("trust", key), message, _WRITE)])
    named = tuple(named)
    for key, texts, selects in (("image", trust.image, selects_image), ("org", trust.org, selects_org)):
        for number, text in enumerate(texts):
            if not any(selects(text, reference) for reference in named):
                place = spec.origin("trust", key, number)
                finder.listen(Said(f"{place}: trust.{key}: no image of this spec is meant by {text!r}"))
    keys = _keys(spec, watch)
    policy = Policy.of((key for key, _ in keys), (Identity(each.issuer, each.identity) for each in trust.identities))
    return Demand(trust.image, trust.org, policy, _root(spec, finder, watch), called(keys))


def called(keys: Iterable[tuple[PublicKey, str]]) -> Called:
    """What keys are called, by their fingerprints."""
    return tuple((str(key.fingerprint), name) for key, name in keys)


def _keys(spec: Spec, watch: Watch) -> list[tuple[PublicKey, str]]:
    """The keys and the names of their files."""
    keys, problems = [], []
    for number, name in enumerate(spec.trust.keys):
        watch.add_file(Path(name))
        try:
            keys.append((read_key(Path(name)), name))
        except TrustError as error:
            problems.append(Problem(spec.origin("trust", "keys", number), error.message, error.hint))
    if problems:
        raise SpecError(problems)
    return keys


def read_key(path: Path) -> PublicKey:
    """The public key in a PEM file; TrustError where there is none."""
    return PublicKey.parse(read_small(path, MAX_PEM), str(path))


def read_small(path: Path, limit: int) -> bytes:
    """A file's bytes, `limit` and one more at the most; TrustError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise TrustError(
            f"{path}: cannot be read: {error.strerror}", "is the path right? one in a spec is relative to it"
        ) from error


def _root(spec: Spec, finder: Finder, watch: Watch) -> Input | None:
    """The trusted root as an input of verifications: the spec's own, else the public one."""
    if not spec.trust.identities:
        return None
    if spec.trust.root is not None:
        watch.add_file(Path(spec.trust.root))
    place = spec.origin("trust", "root" if spec.trust.root is not None else "identities")
    try:
        return trusted_root(Path(spec.trust.root) if spec.trust.root is not None else None, finder.store)
    except LkbuildError as error:
        raise SpecError([Problem(place, error.message, error.hint)]) from error


def trusted_root(path: Path | None, store: Store) -> Input:
    """The trusted root in the file `path`, or the public one, in the store."""
    raw = read_small(path, MAX_ROOT) if path else public_root()
    if len(raw) > MAX_ROOT:
        raise TrustError(f"{path}: is larger than {MAX_ROOT >> 20} MiB, which no trusted root is")
    blob = store.add(raw)
    return Input("root", blob=blob.digest, size=blob.size)
