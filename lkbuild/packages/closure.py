"""Which Debian packages an image needs, of those apt would install: what is asked for, and what that depends on."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.packages.debian import Deb, DebianRequest

_URI_LINE = re.compile(r"'([^']+)' (\S+) ([0-9]+)(?: \S*)?")


@frozen
class Listed:
    """A package apt would fetch."""

    name: str
    version: str
    uri: str


def parse_uri_line(line: str) -> Listed:
    """`'URI' NAME_VERSION_ARCH.deb SIZE [HASH]`, of `apt-get --print-uris`; its names are percent-encoded."""
    match = _URI_LINE.fullmatch(line.strip())
    parts = unquote(match[2]).removesuffix(".deb").split("_") if match else []
    if match is None or len(parts) != 3:
        raise ImageError(f"apt-get printed a line that is not understood: {line[:200]!r}")
    return Listed(parts[0], parts[1], match[1])


def closure(
    request: DebianRequest, listed: tuple[Listed, ...], stanzas: Mapping[str, Mapping[str, str]]
) -> tuple[Deb, ...]:
    """What is reached from the wanted packages over Depends and Pre-Depends, but not through those left out.

    `listed` is what apt would install for the whole request, `stanzas` their records by URI; sorted by name.
    """
    records = {item.name: (item, stanzas[item.uri]) for item in listed}
    providers: dict[str, list[str]] = {}
    for name, (_, stanza) in records.items():
        for provided in (name, *_names(stanza.get("provides", ""))):
            providers.setdefault(provided, []).append(name)
    reached: set[str] = set()
    pending = [name for wanted in request.packages for name in providers.get(wanted.partition("/")[0], ())]
    while pending:
        name = pending.pop()
        if name in reached or any(fnmatch.fnmatchcase(name, pattern) for pattern in request.without):
            continue
        reached.add(name)
        stanza = records[name][1]
        for needed in _names(f"{stanza.get('depends', '')},{stanza.get('pre-depends', '')}"):
            pending.extend(providers.get(needed, ()))
    return tuple(sorted(_deb(*records[name]) for name in reached))


def _names(relations: str) -> Iterator[str]:
    """The package names of a relation field (deb-control(5)): `a (>= 1), b | c:any` is a, b, c."""
    for part in re.split(r"[,|]", relations):
        name = re.split(r"[\s(:\[<]", part.strip(), maxsplit=1)[0]
        if name:
            yield name


def _deb(item: Listed, stanza: Mapping[str, str]) -> Deb:
    try:
        digest, size = Digest.parse(f"sha256:{stanza['sha256'].lower()}"), int(stanza["size"])
    except (ValueError, KeyError) as error:
        raise ImageError(f"the lists of packages have a damaged record of {item.name}: {error}") from error
    return Deb(item.name, item.version, stanza.get("architecture", ""), digest, size, item.uri)
