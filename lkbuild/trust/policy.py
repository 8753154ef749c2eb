"""Who must have signed what: the trust section as a value, and which images it selects."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.digest import Digest
from lkbuild.frozen import frozen, ordered
from lkbuild.reference import Reference
from lkbuild.trust.keys import PublicKey

Called = tuple[tuple[str, str], ...]
"""What keys are called, by their fingerprints."""


@ordered
class Identity:
    """A keyless signer: exactly this issuer and exactly this name (an address, or the URL of a workflow)."""

    issuer: str
    identity: str

    def __str__(self) -> str:
        return f"{self.identity} ({self.issuer})"


@frozen
class Policy:
    """Whose signature counts: any one of the keys, or any one of the identities.  Sorted, so that order is nothing."""

    keys: tuple[PublicKey, ...] = ()
    identities: tuple[Identity, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[PublicKey], identities: Iterable[Identity] = ()) -> Policy:
        """The policy of these keys and identities, each once."""
        return cls(tuple(sorted(set(keys), key=lambda key: key.spki)), tuple(sorted(set(identities))))

    def words(self, called: Called = ()) -> str:
        """Who that is, for people; `called` says what the keys' files are."""
        names = dict(called)
        prints = [str(key.fingerprint) for key in self.keys]
        keys = [f"key {names[each]} ({each})" if each in names else f"key {each}" for each in prints]
        return ", ".join([*keys, *map(str, self.identities)]) or "nobody"


@frozen
class Subject:
    """What a signature must be about: the digest, of the index where there is one, under one of these names.

    `names` are the repository and what a configured mirror calls it; `tag` is the one asked for, None where the image
    is named by digest alone.
    """

    digest: Digest
    names: tuple[str, ...]
    tag: str | None = None


def selecting(images: Iterable[str], orgs: Iterable[str], reference: Reference) -> bool:
    """Whether `trust.image` or `trust.org` ask for `reference` to be verified (moby's `enforceContentTrust`)."""
    return any(selects_image(text, reference) for text in images) or any(selects_org(org, reference) for org in orgs)


def selects_image(text: str, reference: Reference) -> bool:
    """Whether an entry of `trust.image` means `reference`: by its name, and by tag and digest where the entry has them.

    NB: names are compared in full, `nginx` being docker.io/library/nginx; ValueError where `text` is no reference.
    """
    entry = Reference.parse(text)
    tagged = ":" in text.partition("@")[0].rpartition("/")[2]
    return (
        entry.name == reference.name
        and (not tagged or entry.tag == reference.tag)
        and entry.digest in (None, reference.digest)
    )


def selects_org(org: str, reference: Reference) -> bool:
    """Whether an entry of `trust.org` means `reference`: the first part of its repository, on whatever registry.

    As in the first moby, `ghcr.io/linuxkit`, or any other beginning of the full name up to a slash, does too.
    """
    first, slash, _ = reference.repository.partition("/")
    return (bool(slash) and first == org) or f"{reference.name}/".startswith(f"{org.rstrip('/')}/")
