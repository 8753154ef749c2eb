"""Images from a registry (OCI distribution-spec 1.1, Docker Registry HTTP API V2): pulling, nothing else."""

from __future__ import annotations

import email.utils
import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import ACCEPT, INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST, Descriptor, Platform
from lkbuild.reference import DOCKER_HUB, Reference
from lkbuild.sources.auth import Access, BusyError, DeniedError, Tokens
from lkbuild.sources.credentials import Credentials
from lkbuild.sources.download import Download, too_large
from lkbuild.sources.options import RegistryOptions
from lkbuild.sources.refusal import connection_error, denied, refusal
from lkbuild.sources.source import AbsentError, Document, Progress, Source, quiet
from lkbuild.sources.transport import Response, Transport, finish
from lkbuild.sources.verify import WrongBytesError, checked, digest_like

_HUB_HOST = "registry-1.docker.io"
_PROGRESS = 1 << 16
"""How many bytes make an attempt that failed one that got on."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place a registry's images are asked for at: itself, or a mirror.  `login` is the name people log in to."""

    scheme: str
    host: str
    prefix: str
    login: str
    mirror: bool

    def url(self, reference: Reference, path: str) -> str:
        """The address of a manifest or a blob."""
        return f"{self.scheme}://{self.host}/v2/{self.prefix}{reference.repository}/{path}"

    def access(self, reference: Reference) -> Access:
        """What a token is needed for."""
        return Access(self.login, self.host, f"repository:{self.prefix}{reference.repository}:pull")

    def __str__(self) -> str:
        return f"mirror {self.host}" if self.mirror else f"registry {self.login}"


