"""Registries whose client is loaded when they are first asked: most builds have all in the cache and ask nothing.

Loading it (urllib3, TLS) takes longer than such a build may last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.digest import Digest
from lkbuild.oci.image import Descriptor, Platform
from lkbuild.oci.referrers import Referrer
from lkbuild.reference import Reference
from lkbuild.sources.options import RegistryOptions
from lkbuild.sources.source import Document, Progress, Source, quiet

if TYPE_CHECKING:
    from lkbuild.sources.registry import Registry


class Registries(Source):
    """Every registry, as far as nothing need be asked."""

    def describe(self) -> str:
        """See Source."""
        return "registry"

    def where(self, reference: Reference) -> str:
        """See Source."""
        return f"registry {reference.registry}"

    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        """See Source.  A constant: tags are looked up again when somebody asks for it, never by themselves."""
        return "registry"


class LateRegistry(Registries):
    """What a `Registry` of these options is, without loading it before something is asked."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._registry: Registry | None = None
        self._guard = threading.Lock()

    @property
    def registry(self) -> Registry:
        """The one that is asked: always the same, so that its connections and logins serve every thread."""
        with self._guard:
            if self._registry is None:
                from lkbuild.sources.registry import Registry

                self._registry = Registry(self._options)
            return self._registry

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """See Source."""
        return self.registry.find(reference, platform)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """See Source."""
        return self.registry.read(reference, descriptor, limit)

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """See Source."""
        self.registry.fetch(reference, descriptor, into, progress)

    def names(self, reference: Reference) -> tuple[str, ...]:
        """See Source."""
        return self.registry.names(reference)

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str) -> tuple[Referrer, ...] | None:
        """See Source."""
        return self.registry.referrers(reference, digest, artifact_type)
