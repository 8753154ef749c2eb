"""`lkbuild verify`: whether files are signed by whom they should be."""

from __future__ import annotations

from pathlib import Path

from lkbuild.cli.flags import Command, Flag, Given
from lkbuild.cli.signing import TELL_FLAGS, VERIFY_FLAGS, all_of, trusted
from lkbuild.engine.events import Told
from lkbuild.engine.project import Show
from lkbuild.engine.signing import verify_file
from lkbuild.errors import UsageError


def work(given: Given, show: Show) -> int:
    """Verify every file named, by the signatures beside it or those named."""
    beside = tuple(map(Path, all_of(given, "signature")))
    if not given.names:
        raise UsageError("no file is named", "for images: lkbuild verify-image")
    if beside and len(given.names) > 1:
        raise UsageError(f"--signature is for one file, and {len(given.names)} are named", "name one")
    with trusted(given) as whom:
        for name in given.names:
            for line in verify_file(Path(name), beside, whom):
                show(Told(line))
    return 0


command = Command(
    "lkbuild verify --key FILE FILE [FILE ...]",
    "Verify the detached signatures of files; all that are there (FILE.sig, FILE.sigstore.json) must hold.",
    (
        *VERIFY_FLAGS,
        Flag(("signature",), "signature", "the signature or bundle, where it is not beside the file", "FILE"),
        *TELL_FLAGS,
    ),
    work,
)
