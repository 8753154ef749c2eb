"""The lock file: what the tags and Debian packages of a spec meant when it was written, so that they mean it again.

`nginx.yml` has `nginx.lock` beside it.  It is JSON, sorted, one entry a line, so that a diff shows what moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lkbuild.digest import Digest, identity, plain
from lkbuild.errors import Origin, Problem, SpecError
from lkbuild.frozen import frozen
from lkbuild.packages.debian import Deb, DebianRequest
from lkbuild.reference import Reference
from lkbuild.spec.model import ImageName, Spec

VERSION = 1
MAX_BYTES = 16 << 20


@frozen
class Lock:
    """`images`: reference to digest, the index's where there is one; `debian`: a request's identity to what it gave."""

    images: tuple[tuple[str, Digest], ...] = ()
    debian: tuple[tuple[Digest, tuple[Deb, ...]], ...] = ()

    def pinned(self, reference: Reference) -> Reference:
        """The reference with its digest, if the lock has one and the spec none."""
        digest = dict(self.images).get(str(reference))
        return reference if digest is None or reference.digest is not None else reference.pinned(digest)

    def debs(self, request: DebianRequest) -> tuple[Deb, ...] | None:
        """What the request gave, None where the lock does not say."""
        return dict(self.debian).get(identity(request))

    def encode(self) -> str:
        """The lock file's text."""
        images = {name: str(digest) for name, digest in sorted(self.images)}
        debian = {str(key): [plain(deb) for deb in debs] for key, debs in sorted(self.debian)}
        document = {"lkbuild-lock": VERSION, "images": images, "debian": debian}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


def lock_path(spec: Path) -> Path:
    """Where the lock of a spec file lies."""
    return spec.with_suffix(".lock")


def read_lock(path: Path) -> Lock | None:
    """The lock file `path`, None where there is none; SpecError, with what to do, where it is not to be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"not a lock file: larger than {MAX_BYTES >> 20} MiB")
        text = data.decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise SpecError([Problem(Origin(str(path)), f"not UTF-8 at byte {error.start}", _HINT)]) from error
    except OSError as error:
        raise SpecError([Problem(Origin(str(path)), f"cannot be read: {error.strerror}", _HINT)]) from error
    except ValueError as error:
        raise SpecError([Problem(Origin(str(path)), str(error), _HINT)]) from error
    return parse_lock(text, path)


def parse_lock(text: str, path: Path) -> Lock:
    """The lock in `text`; SpecError, with what to do, where it is none."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError(f"a map was wanted, found {text.strip()!r:.20}")
        if document["lkbuild-lock"] != VERSION:
            raise ValueError(f"version {document['lkbuild-lock']!r:.20} of the format, wanted {VERSION}")
        images = tuple((str(Reference.parse(n)), Digest.parse(d)) for n, d in sorted(document["images"].items()))
        debian = tuple(
            (Digest.parse(key), tuple(map(read_deb, items))) for key, items in sorted(document["debian"].items())
        )
    except json.JSONDecodeError as error:
        problem = Problem(Origin(str(path), error.lineno, error.colno), f"not JSON: {error.msg}", _HINT)
        raise SpecError([problem]) from error
    except KeyError as error:
        raise SpecError([Problem(Origin(str(path)), f"not a lock file: the key {error} is missing", _HINT)]) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SpecError([Problem(Origin(str(path)), f"not a lock file: {error}", _HINT)]) from error
    return Lock(images, debian)


_HINT = "delete it, then write it anew with `doit lock`; or build without a lock"


def read_deb(item: Mapping[str, object]) -> Deb:
    """A Debian package as `digest.plain` writes it; ValueError, KeyError, TypeError or AttributeError for others."""
    texts = {name: item[name] for name in ("name", "version", "architecture", "uri")}
    size, digest = item["size"], item["digest"]
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(size, int) or size < 0:
        raise ValueError(f"not a Debian package: {item!r:.200}")
    return Deb(**{k: str(v) for k, v in texts.items()}, size=size, digest=Digest.parse(str(digest)))


def pin(spec: Spec, resolve: Callable[[Reference], Reference]) -> Spec:
    """The spec with every image reference replaced by `resolve` of it; packages stay as they are."""

    def pinned(name: ImageName) -> ImageName:
        return resolve(name) if isinstance(name, Reference) else name

    def containers(entries: Iterable[object]) -> tuple[object, ...]:
        return tuple(replace(entry, image=pinned(entry.image)) for entry in entries)  # type: ignore[type-var, attr-defined]

    return replace(
        spec,
        kernel=replace(spec.kernel, image=pinned(spec.kernel.image)) if spec.kernel else None,
        init=tuple(map(pinned, spec.init)),
        volumes=tuple(replace(v, image=pinned(v.image)) if v.image else v for v in spec.volumes),
        onboot=containers(spec.onboot),  # type: ignore[arg-type]
        onshutdown=containers(spec.onshutdown),  # type: ignore[arg-type]
        services=containers(spec.services),  # type: ignore[arg-type]
    )
