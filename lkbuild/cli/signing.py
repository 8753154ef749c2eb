"""What the verbs that sign and verify have in common: keys, passphrases, what is a file and what an image."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lkbuild.cli.flags import Flag, Given
from lkbuild.engine.signing import Trusted
from lkbuild.engine.trusting import called, read_key, read_small
from lkbuild.errors import TrustError, UsageError
from lkbuild.reference import Reference
from lkbuild.trust.keyless import MAX_ROOT, public_root
from lkbuild.trust.keys import MAX_PEM
from lkbuild.trust.policy import Identity, Policy
from lkbuild.trust.private import PrivateKey

PASSWORD = "LKBUILD_KEY_PASSWORD"  # noqa: S105 - the name of a variable

VERIFY_FLAGS = (
    Flag(("key",), "key", "a public key (PEM) that may have signed; can be repeated", "FILE"),
    Flag(("identity",), "identity", "a keyless signer, compared exactly; needs --issuer", "NAME"),
    Flag(("issuer",), "issuer", "who vouches for the identity", "URL"),
    Flag(("root",), "root", "the trusted root of another sigstore than the public one", "FILE"),
)
TELL_FLAGS = (
    Flag(("json",), "json", "lines of JSON", bare="yes"),
    Flag(("quiet", "q"), "quiet", "say only what is wrong", bare="yes"),
)


def all_of(given: Given, name: str) -> tuple[str, ...]:
    """Every value a word was given."""
    return tuple(value for word, value in given.words if word == name)


def reference(text: str) -> Reference:
    """An image named on the command line."""
    try:
        return Reference.parse(text)
    except ValueError as error:
        raise UsageError(
            str(error), "name an image, for example ghcr.io/acme/app:1, or a file that is there"
        ) from error


@contextmanager
def trusted(given: Given) -> Iterator[Trusted]:
    """Whose signature counts, by the flags; UsageError where they name nobody."""
    names, issuers, roots = (all_of(given, word) for word in ("identity", "issuer", "root"))
    if len(names) != len(issuers):
        raise UsageError("--identity and --issuer go together", "say both, once for each signer")
    keys = [(read_key(Path(name)), name) for name in all_of(given, "key")]
    policy = Policy.of((key for key, _ in keys), map(Identity, issuers, names))
    if not policy.keys and not policy.identities:
        raise UsageError("nothing says by whom it must be signed", "say --key FILE, or --identity NAME --issuer URL")
    if not policy.identities:
        yield Trusted(policy, None, called(keys))
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(read_small(Path(roots[-1]), MAX_ROOT) if roots else public_root())
        file.flush()
        yield Trusted(policy, Path(file.name), called(keys))


def private_key(given: Given) -> PrivateKey:
    """The key to sign with."""
    files = all_of(given, "key")
    if len(files) != 1:
        raise UsageError(f"{len(files) or 'no'} private keys are named, and one signs", "say --key FILE")
    return read_private_key(Path(files[0]))


def read_private_key(path: Path) -> PrivateKey:
    """A private key; its passphrase comes from LKBUILD_KEY_PASSWORD, or is asked for on the terminal."""

    def ask() -> bytes:
        known = os.environ.get(PASSWORD)
        if known is not None:
            return known.encode()
        if not os.isatty(0):
            raise TrustError(f"{path}: is encrypted, and nobody can be asked for the passphrase", f"set {PASSWORD}")
        return getpass.getpass(f"passphrase of {path}: ").encode()

    return PrivateKey.parse(read_small(path, MAX_PEM), str(path), ask)
