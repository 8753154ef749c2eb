"""`lkbuild sign`: sign images in registries, and files, with a key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.cli.signing import TELL_FLAGS, all_of, private_key, reference
from lkbuild.engine.events import Told
from lkbuild.engine.project import Show
from lkbuild.engine.signing import Forms, sign_file, sign_image
from lkbuild.errors import ImageError, UsageError
from lkbuild.reference import DOCKER_HUB


def work(given: Given, show: Show) -> int:
    """Sign everything named: a file where there is one of that name, else an image."""
    form = (all_of(given, "form") or ("both",))[-1]
    if form not in ("classic", "bundle", "both"):
        raise UsageError(f"--form {form} is none", "say classic, bundle or both")
    if not given.names:
        raise UsageError("nothing is named that could be signed", "name images or files")
    things = [Path(name) if Path(name).is_file() else reference(name) for name in given.names]
    key = private_key(given)
    for thing in things:
        if isinstance(thing, Path):
            for path in sign_file(thing, key, cast(Forms, form)):
                show(Told(f"wrote {path}"))
            continue
        from lkbuild.sources import registry_options
        from lkbuild.sources.registry import home

        registry = home(registry_options(os.environ))
        try:
            for line in sign_image(registry, thing, key, cast(Forms, form)):
                show(Told(line))
        except ImageError as error:
            # A file's name that is wrong is mostly read as one of Docker Hub's.
            taken = "; there is no such file, so it was taken for an image's name"
            raise ImageError(error.message + taken * (thing.registry == DOCKER_HUB), error.hint) from error
        finally:
            registry.close()
    return 0


command = Command(
    "lkbuild sign --key FILE IMAGE|FILE [IMAGE|FILE ...]",
    "Sign images in their registries, or files: FILE.sig and FILE.sigstore.json are written beside each.",
    (
        Flag(("key",), "key", "the private key, PEM, encrypted or not (LKBUILD_KEY_PASSWORD), or cosign's", "FILE"),
        Flag(("form",), "form", "classic (.sig), bundle (cosign 3), or both, as where nothing is said", "FORM"),
        *TELL_FLAGS,
    ),
    work,
)
