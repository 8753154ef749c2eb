"""Building a Dockerfile through the Docker daemon (Engine API `POST /build`), the log kept for when it fails."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Platform

if TYPE_CHECKING:
    from docker import APIClient

_LOG_LINES = 40
_SECONDS = 3600


@frozen
class Dockerfile:
    """What the daemon is to build.  `dockerfile` is a name within `context`; `arguments` are build arguments.

    Without `network` its commands reach none, as with `linuxkit pkg build`.  `renew`: its base images are asked for
    anew, and nothing of what the daemon built before is used.
    """

    context: Path
    dockerfile: str
    platform: Platform
    labels: tuple[tuple[str, str], ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    network: bool = False
    renew: bool = False


def build_image(api: APIClient, request: Dockerfile) -> str:
    """Have the daemon build; the Id of the image.  ImageError with the end of the log."""
    import docker.errors
    import requests

    log: deque[str] = deque(maxlen=_LOG_LINES)
    what = request.dockerfile
    try:
        events = api.build(
            path=os.fspath(request.context),
            dockerfile=request.dockerfile,
            platform=str(request.platform),
            network_mode=None if request.network else "none",
            labels=dict(request.labels),
            buildargs=dict(request.arguments),
            pull=request.renew,
            nocache=request.renew,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=_SECONDS,
        )
        image_id = _follow(events, log)
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        explanation = getattr(error, "explanation", None) or error
        raise ImageError(f"building {what} failed: {explanation}{_end(log)}") from error
    if image_id is None:
        raise ImageError(f"building {what} failed{_end(log)}", "the same with `docker build` shows the whole log")
    return image_id


def _follow(events: Iterable[dict[str, Any]], log: deque[str]) -> str | None:
    """Read a build's events to their end, the log's last lines into `log`; the Id, None where the build failed."""
    image_id, failed = None, False
    for event in events:
        text = event.get("stream") or event.get("error") or event.get("status") or ""
        log.extend(line for line in str(text).splitlines() if line.strip())
        failed = failed or "error" in event
        image_id = (event.get("aux") or {}).get("ID", image_id)
    return str(Digest.parse(image_id)) if image_id and not failed else None


def _end(log: Iterable[str]) -> str:
    text = "\n".join(f"  | {line}" for line in log)
    return f":\n{text}" if text else ""
