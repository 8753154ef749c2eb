"""How a registry is convinced: basic authentication, and bearer tokens from its token server.

Source: distribution-spec "Authentication", Docker's token and oauth2 specifications.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from threading import Lock
from urllib.parse import urlencode, urlsplit

from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.sources.credentials import Credential, Credentials, Login
from lkbuild.sources.options import is_web_address
from lkbuild.sources.transport import Response, Transport, finish

CLIENT_ID = "lkbuild"
_WORD = re.compile(r'([A-Za-z][A-Za-z0-9_-]*)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
_MAX_ANSWER = 1 << 20


class DeniedError(ImageError):
    """The registry does not let us in."""


@frozen
class Challenge:
    """What a WWW-Authenticate header asks for; `scheme` in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """A parameter, None where it is absent."""
        return dict(self.parameters).get(name)


@frozen
class Access:
    """Whom a token is for: `registry` is what people log in to, `host` whom it is shown, `scope` what it allows."""

    registry: str
    host: str
    scope: str


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a WWW-Authenticate header (RFC 9110, 11.6.1), which may list several."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for match in _WORD.finditer(header):
        name, quoted, plain = match.groups()
        if quoted is None and plain is None:
            found.append((name.lower(), []))
        elif found:
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            found[-1][1].append((name.lower(), value))
    return tuple(Challenge(scheme, tuple(parameters)) for scheme, parameters in found)


class Tokens:
    """The Authorization headers gained so far.  Threads may share one, and wait for each other's login."""

    def __init__(self, transport: Transport, credentials: Credentials) -> None:
        self._transport = transport
        self._credentials = credentials
        self._headers: dict[Access, str] = {}
        self._locks: dict[Access, Lock] = {}

    def header(self, access: Access) -> str | None:
        """What to send, None as long as nothing was asked for."""
        return self._headers.get(access)

    def login(self, registry: str) -> Login:
        """What is known for a registry, for the error that it was refused."""
        return self._credentials.lookup(registry)

    def renew(self, access: Access, refused: str | None, challenge: str) -> None:
        """Get a header that answers `challenge`, after `refused` was refused.  DeniedError where none can be had."""
        with self._locks.setdefault(access, Lock()):
            if self._headers.get(access) not in (None, refused):
                return
            self._headers.pop(access, None)
            self._headers[access] = self._obtain(access, challenge)

    def _obtain(self, access: Access, header: str) -> str:
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        credential = self._credentials.lookup(access.registry).credential
        if credential and credential.kind == "registry":
            return f"Bearer {credential.secret}"
        if "bearer" in challenges:
            return "Bearer " + self._token(access, challenges["bearer"], credential)
        if "basic" in challenges:
            if credential and credential.basic:
                return credential.basic
            raise DeniedError("it wants a user name and a password")
        if not challenges:
            raise DeniedError("it answered 401 without saying how to log in")
        raise DeniedError(f"it wants a kind of login that is not known here: {header[:200]!r}")

    def _token(self, access: Access, challenge: Challenge, credential: Credential | None) -> str:
        """Ask the token server (with POST where we hold a refresh token, as oauth2 has it)."""
        realm = challenge.get("realm") or ""
        if not is_web_address(realm):
            raise DeniedError(f"its token server {realm!r:.200} is no http or https URL")
        parts = urlsplit(realm)
        if parts.scheme == "http" and credential and self._transport.scheme(parts.netloc) == "https":
            raise DeniedError(f"its token server {realm} is plain http, to which no login is sent")
        scopes = dict.fromkeys((challenge.get("scope") or access.scope, access.scope))
        query = [("service", service)] if (service := challenge.get("service")) else []
        query += [("scope", scope) for scope in scopes]
        if credential and credential.kind == "identity":
            query = [*query[: -len(scopes)], ("scope", " ".join(scopes)), ("grant_type", "refresh_token")]
            query += [("refresh_token", credential.secret), ("client_id", CLIENT_ID)]
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._answer(realm, self._transport.request("POST", realm, form, urlencode(query).encode()))
        headers: Mapping[str, str] = {"Authorization": credential.basic} if credential and credential.basic else {}
        url = f"{realm}{'&' if parts.query else '?'}{urlencode(query)}"
        return self._answer(realm, self._transport.request("GET", url, headers))

    def _answer(self, realm: str, response: Response) -> str:
        try:
            raw = response.read(_MAX_ANSWER)
        finally:
            finish(response)
        if response.status == 429 or response.status >= 500:
            raise BusyError(
                f"its token server {realm} answered {response.status}", retry_after=response.headers.get("Retry-After")
            )
        if response.status != 200:
            said = raw[:200].decode("utf-8", "replace").strip()
            raise DeniedError(f"its token server {realm} answered {response.status} {said}".strip())
        try:
            answer = json.loads(raw)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise DeniedError(f"its token server {realm} answered without a token")
        return token


class BusyError(ImageError):
    """Something failed that may work when it is tried again.

    `retry_after` is that header's text; `most` is how often at most it is worth trying.
    """

    def __init__(
        self, message: str, *, retry_after: str | None = None, hint: str | None = None, most: int | None = None
    ) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
        self.most = most
