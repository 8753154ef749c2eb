"""What a registry's answer or a failed connection means, and whether trying again may help."""

from __future__ import annotations

import json
import ssl

from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ProxyError, SSLError

from lkbuild.errors import ImageError
from lkbuild.reference import DOCKER_HUB
from lkbuild.sources.auth import BusyError, DeniedError
from lkbuild.sources.credentials import Login
from lkbuild.sources.source import AbsentError
from lkbuild.sources.transport import Response

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAID = 4096
UNREACHABLE_ATTEMPTS = 3
"""How often a host is tried that cannot be reached at all: waiting rarely helps."""


def refusal(response: Response) -> ImageError:
    """The error for an answer that was not hoped for: AbsentError, DeniedError, BusyError or plain ImageError."""
    status, said = response.status, _said(response)
    words = f"it answered {status} {said}".rstrip()
    if status == 404:
        return AbsentError(f"has no such image ({said or status})", "check the name and the tag")
    if status in (401, 403):
        return DeniedError(words)
    if status == 429:
        hint = (
            "the registry limits how much is pulled: log in (`docker login`), wait, or use a mirror (LKBUILD_MIRRORS)"
        )
        return BusyError(words, retry_after=response.headers.get("Retry-After"), hint=hint)
    if status in _AGAIN:
        return BusyError(words, retry_after=response.headers.get("Retry-After"))
    return ImageError(words, "is this host a container registry?" if status != 400 else None)


def denied(error: DeniedError, registry: str, login: Login) -> DeniedError:
    """The same error, with which logins were tried and what to do."""
    shown = f"logged in as {login.tried[-1]}" if login.credential else "no login was found"
    tried = "" if login.credential else f" ({'; '.join(login.tried)})"
    command = "docker login" if registry == DOCKER_HUB else f"docker login {registry}"
    return DeniedError(
        f"access denied: {error.message}; {shown}{tried}",
        f"`{command}`, or is the name misspelt? many registries answer so for what does not exist",
    )


def connection_error(error: HTTPError | OSError, host: str) -> ImageError:
    """The error for a connection that failed: BusyError where another try may help."""
    if isinstance(error, ProxyError):
        return BusyError(
            f"the proxy for {host} cannot be used: {_cause(error)}",
            hint="look at http_proxy, https_proxy and no_proxy",
            most=UNREACHABLE_ATTEMPTS,
        )
    if isinstance(error, SSLError):
        return _tls(error, host)
    if isinstance(error, NameResolutionError):
        return BusyError(
            f"the name {host} cannot be resolved",
            hint="is the machine online, and the registry's name spelt right?",
            most=UNREACHABLE_ATTEMPTS,
        )
    if isinstance(error, NewConnectionError):
        hint = "is the registry running, and does a firewall or a proxy stand between?"
        return BusyError(f"cannot connect to {host}: {_cause(error)}", hint=hint, most=UNREACHABLE_ATTEMPTS)
    return BusyError(f"the connection to {host} broke: {_cause(error)}")


def _tls(error: SSLError, host: str) -> ImageError:
    cause = next((arg for arg in error.args if isinstance(arg, ssl.SSLError)), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ImageError(
            f"the certificate of {host} is not trusted: {cause.verify_message}",
            f"name its authority's certificate with LKBUILD_CA_FILE, or put it at /etc/docker/certs.d/{host}/ca.crt",
        )
    reason = (cause.reason or "") if cause else ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return ImageError(
            f"{host} does not speak https", f"if it is meant to be plain http: LKBUILD_INSECURE_REGISTRIES={host}"
        )
    return BusyError(f"TLS with {host} failed: {_cause(error)}", most=UNREACHABLE_ATTEMPTS)


def _cause(error: BaseException) -> str:
    """The innermost words of an exception, without urllib3's object names."""
    inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    if inner is not None:
        return _cause(inner)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error.__cause__ or error) if isinstance(error, NewConnectionError) else str(error)
    return text.rpartition("[Errno ")[2].partition("] ")[2] or text


def _said(response: Response) -> str:
    """What the registry says about it: the codes of distribution-spec errors, else the start of the text."""
    try:
        raw = response.read(_SAID)
    except (HTTPError, OSError):
        return ""
    try:
        first = json.loads(raw)["errors"][0]
        words = [str(first[name]) for name in ("code", "message") if first.get(name)]
        return ": ".join(words)[:300]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        text = raw[:120].decode("utf-8", "replace")
        return " ".join(text.split()) if text.isprintable() else ""
