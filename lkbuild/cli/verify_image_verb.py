"""`lkbuild verify-image`: whether images are signed by whom they should be."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.cli.project import registry
from lkbuild.cli.signing import TELL_FLAGS, VERIFY_FLAGS, all_of, reference, trusted
from lkbuild.engine.events import Told
from lkbuild.engine.project import Show
from lkbuild.engine.signing import verify_image
from lkbuild.errors import UsageError
from lkbuild.sources import open_path


def work(given: Given, show: Show) -> int:
    """Verify every image named, in its registry or in a layout."""
    images = all_of(given, "images")
    if not given.names:
        raise UsageError("no image is named", "for files: lkbuild verify")
    if len(images) > 1:
        raise UsageError("--images names one layout or archive here", "say it once")
    with trusted(given) as whom, tempfile.TemporaryDirectory() as scratch:
        source = open_path(Path(images[0]), Path(scratch)) if images else registry()
        for name in given.names:
            show(Told(verify_image(source, reference(name), whom)))
    return 0


command = Command(
    "lkbuild verify-image --key FILE IMAGE [IMAGE ...]",
    "Verify that images are signed: in their registries, by the referrers API, the referrers tag or the .sig tag.",
    (
        *VERIFY_FLAGS,
        Flag(("images",), "images", "a layout or archive to look into, in place of registries", "PATH"),
        *TELL_FLAGS,
    ),
    work,
)
