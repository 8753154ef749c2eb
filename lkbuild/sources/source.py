"""What a place images come from answers, and the walk from a reference to one platform's image that all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lkbuild.contents.attestation import PREDICATE
from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.oci.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_CONFIG,
    MAX_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    choose,
    parse_manifest,
)
from lkbuild.oci.referrers import Referrer
from lkbuild.reference import Reference

MAX_DEPTH = 4
"""How deep indexes may be nested."""
MAX_ENTRIES = 1000
"""How many manifests one reference may lead to."""

_ATTESTATION_TYPE = "vnd.docker.reference.type"
_ATTESTED = "vnd.docker.reference.digest"
_PREDICATE = "in-toto.io/predicate-type"
_MAX_SBOMS = 4
"""How many SBOMs of one image are read; there is one for each stage of a build that was scanned."""

Progress = Callable[[Descriptor, int], None]
"""Called with a blob and the number of its bytes that are here by now, from the thread that fetches it."""


def quiet(descriptor: Descriptor, done: int) -> None:
    """Progress that nobody looks at."""


@frozen
class Document:
    """A manifest or an index: the raw bytes and what they are."""

    raw: bytes
    media_type: str
    digest: Digest

    @property
    def descriptor(self) -> Descriptor:
        """What points at it."""
        return Descriptor(self.media_type, self.digest, len(self.raw))


@frozen
class Image:
    """The image of one platform, found but for its layers.

    `reference` is as asked; `digest` that of the manifest; `index` that of the index the reference named, if it named
    one.  `platform` is what the config says, unknown/unknown for an attestation.  `diff_ids` go with `layers`.
    `source` says where it was found, for people and for provenance.  `sboms` are what the index has about its contents.
    """

    reference: Reference
    digest: Digest
    index: Digest | None
    media_type: str
    manifest: bytes
    config: bytes
    platform: Platform
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[Digest, ...]
    source: str
    sboms: tuple[Descriptor, ...] = ()

    @property
    def pinned(self) -> Reference:
        """The reference with the digest of what it named, the index where there was one: it finds the same again.

        NB: what a Docker daemon holds can only be found again by a digest it was pulled by, not by this one.
        """
        return self.reference if self.reference.digest else self.reference.pinned(self.index or self.digest)

    @property
    def descriptor(self) -> Descriptor:
        """What points at the manifest."""
        return Descriptor(self.media_type, self.digest, len(self.manifest), self.platform)

    @property
    def config_descriptor(self) -> Descriptor:
        """What points at the config."""
        return Manifest.parse(self.manifest, self.media_type).config


@frozen
class Images:
    """All images a reference names, one per platform, in the index's order.

    `documents` are the indexes, the root first; none where the reference names one image and no index.  Attestations
    (unknown/unknown) stand among the images where all platforms were asked for.
    """

    reference: Reference
    documents: tuple[Document, ...]
    images: tuple[Image, ...]
    source: str

    @property
    def root(self) -> Document:
        """The document the reference named."""
        if self.documents:
            return self.documents[0]
        image = self.images[0]
        return Document(image.manifest, image.media_type, image.digest)


@frozen
class Missing:
    """An image is not there: where was looked, why that is not it, and what would help."""

    where: str
    reason: str
    hint: str | None = None


class AbsentError(ImageError):
    """Raised inside a source where something is not here; `resolve` turns it into Missing."""


class Source(ABC):
    """A place images come from: a registry, an OCI layout, an archive, the Docker daemon.  Threads may share one."""

    @abstractmethod
    def describe(self) -> str:
        """What it is, for people: `registry ghcr.io`, `OCI layout ./x`."""

    @abstractmethod
    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """What `reference` names here, its digest verified.  AbsentError if nothing; ImageError if broken or denied.

        `platform` decides only where one name stands for several images, as in the Docker daemon.
        """

    @abstractmethod
    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """A manifest, index or config `reference` led to, verified.  AbsentError; ImageError beyond `limit` bytes."""

    @abstractmethod
    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """Write a blob of the image `reference` to the file `into`: exactly the bytes of `descriptor`, or ImageError.

        Size and digest are checked as they pass.  A source that can resumes from what `into` holds; after an error it
        holds a part that can be resumed, or nothing.  The caller sees to it that nobody else writes there meanwhile.
        """

    @abstractmethod
    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        """A text that changes when the answers for `references` may change, cheaply had.  Never raises."""

    def missing_blobs(self, reference: Reference, descriptors: tuple[Descriptor, ...]) -> Descriptor | None:
        """The first of an image's blobs known not to be here; None where all are, or where that is not known."""
        return None

    def where(self, reference: Reference) -> str:
        """Where `reference` is looked for; differs from `describe` where a source is many places."""
        return self.describe()

    def names(self, reference: Reference) -> tuple[str, ...]:
        """What the repository of `reference` may be called by who signs its images: itself, and its mirrors."""
        return (reference.name,)

    def tagged(self, reference: Reference, tag: str) -> Document:
        """What `tag` names in the repository of `reference`; errors as for `find`."""
        return self.find(Reference(reference.registry, reference.repository, tag), None)

    def referrers(self, reference: Reference, digest: Digest, artifact_type: str) -> tuple[Referrer, ...] | None:
        """What is known here to refer to `digest`, of that type at least; None where no such list is kept."""
        return None

    def resolve(self, reference: Reference, platform: Platform) -> Image | Missing:
        """The image `reference` names for `platform`.  ImageError: it is here, but broken, or access is denied."""
        try:
            root = document = self.find(reference, platform)
            entries: tuple[Descriptor, ...] = ()
            for _ in range(MAX_DEPTH):
                parsed = parse_manifest(document.raw, document.media_type)
                if isinstance(parsed, Manifest):
                    image = self._image(reference, document, None if document is root else root.digest)
                    image = replace(image, sboms=self._sboms(reference, entries, image.digest))
                    return self._misfit(image, platform) or image
                entries = parsed.manifests
                entry = choose(entries, platform)
                if entry is None:
                    return Missing(self.where(reference), _platforms_there(parsed.manifests, platform))
                document = self._document(reference, entry)
            raise ImageError(f"{reference}: its index is nested more than {MAX_DEPTH} deep")
        except AbsentError as absent:
            return Missing(self.where(reference), absent.message, absent.hint)

    def resolve_index(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Images | Missing:
        """Every image `reference` names, or the one for each of `platforms`.  Errors as for `resolve`."""
        where = self.where(reference)
        try:
            root = self.find(reference, platforms[0] if len(platforms) == 1 else None)
            if isinstance(parse_manifest(root.raw, root.media_type), Manifest):
                image = self._image(reference, root, None)
                misfits = [missing for platform in platforms if (missing := self._misfit(image, platform))]
                return misfits[0] if misfits else Images(reference, (), (image,), where)
            documents: list[Document] = []
            leaves = list(self._leaves(reference, root, documents, 0))
            wanted = dict.fromkeys(leaves)
            if platforms:
                chosen = [choose(leaves, platform) for platform in platforms]
                if None in chosen:
                    return Missing(where, _platforms_there(leaves, platforms[chosen.index(None)]))
                wanted = dict.fromkeys(entry for entry in chosen if entry)
            images = [self._image(reference, self._document(reference, leaf), root.digest) for leaf in wanted]
            images = [replace(each, sboms=self._sboms(reference, leaves, each.digest)) for each in images]
            return Images(reference, tuple(documents), tuple(images), where)
        except AbsentError as absent:
            return Missing(where, absent.message, absent.hint)

    def _leaves(
        self, reference: Reference, document: Document, documents: list[Document], depth: int
    ) -> Iterator[Descriptor]:
        """The manifests below an index, in order; the indexes passed on the way are added to `documents`."""
        if depth > MAX_DEPTH or len(documents) > MAX_ENTRIES:
            raise ImageError(f"{reference}: its index is nested more than {MAX_DEPTH} deep, or has too many indexes")
        documents.append(document)
        entries = Index.parse(document.raw, document.media_type).manifests
        if len(entries) > MAX_ENTRIES:
            raise ImageError(
                f"{reference}: its index has {len(entries)} entries, and {MAX_ENTRIES} is the most that is read"
            )
        for entry in entries:
            if entry.media_type in INDEX_TYPES:
                yield from self._leaves(reference, self._document(reference, entry), documents, depth + 1)
            elif entry.media_type in MANIFEST_TYPES:
                yield entry

    def _sboms(self, reference: Reference, entries: Iterable[Descriptor], image: Digest) -> tuple[Descriptor, ...]:
        """What an index has about the contents of `image`, as BuildKit attaches it; nothing where it is not here.

        https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
        """
        for entry in entries:
            if entry.annotation(_ATTESTATION_TYPE) != "attestation-manifest" or entry.media_type not in MANIFEST_TYPES:
                continue
            if entry.annotation(_ATTESTED) == str(image):
                try:
                    manifest = Manifest.parse(self._document(reference, entry).raw, entry.media_type)
                except AbsentError:
                    return ()
                found = tuple(layer for layer in manifest.layers if layer.annotation(_PREDICATE) == PREDICATE)
                return found[:_MAX_SBOMS] if self.missing_blobs(reference, found) is None else ()
        return ()

    def _document(self, reference: Reference, descriptor: Descriptor) -> Document:
        return Document(self.read(reference, descriptor, MAX_MANIFEST), descriptor.media_type, descriptor.digest)

    def _image(self, reference: Reference, document: Document, index: Digest | None) -> Image:
        """The image a manifest describes: its config is read, its layers are looked for where that costs nothing."""
        manifest = Manifest.parse(document.raw, document.media_type)
        absent = self.missing_blobs(reference, (manifest.config, *manifest.layers))
        if absent:
            raise AbsentError(f"has its manifest, but not the blob {absent.digest}")
        raw = self.read(reference, manifest.config, MAX_CONFIG)
        config = ImageConfig.from_config(raw)
        if len(config.diff_ids) != len(manifest.layers) and not config.platform.unknown:
            counts = f"{len(manifest.layers)} layers, its config {len(config.diff_ids)} diff_ids"
            raise ImageError(
                f"{reference}: its manifest has {counts}",
                "is this reference a container image? build it again, or use another",
            )
        return Image(
            reference=reference,
            digest=document.digest,
            index=index,
            media_type=manifest.media_type,
            manifest=document.raw,
            config=raw,
            platform=config.platform,
            layers=manifest.layers,
            diff_ids=config.diff_ids,
            source=self.where(reference),
        )

    def _misfit(self, image: Image, platform: Platform) -> Missing | None:
        """Why an image that was not chosen from an index does not serve `platform`, None where it does.

        NB: variants are not compared: many configs do not tell theirs; and a config without a platform is taken.
        """
        wanted, there = platform.canonical, image.platform.canonical
        if there.unknown or (wanted.os, wanted.architecture) == (there.os, there.architecture):
            return None
        return Missing(self.where(image.reference), f"is an image for {image.platform}, not for {platform}")


def _platforms_there(entries: Iterable[Descriptor], platform: Platform) -> str:
    known = sorted({str(entry.platform) for entry in entries if entry.platform and not entry.platform.unknown})
    return f"has no image for {platform}, only for {', '.join(known) or 'no platform that is named'}"
