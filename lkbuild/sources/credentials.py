"""Logins from Docker's config.json: `auths`, `credHelpers`, `credsStore`, identity and registry tokens.

Source: docker/cli cli/config/configfile and docker-credential-helpers (`get` reads the server's name from stdin,
answers in JSON, and says "credentials not found" with exit status 1).
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import field
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from lkbuild.frozen import frozen
from lkbuild.reference import DOCKER_HUB

_HUB_KEYS = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io")
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_SECONDS = 60
_TOKEN_USER = "<token>"  # noqa: S105  # what a helper calls the user of an identity token
_MAX_CONFIG = 16 << 20


@frozen
class Credential:
    """What a registry is shown.  `identity`: a refresh token; `registry`: a bearer token, shown as it is."""

    username: str
    secret: str = field(repr=False)
    kind: Literal["password", "identity", "registry"] = "password"

    @property
    def basic(self) -> str | None:
        """The Authorization header of basic authentication; None for tokens."""
        if self.kind != "password":
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


@frozen
class Login:
    """What was found for a registry; `tried` says where was looked, for when it is refused.  It names no secret."""

    credential: Credential | None
    tried: tuple[str, ...]


class Credentials:
    """Looks logins up, each once.  Threads may share one."""

    def __init__(self, config: Path | None) -> None:
        self._path = config
        self._config: dict[str, Any] | None = None
        self._broken: str | None = None
        self._found: dict[str, Login] = {}
        self._lock = Lock()

    def lookup(self, registry: str) -> Login:
        """The login for a registry.  Never raises: what went wrong is in `tried`, for many images need no login."""
        with self._lock:
            if self._config is None:
                self._config = self._load()
            if registry not in self._found:
                self._found[registry] = self._search(registry, self._config)
            return self._found[registry]

    def _load(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                document = json.loads(file.read(_MAX_CONFIG))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._broken = f"{self._path} cannot be read: {error}"
            return {}
        if not isinstance(document, dict):
            self._broken = f"{self._path} is not a JSON object"
            return {}
        return document

    def _search(self, registry: str, config: dict[str, Any]) -> Login:
        keys = _HUB_KEYS if registry == DOCKER_HUB else (registry,)
        tried = [self._broken] if self._broken else []
        helpers, store = _object(config, "credHelpers"), config.get("credsStore")
        for key in keys:
            helper = helpers.get(key) or store
            if isinstance(helper, str):
                credential, said = ask_helper(helper, key)
                tried.append(said)
                if credential:
                    return Login(credential, tuple(tried))
        auths = _object(config, "auths")
        aliases = [alias for alias in auths if _host(alias) in map(_host, keys)]
        for key in dict.fromkeys((*keys, *aliases)):
            credential = _entry(auths.get(key))
            if credential:
                name = credential.username if credential.kind == "password" else f"{credential.kind} token"
                return Login(credential, (*tried, f"{name!r} from {self._path}"))
            if auths.get(key):
                tried.append(f"the entry {key!r} of {self._path}, which holds no login")
        tried.append(f"no login for {registry} in {self._path}" if self._path else "no Docker configuration is known")
        return Login(None, tuple(dict.fromkeys(tried)))


def ask_helper(name: str, server: str) -> tuple[Credential | None, str]:
    """What docker-credential-NAME answers for a server, and the same in words."""
    program = f"docker-credential-{name}"
    if not _HELPER_NAME.fullmatch(name):
        return None, f"the credential helper {name!r:.100}, which is no name of a program"
    try:
        run = subprocess.run([program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_SECONDS)
    except FileNotFoundError:
        return None, f"{program} for {server}, which is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{program} for {server}: {error}"
    if run.returncode:
        said = (run.stdout or run.stderr).decode("utf-8", "replace").strip()
        return None, f"{program} for {server}: {said.splitlines()[0][:200] if said else f'exit {run.returncode}'}"
    try:
        answer = json.loads(run.stdout)
        username, secret = answer.get("Username", ""), answer.get("Secret", "")
    except (ValueError, AttributeError):
        return None, f"{program} for {server}, whose answer is not JSON"
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        return None, f"{program} for {server}, which holds no login"
    kind: Literal["password", "identity"] = "identity" if username == _TOKEN_USER else "password"
    return Credential(username, secret, kind), f"{username!r} from {program}"


def _entry(entry: object) -> Credential | None:
    """The login of one entry of `auths`, None if it holds none (with a helper, entries are empty)."""
    if not isinstance(entry, dict):
        return None
    texts = {name: value for name, value in entry.items() if isinstance(value, str) and value}
    username, secret = texts.get("username", ""), texts.get("password", "")
    if "auth" in texts:
        try:
            decoded = base64.b64decode(texts["auth"], validate=True).decode()
        except ValueError:
            return None
        username, _, secret = decoded.partition(":")
        secret = secret.rstrip("\0")
    if "identitytoken" in texts:
        return Credential(username or _TOKEN_USER, texts["identitytoken"], "identity")
    if "registrytoken" in texts:
        return Credential(username, texts["registrytoken"], "registry")
    return Credential(username, secret) if username else None


def _object(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _host(key: str) -> str:
    return re.sub(r"^https?://", "", key).partition("/")[0]
