"""Images from a registry (OCI distribution-spec 1.1, Docker Registry HTTP API V2): pulling, nothing else."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import ACCEPT, INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST, OCI_INDEX, Descriptor, Platform
from lkbuild.oci.referrers import Referrer, parse_referrers
from lkbuild.reference import Reference
from lkbuild.sources.asking import Asking, Endpoint, Request
from lkbuild.sources.auth import BusyError
from lkbuild.sources.download import Download, too_large
from lkbuild.sources.late import Registries
from lkbuild.sources.options import RegistryOptions
from lkbuild.sources.source import AbsentError, Document, Progress, quiet
from lkbuild.sources.transport import Response
from lkbuild.sources.verify import WrongBytesError, checked, digest_like

_MAX_PAGES = 8
"""How many pages of a list of referrers are read."""
_NEXT = re.compile(r'<([^<>\s]+)>\s*;\s*rel="?next"?')


class Registry(Registries):
    """Every registry, by the names in the references.  `pause` waits seconds, `now` tells the time."""

    def __init__(
        self,
        options: RegistryOptions,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.asking = Asking(options, pause, now)

    def close(self) -> None:
        """Close the connections."""
        self.asking.close()

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """See Source."""

        def ask(endpoint: Endpoint) -> Document:
            return self._manifest(reference, endpoint)

        return self.asking.anywhere(reference, f"asking for {reference}", ask)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """See Source."""
        if descriptor.size > limit:
            raise too_large(reference, descriptor.size, limit)
        kind = "manifests" if descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES else "blobs"

        def ask(endpoint: Endpoint) -> bytes:
            headers = {"Accept": descriptor.media_type} if kind == "manifests" else {}
            request = Request("GET", endpoint.url(reference, f"{kind}/{descriptor.digest}"), headers)
            with self.asking.answer(endpoint, reference, request) as response:
                return checked(_document(response, descriptor.size + 1), descriptor)

        return self.asking.anywhere(reference, f"fetching {descriptor.digest} of {reference}", ask)

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """See Source.  Goes on where `into` ends, over connections, mirrors and runs."""
        download = Download.open(descriptor, into, progress)

        def ask(endpoint: Endpoint) -> None:
            if not download.complete:
                request = Request("GET", endpoint.url(reference, f"blobs/{descriptor.digest}"), download.headers)
                with self.asking.answer(endpoint, reference, request) as response:
                    if response.status == 416:
                        download.restart()
                        raise BusyError("it does not have the range that was asked for")
                    download.receive(response)
            download.finish()

        try:
            self.asking.anywhere(reference, f"fetching {descriptor.digest} of {reference}", ask, lambda: download.done)
        finally:
            download.close()

    def names(self, reference: Reference) -> tuple[str, ...]:
        """See Source.  A mirror's name is where it keeps the repository, without its scheme."""
        return tuple(
            dict.fromkeys(
                reference.name if not endpoint.mirror else f"{endpoint.host}/{endpoint.prefix}{reference.repository}"
                for endpoint in self.asking.endpoints(reference.registry)
            )
        )

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str) -> tuple[Referrer, ...] | None:
        """See Source: distribution-spec 1.1, "Listing Referrers".  Of very long lists, the first pages are read."""

        def ask(endpoint: Endpoint) -> tuple[Referrer, ...]:
            found: list[Referrer] = []
            url = endpoint.url(reference, f"referrers/{digest}?artifactType={quote(artifact_type, safe='')}")
            for _ in range(_MAX_PAGES):
                with self.asking.answer(endpoint, reference, Request("GET", url, {"Accept": OCI_INDEX})) as response:
                    raw = _document(response, MAX_MANIFEST + 1)
                    following = _NEXT.search(response.headers.get("Link") or "")
                found += parse_referrers(raw)
                if following is None:
                    break
                url = urljoin(url, following[1])
                if urlsplit(url)[:2] != (endpoint.scheme, endpoint.host):
                    raise ImageError(f"its list of referrers goes on at another host, {urlsplit(url).netloc:.100}")
            return tuple(found)

        try:
            return self.asking.anywhere(reference, f"asking what refers to {digest}", ask)
        except AbsentError:
            return None

    # -- one request ---------------------------------------------------------------------------------------------------

    def _manifest(self, reference: Reference, endpoint: Endpoint) -> Document:
        """What the registry says `reference` is.  With a tag, all there is to check it by is what the registry says."""
        headers = {"Accept": ", ".join(ACCEPT)}
        request = Request("GET", endpoint.url(reference, f"manifests/{reference.target}"), headers)
        with self.asking.answer(endpoint, reference, request) as response:
            raw = _document(response, MAX_MANIFEST + 1)
            said = response.headers.get("Docker-Content-Digest") or ""
            media_type = response.headers.get("Content-Type") or ""
        if len(raw) > MAX_MANIFEST:
            raise too_large(reference, len(raw), MAX_MANIFEST)
        wanted = reference.digest or _digest(said) or Digest.of(raw)
        got = digest_like(raw, wanted)
        if got != wanted:
            raise WrongBytesError(f"got {got}, want {wanted} after {len(raw)} bytes")
        return Document(raw, media_type.partition(";")[0].strip(), wanted)


def home(options: RegistryOptions) -> Registry:
    """Registries without their mirrors: for who writes there, and must see what is there."""
    return Registry(replace(options, mirrors=()))


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text.strip())
    except ValueError:
        return None


def _document(response: Response, limit: int) -> bytes:
    """At most `limit` bytes of a small document.

    NB: Content-Encoding is not undone for what carries its own digest, above all for layers: many stores label a
    gzip'd layer so.  A manifest that a proxy compressed in spite of Accept-Encoding is: no manifest begins like gzip.
    """
    raw: bytes = response.read(limit)
    if raw.startswith(b"\x1f\x8b") and (response.headers.get("Content-Encoding") or "").lower() in ("gzip", "x-gzip"):
        try:
            return zlib.decompressobj(31).decompress(raw, limit)
        except zlib.error as error:
            raise BusyError(f"its answer is labelled gzip, but is none: {error}") from error
    return raw