class Registry(Source):
    """Every registry, by the names in the references.  `pause` waits seconds, `now` tells the time."""

    def __init__(
        self,
        options: RegistryOptions,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._pause = pause
        self._now = now
        self._transport = Transport(options)
        self._tokens = Tokens(self._transport, Credentials(options.docker_config))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def describe(self) -> str:
        """See Source."""
        return "registry"

    def where(self, reference: Reference) -> str:
        """See Source."""
        return f"registry {reference.registry}"

    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        """See Source.  A constant: tags are looked up again when somebody asks for it, never by themselves."""
        return "registry"

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """See Source."""

        def ask(endpoint: Endpoint) -> Document:
            return self._manifest(reference, endpoint)

        return self._anywhere(reference, f"asking for {reference}", ask)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """See Source."""
        if descriptor.size > limit:
            raise too_large(reference, descriptor.size, limit)
        kind = "manifests" if descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES else "blobs"

        def ask(endpoint: Endpoint) -> bytes:
            headers = {"Accept": descriptor.media_type} if kind == "manifests" else {}
            with self._answer(endpoint, reference, f"{kind}/{descriptor.digest}", headers) as response:
                return checked(_document(response, descriptor.size + 1), descriptor)

        return self._anywhere(reference, f"fetching {descriptor.digest} of {reference}", ask)

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """See Source.  Goes on where `into` ends, over connections, mirrors and runs."""
        download = Download.open(descriptor, into, progress)

        def ask(endpoint: Endpoint) -> None:
            if not download.complete:
                path = f"blobs/{descriptor.digest}"
                with self._answer(endpoint, reference, path, download.headers) as response:
                    if response.status == 416:
                        download.restart()
                        raise BusyError("it does not have the range that was asked for")
                    download.receive(response)
            download.finish()

        try:
            self._anywhere(reference, f"fetching {descriptor.digest} of {reference}", ask, lambda: download.done)
        finally:
            download.close()

    # -- one request ---------------------------------------------------------------------------------------------------

    def _manifest(self, reference: Reference, endpoint: Endpoint) -> Document:
        """What the registry says `reference` is.  With a tag, all there is to check it by is what the registry says."""
        headers = {"Accept": ", ".join(ACCEPT)}
        with self._answer(endpoint, reference, f"manifests/{reference.target}", headers) as response:
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

    @contextmanager
    def _answer(
        self, endpoint: Endpoint, reference: Reference, path: str, headers: dict[str, str]
    ) -> Iterator[Response]:
        """A request and its answer, unread, where that is what was asked for; one login on the way if need be."""
        access, url = endpoint.access(reference), endpoint.url(reference, path)
        response = None
        try:
            for _ in range(2):
                token = self._tokens.header(access)
                sent = {**headers, "Authorization": token} if token else headers
                response = self._transport.request("GET", url, sent)
                if response.status != 401:
                    break
                challenge = response.headers.get("WWW-Authenticate") or ""
                finish(response)
                self._tokens.renew(access, token, challenge)
            if response is None or response.status not in (200, 206, 416):
                raise refusal(response) if response is not None else DeniedError("it was not asked")
            yield response
        except (HTTPError, OSError) as error:
            raise connection_error(error, urlsplit(url).netloc) from error
        finally:
            if response is not None:
                finish(response)

    # -- trying again, and elsewhere -----------------------------------------------------------------------------------

    def _endpoints(self, registry: str) -> Iterator[Endpoint]:
        """The mirrors of a registry, in order, then itself."""
        for url in dict(self._options.mirrors).get(registry, ()):
            parts = urlsplit(url)
            prefix = parts.path.strip("/")
            yield Endpoint(parts.scheme, parts.netloc, f"{prefix}/" if prefix else "", parts.netloc, True)
        host = _HUB_HOST if registry == DOCKER_HUB else registry
        yield Endpoint(self._transport.scheme(host), host, "", registry, False)

    def _anywhere(
        self, reference: Reference, doing: str, ask: Callable[[Endpoint], T], done: Callable[[], int] = lambda: 0
    ) -> T:
        """What `ask` returns at the first endpoint that answers; `done` tells the bytes gained, so that gains count."""
        passed: list[str] = []
        for endpoint in self._endpoints(reference.registry):
            try:
                return self._patiently(endpoint, ask, done)
            except ImageError as error:
                if endpoint.mirror:
                    passed.append(f"{endpoint}: {error.message}")
                    continue
                if isinstance(error, DeniedError):
                    error = denied(error, endpoint.login, self._tokens.login(endpoint.login))
                before = f" (before that, {'; '.join(passed)})" if passed else ""
                if isinstance(error, AbsentError):
                    raise AbsentError(f"{error.message}{before}", error.hint) from error
                raise ImageError(f"{doing} from {endpoint}: {error.message}{before}", error.hint) from error
        raise ImageError(f"{doing}: there is nowhere to ask")

    def _patiently(self, endpoint: Endpoint, ask: Callable[[Endpoint], T], done: Callable[[], int]) -> T:
        """Ask until it works, or it is clear that it will not.  A mirror is asked but once."""
        failures, wrong = 0, 0
        while True:
            before = done()
            try:
                return ask(endpoint)
            except WrongBytesError:
                # Once more from the start: what was resumed may have been spoilt, or a cache on the way.
                wrong += 1
                if wrong > 1 or endpoint.mirror:
                    raise
            except BusyError as error:
                failures = 1 if done() - before >= _PROGRESS else failures + 1
                most = 1 if endpoint.mirror else min(self._options.attempts, error.most or self._options.attempts)
                if failures >= most:
                    times = f", {failures} times in a row" if failures > 1 else ""
                    raise ImageError(f"{error.message}{times}", error.hint) from error
                self._pause(self._wait(failures, error.retry_after))

    def _wait(self, failures: int, retry_after: str | None) -> float:
        """Seconds to wait: longer each time, spread so that many builds do not come back at once."""
        wait: float = min(self._options.first_wait * 2 ** (failures - 1), 30.0) * random.uniform(0.5, 1.0)  # noqa: S311
        longest = self._options.longest_wait
        return min(max(wait, asked_wait(retry_after, self._now())), longest)


def asked_wait(retry_after: str | None, now: float) -> float:
    """The seconds a Retry-After header asks for (RFC 9110, 10.2.3: a number or a date); 0 if it cannot be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


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
