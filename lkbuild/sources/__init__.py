"""Where images come from: registries, OCI layouts, archives, the Docker daemon.  One of the doors to the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lkbuild.sources.daemon import Daemon
from lkbuild.sources.dockerfile import Dockerfile
from lkbuild.sources.late import LateRegistry
from lkbuild.sources.layout import Layout
from lkbuild.sources.opening import open_path
from lkbuild.sources.options import RegistryOptions, registry_options
from lkbuild.sources.search import Found, FoundIndex, not_found, search, search_index
from lkbuild.sources.source import Document, Image, Images, Missing, Progress, Source, quiet

if TYPE_CHECKING:
    from lkbuild.sources.registry import Registry

__all__ = [
    "Daemon",
    "Dockerfile",
    "Document",
    "Found",
    "FoundIndex",
    "Image",
    "Images",
    "LateRegistry",
    "Layout",
    "Missing",
    "Progress",
    "Registry",
    "RegistryOptions",
    "Source",
    "not_found",
    "open_path",
    "quiet",
    "registry_options",
    "search",
    "search_index",
]


def __getattr__(name: str) -> Any:
    # urllib3 takes longer to load than a build with nothing to do may last, and such a build asks no registry.
    if name == "Registry":
        from lkbuild.sources.registry import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
