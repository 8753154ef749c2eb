"""Fingerprints, as they are now, of what a stamp saw that is no file: the Docker daemon, other image sources."""

from __future__ import annotations

from collections.abc import Mapping

from lkbuild.engine.options import BuildOptions
from lkbuild.errors import LkbuildError

_DAEMON = "Docker daemon"


def current(options: BuildOptions, texts: Mapping[str, str]) -> dict[str, str]:
    """What the fingerprints `texts` are now; one that cannot be told is missing."""
    found: dict[str, str] = {}
    try:
        if _DAEMON in texts:
            found[_DAEMON] = _daemon(texts[_DAEMON], options.docker_host)
        if len(texts) > len(found):
            from lkbuild.sources import open_path

            for path in options.images:
                source = open_path(path, options.cache / "tmp")
                found[source.describe()] = source.fingerprint()
    except (LkbuildError, OSError, ValueError):
        return found
    return {name: text for name, text in found.items() if name in texts}


def _daemon(before: str, host: str | None) -> str:
    """The Ids of the images it was asked about before, which its fingerprint names: `Docker daemon: NAME=ID …`."""
    from pathlib import Path

    from lkbuild.reference import Reference
    from lkbuild.sources import Daemon

    names = [pair.partition("=")[0] for pair in before.partition(": ")[2].split() if "=" in pair]
    return Daemon(Path(), host).fingerprint([Reference.parse(name) for name in names])
