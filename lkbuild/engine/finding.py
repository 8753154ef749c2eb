"""Where images and packages are found: `images=` first, then the Docker daemon, then the store, then the registry."""

from __future__ import annotations

import threading
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.events import Listener, Told
from lkbuild.engine.memory import Memory, debian_key, image_key, images_key
from lkbuild.engine.options import Pull
from lkbuild.engine.stamp import Signature
from lkbuild.errors import ImageError, TrustError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Descriptor, Platform
from lkbuild.packages.debian import Deb, DebianRequest
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Image, Images, Missing, Source, not_found, search, search_index
from lkbuild.sources.debian import Apt
from lkbuild.store import Blob, Store

Platforms = tuple[Platform, ...]
Record = tuple[Path, Signature]
"""A file of the store and its signature."""
_ONLINE = "build once without offline=yes / pull=never"


@frozen
class Sources:
    """The places to look in: `local` ones in order, and the registry, which pull=never leaves out."""

    local: tuple[Source, ...]
    registry: Source
    apt: Apt
    pull: Pull


class Finder:
    """Finds each image once and remembers what the registry said, in the store.  Threads may share one."""

    def __init__(self, store: Store, sources: Sources, platform: Platform, listen: Listener) -> None:
        self.store = store
        self.sources = sources
        self.platform = platform
        self.listen = listen
        self.memory = Memory(store)
        self._found: dict[Reference, Source] = {}
        self._guard = threading.Lock()

    def image(self, reference: Reference) -> Image:
        """The image, its layers not fetched; ImageError says where was looked and how to get it."""
        found, looked = search(self.sources.local, reference, self.platform)
        if found is not None:
            self._note(reference, found.source)
            return found.image
        return self._from_registry(reference, looked)

    def at_hand(self, reference: Reference) -> Image | None:
        """The image where nobody need be asked over a socket; None where somebody must.  ImageError if it is broken."""
        near = tuple(source for source in self.sources.local if not isinstance(source, Daemon))
        found, _ = search(near, reference, self.platform)
        if found is not None:
            self._note(reference, found.source)
            return found.image
        if len(near) < len(self.sources.local):
            return None  # the daemon, which is the last of them, is asked before anything that is remembered
        remembered = self._recall(image_key(reference, self.platform), reference)
        return None if remembered is None else remembered.images[0]

    def _from_registry(self, reference: Reference, looked: tuple[Missing, ...] = ()) -> Image:
        """The image as the store remembers it, else as the registry has it."""
        key = image_key(reference, self.platform)
        remembered = self._recall(key, reference)
        if remembered is not None:
            return remembered.images[0]
        found, more = search(self._asked(reference, looked), reference, self.platform)
        if found is None:
            raise not_found(reference, self.platform, (*looked, *more))
        self.memory.keep_images(key, Images(reference, (), (found.image,), found.image.source))
        return found.image

    def every_platform(self, reference: Reference, platforms: Platforms) -> Images:
        """All images the reference names, or those of `platforms`; errors as for `image`."""
        found, looked = search_index(self.sources.local, reference, platforms)
        if found is not None:
            self._note(reference, found.source)
            return found.images
        key = images_key(reference, platforms)
        remembered = self._recall(key, reference)
        if remembered is not None:
            return remembered
        found, more = search_index(self._asked(reference, looked), reference, platforms)
        if found is None:
            raise not_found(reference, None, (*looked, *more))
        self.memory.keep_images(key, found.images)
        return found.images

    def verifiable(self, reference: Reference, image: Image) -> tuple[Reference, Image]:
        """The image as signatures are about it, and the reference to fetch it by.

        What a Docker daemon holds is a copy that no signature is about.  In its place the registry's is taken, by the
        digest the daemon pulled it by, if both have the same config; ImageError where there is none such.
        """
        source = self._found.get(reference)
        if not isinstance(source, Daemon):
            return reference, image
        digests = source.pulled_as(reference)
        for digest in digests:
            pinned = reference.pinned(digest)
            theirs = self._from_registry(pinned)
            if theirs.config == image.config:
                return pinned, theirs
        found = "is another image than the registry's" if digests else "was neither pulled from a registry nor pushed"
        raise TrustError(
            f"{reference} must be verified, and the one in the Docker daemon {found}: no signature is about it",
            "push it and sign it there (`lkbuild sign`), or build without docker=yes",
        )

    def signed_at(self, reference: Reference) -> Source:
        """Where an image's signatures are: where it was found, else at the registry; ImageError where that is off."""
        source = self._found.get(reference)
        if source is not None and not isinstance(source, Daemon):
            return source
        if self.sources.pull == "never":
            raise TrustError(
                f"the signature of {reference} was never verified by what the spec says now, and this build is offline",
                f"{_ONLINE}, or name a layout that holds image and signature with images=PATH",
            )
        return self.sources.registry

    def image_records(self, reference: Reference) -> tuple[Record, ...]:
        """What of the store says which image a tag means, for the stamp; nothing where it was found locally."""
        return self._records(reference, image_key(reference, self.platform))

    def every_platform_records(self, reference: Reference, platforms: Platforms) -> tuple[Record, ...]:
        """The same for `every_platform`."""
        return self._records(reference, images_key(reference, platforms))

    def debian_records(self, request: DebianRequest) -> tuple[Record, ...]:
        """The same for `debs`."""
        return (self.memory.record(debian_key(request)),)

    def source_of(self, reference: Reference) -> Source:
        """Where the blobs of an image come from: where it was found, else the registry."""
        source = self._found.get(reference)
        if source is None:
            if self.sources.pull == "never":
                raise ImageError(
                    f"a layer of {reference} is not in the cache, and this build is offline",
                    f"{_ONLINE}, or name a copy of it with images=PATH",
                )
            return self.sources.registry
        return source

    def debs(self, request: DebianRequest) -> tuple[Deb, ...]:
        """The Debian packages a request means: as the store has it, else as the host's apt says now."""
        key = debian_key(request)
        renew = self.sources.pull == "always"
        remembered = None if renew else self.memory.debs(key)
        if remembered is not None:
            return remembered
        if self.sources.pull == "never":
            raise ImageError(
                f"the Debian packages {', '.join(request.packages)} were never resolved, and this build is offline",
                _ONLINE,
            )
        self.listen(Told(f"resolving Debian packages: {', '.join(request.packages)}"))
        debs = self.sources.apt.resolve(request, renew=renew, say=lambda text: self.listen(Told(text)))
        self.memory.keep_debs(key, debs)
        return debs

    def take(self, path: Path) -> Digest:
        """Copy a local file into the store, so that a step can read it whatever happens to it meanwhile."""
        blob = Blob(Digest.of_file(path), path.stat().st_size)
        if self.store.has(blob):
            return blob.digest
        with self.store.scratch() as directory:
            copy = directory / "file"
            with path.open("rb") as source, copy.open("wb") as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
            return self.store.add_file(copy).digest

    def _note(self, reference: Reference, source: Source) -> None:
        with self._guard:
            self._found[reference] = source

    def _recall(self, key: Digest, reference: Reference) -> Images | None:
        return None if self.sources.pull == "always" else self.memory.images(key, reference)

    def _asked(self, reference: Reference, looked: tuple[Missing, ...]) -> tuple[Source, ...]:
        """The registry; ImageError where this build asks no network."""
        if self.sources.pull != "never":
            return (self.sources.registry,)
        hint = f"{_ONLINE}, or name a copy of it with images=PATH"
        offline = Missing("the network", "not asked: this build is offline", hint)
        raise not_found(reference, self.platform, (*looked, Missing("the cache", "not there"), offline))

    def _records(self, reference: Reference, key: Digest) -> tuple[Record, ...]:
        return () if reference in self._found else (self.memory.record(key),)


def layer_descriptor(digest: Digest, size: int) -> Descriptor:
    """A descriptor to fetch a layer by; its media type does not matter, what is in it is told by its first bytes."""
    return Descriptor("application/octet-stream", digest, size)
