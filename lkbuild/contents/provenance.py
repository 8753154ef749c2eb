"""Where outputs come from: an in-toto statement (v1) with SLSA's provenance (v1) as its predicate.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance.  No time
and nothing of the machine that builds is in it: two builds of the same write the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lkbuild.contents.bill import Listed
from lkbuild.contents.model import DEBIAN
from lkbuild.digest import Digest
from lkbuild.frozen import frozen

BUILD_TYPE = "urn:x-lkbuild:build:v1"
"""What externalParameters and the rest mean; docs/sbom.md says it."""
BUILDER = "urn:x-lkbuild:builder:local"
"""Whoever called lkbuild, on a machine nothing is known of."""
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


@frozen
class Made:
    """What was asked for, and by what it was made.

    `spec`: its name and the digest of its canonical form; `lock`: that of the lock file; `files`: local files by what
    they are called; `kinds`: the version of each kind of step; `version`: lkbuild's.
    """

    spec: tuple[str, Digest]
    lock: Digest | None
    files: tuple[tuple[str, Digest], ...]
    formats: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    kinds: tuple[tuple[str, int], ...]
    version: str


def statement(subjects: Mapping[str, Digest], made: Made, images: Iterable[Listed]) -> bytes:
    """The statement about the outputs `subjects` (by file name), in UTF-8 with a newline at its end."""
    name, digest = made.spec
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": _digest(subjects[subject])} for subject in sorted(subjects)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "spec": {"name": name, "digest": _digest(digest)},
                    "formats": list(made.formats),
                    "options": dict(made.options),
                },
                "internalParameters": {"kinds": dict(made.kinds)},
                "resolvedDependencies": list(_dependencies(made, images)),
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"lkbuild": made.version}}},
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n"


def _dependencies(made: Made, images: Iterable[Listed]) -> Iterator[dict[str, Any]]:
    """Resource descriptors (in-toto, resource_descriptor.md): images, Debian packages, the lock and files."""
    debian: dict[tuple[str, str], dict[str, Any]] = {}
    for image in images:
        title = image.used.image
        annotations: dict[str, Any] = {"places": list(image.used.places)}
        if title.index is not None:
            annotations["index"] = str(title.index)
        yield {
            "name": title.reference or title.name,
            **({"uri": image.purl} if image.purl else {}),
            "digest": _digest(image.digest),
            "annotations": annotations,
        }
        if DEBIAN in image.contents.sources:
            for package in image.contents.packages:
                if package.type == "deb" and package.digest:
                    debian[package.purl, package.digest] = {
                        "name": package.name,
                        "uri": package.purl,
                        "digest": _digest(Digest.parse(package.digest)),
                    }
    yield from (debian[key] for key in sorted(debian))
    if made.lock is not None:
        yield {"name": "lock", "digest": _digest(made.lock)}
    yield from ({"name": name, "digest": _digest(digest)} for name, digest in sorted(set(made.files)))


def _digest(digest: Digest) -> dict[str, str]:
    return {digest.algorithm: digest.hex}
