"""Asking a registry: the login it wants, trying again, and its mirrors.  What is asked for is said by others."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import TypeVar
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.reference import DOCKER_HUB, Reference
from lkbuild.sources.auth import Access, BusyError, DeniedError, Tokens
from lkbuild.sources.credentials import Credentials
from lkbuild.sources.options import RegistryOptions
from lkbuild.sources.refusal import connection_error, denied, refusal
from lkbuild.sources.source import AbsentError
from lkbuild.sources.transport import Response, Transport, finish
from lkbuild.sources.verify import WrongBytesError

_HUB_HOST = "registry-1.docker.io"
_PROGRESS = 1 << 16
"""How many bytes make an attempt that failed one that got on."""

T = TypeVar("T")


@frozen
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

    def access(self, reference: Reference, push: bool = False) -> Access:
        """What a token is needed for."""
        actions = "pull,push" if push else "pull"
        return Access(self.login, self.host, f"repository:{self.prefix}{reference.repository}:{actions}")

    def __str__(self) -> str:
        return f"mirror {self.host}" if self.mirror else f"registry {self.login}"


@frozen
class Request:
    """What is asked of an endpoint.  `accepted`: the answers that are no refusal.  `push`: the right to write too."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    accepted: tuple[int, ...] = (200, 206, 416)
    push: bool = False


class Asking:
    """Requests to registries, by the names in references.  `pause` waits seconds, `now` tells the time.

    Threads may share one.
    """

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

    @contextmanager
    def answer(self, endpoint: Endpoint, reference: Reference, request: Request) -> Iterator[Response]:
        """A request and its answer, unread, where that is what was asked for; one login on the way if need be.

        NB: a login is shown to the endpoint alone, not to another host that it sends us to.
        """
        access = endpoint.access(reference, request.push)
        mine = urlsplit(request.url)[:2] == (endpoint.scheme, endpoint.host)
        response = None
        try:
            for _ in range(2):
                token = self._tokens.header(access) if mine else None
                sent = {**request.headers, "Authorization": token} if token else request.headers
                response = self._transport.request(request.method, request.url, sent, request.body)
                if response.status != 401 or not mine:
                    break
                challenge = response.headers.get("WWW-Authenticate") or ""
                finish(response)
                self._tokens.renew(access, token, challenge)
            if response is None or response.status not in request.accepted:
                raise refusal(response) if response is not None else DeniedError("it was not asked")
            yield response
        except (HTTPError, OSError) as error:
            raise connection_error(error, urlsplit(request.url).netloc) from error
        finally:
            if response is not None:
                finish(response)

    def endpoints(self, registry: str) -> Iterator[Endpoint]:
        """The mirrors of a registry, in order, then itself."""
        for url in dict(self._options.mirrors).get(registry, ()):
            parts = urlsplit(url)
            prefix = parts.path.strip("/")
            yield Endpoint(parts.scheme, parts.netloc, f"{prefix}/" if prefix else "", parts.netloc, True)
        host = _HUB_HOST if registry == DOCKER_HUB else registry
        yield Endpoint(self._transport.scheme(host), host, "", registry, False)

    def anywhere(
        self, reference: Reference, doing: str, ask: Callable[[Endpoint], T], done: Callable[[], int] = lambda: 0
    ) -> T:
        """What `ask` returns at the first endpoint that answers; `done` tells the bytes gained, so that gains count."""
        passed: list[str] = []
        for endpoint in self.endpoints(reference.registry):
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
