"""Fingerprints, as they are now, of what a stamp saw that is no file: the Docker daemon."""

from __future__ import annotations

from collections.abc import Mapping

from lkbuild.engine.options import BuildOptions
from lkbuild.errors import LkbuildError

DAEMON = "Docker daemon"
"""The name of its fingerprint."""


def current(options: BuildOptions, texts: Mapping[str, str]) -> dict[str, str]:
    """What the fingerprints `texts` are now; one that cannot be told is missing."""
    try:
        return {DAEMON: _daemon(texts[DAEMON], options.docker_host)} if DAEMON in texts else {}
    except (LkbuildError, OSError, ValueError):
        return {}


def _daemon(before: str, host: str | None) -> str:
    """The Ids of the images it was asked about before, which its fingerprint names: `Docker daemon: NAME=ID …`."""
    from pathlib import Path

    from lkbuild.reference import Reference
    from lkbuild.sources import Daemon

    names = [pair.partition("=")[0] for pair in before.partition(": ")[2].split() if "=" in pair]
    return Daemon(Path(), host).fingerprint([Reference.parse(name) for name in names])
