"""HTTP to registries: connections, certificates, proxies and redirects.  What is said over it is registry.py's."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

import lkbuild
from lkbuild.errors import ImageError
from lkbuild.sources.options import RegistryOptions, is_web_address

Response = urllib3.BaseHTTPResponse
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 8
_PRIVATE = ("authorization", "cookie", "proxy-authorization")


class Transport:
    """Requests, each answered by an unread response.  Threads may share one."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._proxies = dict(options.proxies)
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Close every connection that is not in use."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    def scheme(self, host: str) -> str:
        """`http` for this machine and for what the options call insecure, else `https`."""
        name = _hostname(host)
        plain = host in self._options.insecure or name in self._options.insecure or is_loopback(name)
        return "http" if plain else "https"

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Ask, following redirects.  The response is unread and must be released by `finish`.

        Credentials never follow to another host, nor is https ever left for http: that is an ImageError.  What has a
        body is not redirected: a refresh token could be in it.
        urllib3's errors pass through: whether to try again is not decided here.
        """
        sent = {"User-Agent": f"lkbuild/{lkbuild.__version__}", "Accept-Encoding": "identity", **headers}
        for _ in range(_MAX_REDIRECTS):
            response = self._pool(url).request(
                method,
                url,
                body=body,
                headers=sent,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or method not in ("GET", "HEAD"):
                return response
            finish(response)
            target = urljoin(url, location)
            if not is_web_address(target):
                raise ImageError(f"{_place(url)} redirects to {location!r:.200}, which is no http or https URL")
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
                raise ImageError(
                    f"{_place(url)} redirects from https to plain http at {_place(target)}, which is refused",
                    "the registry or a proxy before it is set up wrongly: its storage must be reached by https",
                )
            if _place(url) != _place(target):
                sent = {name: value for name, value in sent.items() if name.lower() not in _PRIVATE}
            url = target
        raise ImageError(f"{_place(url)} redirects more than {_MAX_REDIRECTS} times")

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc.rpartition("@")[2])
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._connect(*key)
            return self._pools[key]

    def _connect(self, scheme: str, host: str) -> urllib3.PoolManager:
        timeout = urllib3.Timeout(connect=self._options.connect_timeout, read=self._options.read_timeout)
        context = self._certificates(host) if scheme == "https" else None
        proxy = proxy_for(scheme, host, self._proxies)
        if proxy is None:
            return urllib3.PoolManager(maxsize=8, timeout=timeout, ssl_context=context)
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        return urllib3.ProxyManager(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            maxsize=8,
            timeout=timeout,
            ssl_context=context,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login) if login else None,
        )

    def _certificates(self, host: str) -> ssl.SSLContext:
        """The system's certificates, those of the options, and those Docker keeps for this host."""
        context = ssl.create_default_context()
        directory = self._options.certs_directory / host
        own = self._options.ca_file
        for path in (own, *sorted(directory.glob("*.crt"))):
            if path is not None:
                _trust(context, path)
        certificate, key = directory / "client.cert", directory / "client.key"
        if certificate.is_file() and key.is_file():
            try:
                context.load_cert_chain(certificate, key)
            except (OSError, ssl.SSLError) as error:
                raise ImageError(f"reading the client certificate {certificate} failed: {error}") from error
        return context


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ImageError(
            f"reading the certificates in {path} failed: {error}",
            "it must be a file of certificates in PEM form; see LKBUILD_CA_FILE, SSL_CERT_FILE and /etc/docker/certs.d",
        ) from error


def finish(response: Response) -> None:
    """Give the connection back where the body is read, else close it.

    NB: an unread body of no bytes would poison the connection for its next request, so it is drained first.
    """
    try:
        if getattr(response, "length_remaining", None) == 0:
            response.drain_conn()
            response.release_conn()
        else:
            response.close()
    except HTTPError:
        response.close()


def proxy_for(scheme: str, host: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy to use for `host` (`name` or `name:port`), None for none; `no` as curl and Go understand it.

    This machine never goes by a proxy.
    """
    name = _hostname(host).lower()
    if is_loopback(name):
        return None
    for rule in proxies.get("no", "").replace(",", " ").split():
        if rule == "*" or _exempt(name, host.lower(), rule.lower()):
            return None
    return proxies.get(scheme) or proxies.get("all")


def _exempt(name: str, host: str, rule: str) -> bool:
    if rule == host:
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")) in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        suffix = rule.removeprefix("*").removeprefix(".")
        return name == suffix or name.endswith(f".{suffix}")


def is_loopback(name: str) -> bool:
    """Whether a host's name is this machine's: localhost, 127.*, [::1]."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str:
    """A host without its port; an IPv6 address keeps its brackets."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _place(url: str) -> str:
    """Scheme and host of a URL: what it may tell about itself in an error, and whom credentials belong to."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname}:{port}"
