"""Provenance signed: beside NAME.provenance.json a sigstore bundle with the same statement and a signature of it.

A signature is no step's work: of most kinds of keys each is another, and a key has no place in a cache.
"""

from __future__ import annotations

from pathlib import Path

from lkbuild.engine.session import Session
from lkbuild.engine.tasks import Writing
from lkbuild.engine.trusting import read_small
from lkbuild.errors import LkbuildError
from lkbuild.plan.beside import PROVENANCE
from lkbuild.plan.graph import Output
from lkbuild.store.files import doing, replace_file
from lkbuild.trust.bundle import MAX_BUNDLE, Bundle, Envelope, statement_bundle
from lkbuild.trust.private import PrivateKey
from lkbuild.trust.statement import PAYLOAD_TYPE

SIGNED = ".provenance.sigstore.json"


def signing(writing: Writing, key: PrivateKey) -> Writing:
    """As `writing`, and provenance signed with `key`."""

    def write(output: Output, session: Session) -> int:
        count = writing.write(output, session)
        for statement, bundle in _pairs(output):
            if not _holds(statement, bundle, key):
                count += _sign(statement, bundle, key)
        return count

    def is_current(output: Output, session: Session) -> bool:
        signed = (_holds(statement, bundle, key) for statement, bundle in _pairs(output))
        return writing.is_current(output, session) and all(signed)

    return Writing(write, is_current, lambda output: tuple(str(bundle) for _, bundle in _pairs(output)))


def _pairs(output: Output) -> list[tuple[Path, Path]]:
    """The statements an output has, and where their signatures lie."""
    paths = [file.path for file in output.files if output.beside and file.path.endswith(PROVENANCE)]
    return [(Path(path), Path(path.removesuffix(PROVENANCE) + SIGNED)) for path in paths]


def _holds(statement: Path, bundle: Path, key: PrivateKey) -> bool:
    """Whether the bundle has this very statement, signed by this key."""
    try:
        found = Bundle.parse(read_small(bundle, MAX_BUNDLE)).content
        said = statement.read_bytes()
    except (LkbuildError, OSError):
        return False
    if not isinstance(found, Envelope) or found.payload != said or found.payload_type != PAYLOAD_TYPE:
        return False
    return key.public.signed(found.signed, found.signature)


def _sign(statement: Path, bundle: Path, key: PrivateKey) -> int:
    with doing(f"writing {bundle}", "say where outputs go with dir=DIR"):
        replace_file(bundle, statement_bundle(statement.read_bytes(), key))
    return 1
