"""What a spec must fulfil beyond the types of its fields.  Every check notes its problems and goes on."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from lkbuild.reference import Reference
from lkbuild.spec.check_container import check_container
from lkbuild.spec.checks import Checks
from lkbuild.spec.decode import Report
from lkbuild.spec.model import File, Spec

_VOLUME_NAME = re.compile(r"[a-z0-9_-]+")
_CONTENTS = ("directory", "symlink", "contents", "source", "metadata")


def check(spec: Spec, report: Report) -> None:
    """Note in `report` what is wrong with a spec that decoded, wholly or in part; sources of files are looked for."""
    checks = Checks(spec, report)
    _volumes(checks)
    for section, containers in (
        ("onboot", spec.onboot),
        ("onshutdown", spec.onshutdown),
        ("services", spec.services),
    ):
        for number, container in enumerate(containers):
            check_container(checks, (section, number), container)
    checks.unique("services", (service.name for service in spec.services), "service")
    for number, file in enumerate(spec.files):
        _file(checks, number, file)
    _trust(checks)


def _volumes(checks: Checks) -> None:
    for number, volume in enumerate(checks.spec.volumes):
        if ("volumes", number, "name") in checks.report.faulty:
            continue
        if not _VOLUME_NAME.fullmatch(volume.name):
            message = f"{volume.name!r} is no volume name (wanted letters a-z, digits, _ and -)"
            checks.problem(("volumes", number, "name"), message)
    checks.unique("volumes", (volume.name for volume in checks.spec.volumes), "volume")


def _file(checks: Checks, number: int, file: File) -> None:
    path = ("files", number)
    decoded = path not in checks.report.faulty
    checks.identity((*path, "uid"), file.uid)
    checks.identity((*path, "gid"), file.gid)
    if not decoded:
        return
    given = [key for key in _CONTENTS if getattr(file, key) is not None and getattr(file, key) is not False]
    given.sort(key=lambda key: checks.spec.origin(*path, key))
    if not given:
        hint = f"give one of {', '.join(_CONTENTS)}"
        checks.problem(path, f"file {file.path!r} has no contents", hint)
    elif len(given) > 1:
        message = f"file {file.path!r} has {' and '.join(given)}, which exclude each other"
        checks.problem((*path, given[1]), message, f"keep one of {', '.join(given)}")
    elif file.source is not None:
        _source(checks, number, file.source, file.optional)


def _source(checks: Checks, number: int, source: str, optional: bool) -> None:
    path = ("files", number, "source")
    try:
        mode = Path(source).stat().st_mode
    except OSError as error:
        if not optional:
            hint = "a source is relative to the spec that names it; optional: true leaves out what is missing"
            checks.problem(path, f"cannot read source {source!r}: {error.strerror}", hint)
        return
    if not stat.S_ISREG(mode):
        checks.problem(path, f"source {source!r} is no regular file")
    elif not os.access(source, os.R_OK):
        checks.problem(path, f"cannot read source {source!r}: permission denied")


def _trust(checks: Checks) -> None:
    """NB: whether the keys can be read is seen when they are: who builds with trust=ignore need not have them."""
    trust = checks.spec.trust
    for number, text in enumerate(trust.image):
        checks.attempt(("trust", "image", number), Reference.parse, text)
    for number, org in enumerate(trust.org):
        if not org.strip("/"):
            checks.problem(("trust", "org", number), f"trust.org: {org!r} names no organisation")
    says_whom = [key for key in ("keys", "identities") if getattr(trust, key)]
    if says_whom and not trust.image and not trust.org:
        message = f"trust.{says_whom[0]} says who must have signed, but nothing says what"
        checks.problem(
            ("trust", says_whom[0]), message, "name images with trust.image, or organisations with trust.org"
        )
    if trust.root and not trust.identities:
        checks.problem(("trust", "root"), "trust.root is for keyless signers, and trust.identities names none")
