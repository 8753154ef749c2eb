"""How registries are reached, as a value; and the one function that reads it from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lkbuild.errors import UsageError
from lkbuild.frozen import frozen
from lkbuild.reference import DOCKER_HUB

CERTS_DIRECTORY = Path("/etc/docker/certs.d")


@frozen
class RegistryOptions:
    """How registries are reached.

    `mirrors`: registry -> URLs tried before it, in order; a URL's path goes before the repository.  `insecure`: hosts
    (`host` or `host:port`) spoken to by plain http.  `ca_file`: certificates trusted besides the system's.
    `certs_directory`: Docker's, HOST/ca.crt and HOST/client.{cert,key}.  `docker_config`: the config.json with logins.
    `proxies`: `http`, `https`, `all` -> URL, `no` -> what goes without.  Waits and time-outs are in seconds; `attempts`
    counts those in a row that bring nothing.
    """

    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    insecure: tuple[str, ...] = ()
    ca_file: Path | None = None
    certs_directory: Path = CERTS_DIRECTORY
    docker_config: Path | None = None
    proxies: tuple[tuple[str, str], ...] = ()
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 120.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0


def registry_options(environ: Mapping[str, str]) -> RegistryOptions:
    """The options of an environment; UsageError says which variable is wrong.

    LKBUILD_MIRRORS is `URL …` for Docker Hub or `REGISTRY=URL[,URL…] …`, LKBUILD_INSECURE_REGISTRIES `HOST …`; read
    besides are LKBUILD_CA_FILE, SSL_CERT_FILE, DOCKER_CONFIG, HOME, and http_proxy, https_proxy, all_proxy, no_proxy in
    either case.
    """
    home = environ.get("HOME")
    config = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else None)
    ca_file = environ.get("LKBUILD_CA_FILE") or environ.get("SSL_CERT_FILE")
    proxies = []
    for kind in ("http", "https", "all", "no"):
        value = environ.get(f"{kind}_proxy") or environ.get(f"{kind.upper()}_PROXY")
        if value:
            proxies.append((kind, value.strip() if kind == "no" else _proxy(f"{kind}_proxy", value.strip())))
    return RegistryOptions(
        mirrors=parse_mirrors(environ.get("LKBUILD_MIRRORS", "")),
        insecure=tuple(re.split(r"[\s,]+", text))
        if (text := environ.get("LKBUILD_INSECURE_REGISTRIES", "").strip())
        else (),
        ca_file=Path(ca_file) if ca_file else None,
        docker_config=Path(config) / "config.json" if config else None,
        proxies=tuple(proxies),
    )


def parse_mirrors(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What LKBUILD_MIRRORS says; UsageError where it is no such list."""
    mirrors: dict[str, tuple[str, ...]] = {}
    for word in text.split():
        registry, equals, urls = word.partition("=")
        if "://" in registry or not equals:
            registry, urls = DOCKER_HUB, word
        for url in filter(None, urls.split(",")):
            if not is_web_address(url):
                raise UsageError(
                    f"LKBUILD_MIRRORS: {url!r:.200} is no http or https URL",
                    "write https://mirror.example for Docker Hub, ghcr.io=https://mirror.example/ghcr for another",
                )
            mirrors[registry] = (*mirrors.get(registry, ()), url.rstrip("/"))
    return tuple(mirrors.items())


def is_web_address(url: str) -> bool:
    """Whether `url` is http or https, with a host and a sane port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _proxy(name: str, value: str) -> str:
    """A proxy's URL, http:// where none is said, as curl has it."""
    url = value if "://" in value else f"http://{value}"
    if not is_web_address(url):
        raise UsageError(f"{name}: {value!r:.200} is no http or https proxy", "write http://HOST:PORT, or unset it")
    return url
