"""What images a Docker daemon has, asked with the standard library alone: the no-op check cannot wait for more."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, cast

_SECONDS = 5
_MAX_ANSWER = 64 << 20


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def listens(host: str) -> bool:
    """Whether anything listens at a unix:// host; other hosts are taken to."""
    scheme, _, path = host.partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_SECONDS)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def list_images(host: str) -> list[dict[str, Any]]:
    """What `GET /images/json` answers at a host of unix:// or tcp://.

    OSError or ValueError where it does not answer.
    """
    scheme, _, place = host.partition("://")
    connection = _UnixConnection(place) if scheme == "unix" else http.client.HTTPConnection(place, timeout=_SECONDS)
    try:
        connection.request("GET", "/images/json")
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"the daemon answered {response.status}")
        return cast(list[dict[str, Any]], json.loads(response.read(_MAX_ANSWER)))
    except http.client.HTTPException as error:
        raise ValueError(f"the daemon does not speak HTTP: {error!r}") from error
    finally:
        connection.close()
