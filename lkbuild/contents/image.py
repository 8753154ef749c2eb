"""What is in an image, of the files that tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lkbuild.contents import apk, dpkg, os_release
from lkbuild.contents.model import MAX_PACKAGES, Component, Contents, merged
from lkbuild.contents.purl import Distribution
from lkbuild.digest import Digest

Parser = Callable[[bytes, Distribution], tuple[list[Component], list[str]]]
Account = tuple[str, list[Component], list[str]]
"""Where packages are known from, which there are, and what is wrong with it."""

NAMES = (*os_release.PATHS, dpkg.STATUS, *apk.DATABASES)
DIRECTORIES = (dpkg.STATUS_DIRECTORY,)
RPM = tuple(
    f"{place}/{name}"
    for place in ("var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm")
    for name in ("Packages", "Packages.db", "rpmdb.sqlite")
)
"""rpm's database in its forms, which are not read: they need a library each."""
RPM_NOTE = "its rpm database is not read"


def distribution(files: Mapping[str, bytes | None]) -> Distribution:
    """Whose packages these are."""
    texts = (files.get(path) for path in os_release.PATHS)
    return next((os_release.parse(text) for text in texts if text), Distribution())


def databases(files: Mapping[str, bytes | None]) -> list[Account]:
    """An account for each package database among the files of an image (None: one too large to be read)."""
    where, found = distribution(files), list[Account]()
    records = {path: data for path, data in files.items() if path.startswith(f"{dpkg.STATUS_DIRECTORY}/")}
    # NB: distroless images have the packages' lists of files beside their records.
    records = {path: data for path, data in records.items() if not path.endswith(".md5sums")}
    joined = None if None in records.values() else b"\n\n".join(data for data in records.values() if data)
    known: list[tuple[str, Parser, bool, bytes | None]] = [
        ("dpkg", dpkg.parse, dpkg.STATUS in files, files.get(dpkg.STATUS)),
        ("dpkg status.d", dpkg.parse, bool(records), joined),
        *(("apk", apk.parse, path in files, files.get(path)) for path in apk.DATABASES),
    ]
    for name, parse, there, data in known:
        if there and data is None:
            found.append((name, [], [f"the {name} database is too large to be believed, and not read"]))
        elif data:
            found.append((name, *parse(data, where)))
    return found


def contents(layers: Iterable[Digest], accounts: Iterable[Account], notes: Iterable[str] = ()) -> Contents:
    """The contents of an image of these accounts, the most reliable first, and what else is to be said of it."""
    accounts = tuple(accounts)
    packages = merged(*(tuple(packages) for _, packages, _ in accounts))
    said = [*notes, *(note for _, _, wrong in accounts for note in wrong)]
    if len(packages) > MAX_PACKAGES:
        said.append(f"it has more than {MAX_PACKAGES} packages, and no more are listed")
    sources = dict.fromkeys(name for name, packages, _ in accounts if packages)
    return Contents(tuple(layers), tuple(sources), packages[:MAX_PACKAGES], tuple(dict.fromkeys(said)))
