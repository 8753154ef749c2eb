"""OCI image layouts (image-spec image-layout.md), in a directory or in a tar; LinuxKit's cache is one of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lkbuild.digest import CHUNK, Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_MANIFEST,
    REF_NAME,
    Descriptor,
    Index,
    Platform,
    choose,
    parse_manifest,
)
from lkbuild.oci.referrers import Artifact, Referrer
from lkbuild.reference import Reference
from lkbuild.sources.source import MAX_DEPTH, AbsentError, Document, Progress, Source, quiet
from lkbuild.sources.tree import Tree, read
from lkbuild.sources.verify import Check, checked, digest_like, discard

CONTAINERD_NAME = "io.containerd.image.name"
"""Where containerd and Docker >= 25 write the full name, and in org.opencontainers.image.ref.name but the tag."""
MAX_NESTED = 200
"""How many nested indexes are searched for one image."""


class Layout(Source):
    """The images of an OCI layout.  `kind` is for messages; `any_name` takes them for whatever is asked."""

    def __init__(self, tree: Tree, kind: str = "OCI layout", any_name: bool = False) -> None:
        self._tree = tree
        self._kind = kind
        self._any_name = any_name
        self._parsed: tuple[bytes, Index] | None = None

    def describe(self) -> str:
        """See Source."""
        return f"{self._kind} {self._tree.path}"

    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        """See Source."""
        return f"{self._kind} {self._tree.stamp()}"

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """See Source.  A digest is found under whatever name it has, for it says all."""
        if reference.digest:
            return self._by_digest(reference, reference.digest)
        entries = list(self._named(reference))
        if not entries:
            raise AbsentError(*self._why_not(reference))
        entry = (choose(entries, platform) if platform else None) or entries[-1]
        return Document(self.read(reference, entry, MAX_MANIFEST), entry.media_type, entry.digest)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """See Source."""
        name = _blob(descriptor.digest)
        if self._tree.size(name) is None:
            raise AbsentError(f"names {descriptor.digest}, but does not hold it")
        return checked(read(self._tree, name, limit), descriptor, f"{self._tree.path}: {name}")

    def missing_blobs(self, reference: Reference, descriptors: tuple[Descriptor, ...]) -> Descriptor | None:
        """See Source.  LinuxKit's cache holds the index of all platforms, but the blobs only of those it pulled."""
        return next((d for d in descriptors if self._tree.size(_blob(d.digest)) is None), None)

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """See Source."""
        name = _blob(descriptor.digest)
        if self._tree.size(name) is None:
            raise AbsentError(f"{self.describe()} does not hold the blob {descriptor.digest} of {reference}")
        copy_blob(self._tree, name, descriptor, into, progress)

    def tagged(self, reference: Reference, tag: str) -> Document:
        """See Source.  A bare tag counts too: one that is asked for here says by itself of which image it is."""
        for entry in self._index().manifests:
            if (name := _name(entry)) == tag or same_name(name, replace(reference, tag=tag)):
                return Document(self.read(reference, entry, MAX_MANIFEST), entry.media_type, entry.digest)
        raise AbsentError("holds nothing of this name")

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str) -> tuple[Referrer, ...] | None:
        """See Source: every manifest in index.json that says what it refers to is looked at."""
        found = []
        for entry in self._index().manifests[:MAX_NESTED]:
            if entry.media_type in MANIFEST_TYPES and self._tree.size(_blob(entry.digest)) is not None:
                artifact = Artifact.parse(self.read(reference, entry, MAX_MANIFEST))
                if artifact.subject == digest and artifact.artifact_type == artifact_type:
                    found.append(Referrer(entry, artifact.artifact_type))
        return tuple(found)

    def pieces(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob's bytes, checked as they pass: WrongBytesError at the end at the latest; ImageError without it."""
        return blob_pieces(self._tree, _blob(descriptor.digest), descriptor)

    def images(self) -> tuple[Descriptor, ...]:
        """What index.json lists, of whatever name, but for what is no image."""
        return tuple(each for each in self._index().manifests if each.media_type in INDEX_TYPES | MANIFEST_TYPES)

    def image_names(self) -> tuple[str, ...]:
        """What the images here are called, for messages."""
        return tuple(dict.fromkeys(name for entry in self._index().manifests if (name := _name(entry))))

    def _index(self) -> Index:
        raw = read(self._tree, "index.json", MAX_MANIFEST)
        if self._parsed is None or self._parsed[0] != raw:
            self._parsed = raw, Index.parse(raw)
        return self._parsed[1]

    def _entries(self) -> Iterator[Descriptor]:
        """The entries of index.json, then those of the indexes they lead to."""
        level, seen = list(self._index().manifests), 0
        for _ in range(MAX_DEPTH):
            yield from level
            below: list[Descriptor] = []
            for entry in level:
                if entry.media_type in INDEX_TYPES and seen < MAX_NESTED and self._tree.size(_blob(entry.digest)):
                    seen += 1
                    raw = checked(read(self._tree, _blob(entry.digest), MAX_MANIFEST), entry, self.describe())
                    below.extend(Index.parse(raw, entry.media_type).manifests)
            level = below

    def _named(self, reference: Reference) -> Iterator[Descriptor]:
        """The entries that are called as `reference` is, whose full name counts before a bare tag."""
        top = list(self.images())
        found = top if self._any_name else [entry for entry in top if same_name(_name(entry), reference)]
        found = found or [entry for entry in top if self._tagged(entry, reference)]
        found = found or [entry for entry in self._entries() if same_name(_name(entry), reference)]
        yield from found

    def _tagged(self, entry: Descriptor, reference: Reference) -> bool:
        """Whether an entry with a bare tag is meant: a tag alone would be any image's, so the layout's name decides."""
        return _name(entry) == reference.tag and _stem(self._tree.path) == reference.repository.rpartition("/")[2]

    def _by_digest(self, reference: Reference, digest: Digest) -> Document:
        for entry in self._entries():
            if entry.digest == digest:
                return Document(self.read(reference, entry, MAX_MANIFEST), entry.media_type, digest)
        if self._tree.size(_blob(digest)) is None:
            raise AbsentError("holds nothing of this digest")
        raw = read(self._tree, _blob(digest), MAX_MANIFEST)
        if digest_like(raw, digest) != digest:
            raise ImageError(f"{self.describe()}: got {digest_like(raw, digest)}, want {digest} after {len(raw)} bytes")
        return Document(raw, parse_manifest(raw).media_type, digest)

    def _why_not(self, reference: Reference) -> tuple[str, str | None]:
        names = self.image_names()
        if not names:
            hint = f"name the image in it: `skopeo copy oci:DIR oci:NEW:{reference}`"
            return "its images have no names (no org.opencontainers.image.ref.name in its index.json)", hint
        if reference.tag in names:
            repository = reference.repository.rpartition("/")[2]
            naming = f"`skopeo copy oci:DIR:{reference.tag} oci:NEW:{reference}`"
            hint = f"call the layout {repository!r}, or name the image in full: {naming}"
            return f"has an image with the bare tag {reference.tag!r}, which does not say of which repository", hint
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"holds no image of this name, only {', '.join(names[:5])}{more}", None


def blob_pieces(tree: Tree, name: str, descriptor: Descriptor) -> Iterator[bytes]:
    """The bytes of a file of a tree, checked as they pass: WrongBytesError at the end at the latest."""
    check = Check(descriptor, f"{tree.path}: {name}")
    with tree.open(name) as source:
        while data := source.read(CHUNK):
            check.update(data)
            yield data
    check.finish()


def copy_blob(tree: Tree, name: str, descriptor: Descriptor, into: Path, progress: Progress) -> None:
    """Copy a file of a tree to `into`, checked; on failure nothing is left there."""
    done = 0
    try:
        with into.open("wb") as target:
            for data in blob_pieces(tree, name, descriptor):
                target.write(data)
                done += len(data)
                progress(descriptor, done)
    except OSError as error:
        discard(into)
        raise ImageError(f"copying {descriptor.digest} from {tree.path} to {into}: {error.strerror}") from error
    except BaseException:
        discard(into)
        raise


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _name(entry: Descriptor) -> str | None:
    return entry.annotation(CONTAINERD_NAME) or entry.annotation(REF_NAME)


def same_name(name: str | None, reference: Reference) -> bool:
    """Whether a name in a layout or an archive, full or short, is that of `reference`.

    A name without `/` and `:` is a bare tag rather than a repository of Docker Hub: that is what skopeo writes.
    """
    if not name or not ("/" in name or ":" in name):
        return False
    spelt = _spelt(name)
    return spelt is not None and (spelt.name, spelt.tag) == (reference.name, reference.tag)


@functools.lru_cache(1 << 14)
def _spelt(name: str) -> Reference | None:
    """The reference a name spells, None where it spells none; each name is asked for once per image of a build."""
    try:
        return Reference.parse(name)
    except ValueError:
        return None


def _stem(path: Path) -> str:
    name = path.absolute().name
    for suffix in (".gz", ".tgz", ".tar"):
        name = name.removesuffix(suffix)
    return name
