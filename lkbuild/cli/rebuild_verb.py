"""`lkbuild rebuild`: a finished image, built again from what it carries, and compared byte for byte."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.cli.project import registry
from lkbuild.engine.arguments import cache
from lkbuild.engine.events import Compared, Told
from lkbuild.engine.project import Show
from lkbuild.engine.report import Failed
from lkbuild.errors import LkbuildError, UsageError

if TYPE_CHECKING:
    from lkbuild.rebuild.rebuild import Rebuilt


def work(given: Given, show: Show) -> int:
    """Rebuild the image named; 0 where all of it is identical, 1 where something differs."""
    from lkbuild.rebuild.images import images
    from lkbuild.rebuild.rebuild import Means, rebuild

    if len(given.names) != 1:
        raise UsageError("lkbuild rebuild takes one image, or one directory of outputs", "lkbuild rebuild out/")
    said = dict(given.words)
    paths = tuple(Path(value) for name, value in given.words if name == "images")
    context = Path(said["context"]) if "context" in said else None
    if context is not None and not context.is_dir():
        raise UsageError(f"--context {context} is no directory")
    means = Means(
        registry(),
        cache(said.get("cache"), Path()),
        context,
        paths,
        "never" if said.get("offline") == "yes" else "missing",
        Path(said["keep"]) if "keep" in said else None,
        os.environ.get("DOCKER_HOST") or None,
    )
    same = True
    for image in images(Path(given.names[0])):
        same &= _told(rebuild(image, means, show), show)
    return 0 if same else 1


def _told(rebuilt: Rebuilt, show: Show) -> bool:
    """Tell the verdicts; returns whether all is identical."""
    for verdict in rebuilt.verdicts:
        said = tuple(each.words() for each in verdict.differences)
        show(Compared(verdict.machine, verdict.format, tuple(path.name for path in verdict.files), said))
        if said:
            lines = "".join(f"\n  {text}" for text in said)
            show(Failed(LkbuildError(f"{verdict.machine}, {verdict.format}: built again, it is another{lines}")))
    if rebuilt.excepted:
        show(Told(f"not built from files, since a Dockerfile makes them: {', '.join(rebuilt.excepted)}"))
    return not any(verdict.differences for verdict in rebuilt.verdicts)


command = Command(
    "lkbuild rebuild [FLAGS] IMAGE|DIRECTORY",
    "Build a finished image again from the record it carries, in a store of its own, and compare byte for byte.",
    (
        Flag(
            ("context",), "context", "where the files of packages and the sources of `files` are, by any names", "DIR"
        ),
        Flag(("cache",), "cache", "a cache to take what was fetched from (environment: LKBUILD_CACHE)", "DIR"),
        Flag(("images",), "images", "an image layout or archive to look into first; can be repeated", "PATH"),
        Flag(("keep",), "keep", "write what is built here", "DIR"),
        Flag(("offline",), "offline", "ask no network", bare="yes"),
        Flag(("json",), "json", "lines of JSON", bare="yes"),
        Flag(("quiet", "q"), "quiet", "say only what is wrong", bare="yes"),
    ),
    work,
    ("cache", "images", "context"),
)
