"""Where a rebuild finds images, layers and Debian packages: by digest alone, in the cache before any network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.engine.doors import WayOut
from lkbuild.engine.events import Listener
from lkbuild.engine.finding import Finder, Platforms, Sources
from lkbuild.engine.memory import Memory, image_key, images_key
from lkbuild.errors import ImageError, LkbuildError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Platform
from lkbuild.packages import Deb
from lkbuild.packages.params import DockerfileBuild
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.step import step_key
from lkbuild.reference import Reference
from lkbuild.sources import Image, Images, Source, debian
from lkbuild.sources.signatures import Looked
from lkbuild.steps.work import Progress, Work
from lkbuild.store import Blob, Store
from lkbuild.trust.judge import Candidate


class PinnedFinder(Finder):
    """Finds images under the names a spec has for them and by the digests a record has: the image, or nothing.

    `cache` is a cache of other builds: what it remembers of registries is asked after `sources.local`.
    """

    def __init__(
        self, store: Store, sources: Sources, platform: Platform, listen: Listener, pins: Mapping[Reference, Digest]
    ) -> None:
        super().__init__(store, sources, platform, listen)
        self.pins = pins
        self.cache: Store | None = None
        self._unpinned: dict[Digest, Digest] = {}

    def image(self, reference: Reference) -> Image:
        """The image under its own name; ImageError where none of this digest is anywhere."""
        pinned = self.pinned(reference)
        self._unpinned[image_key(pinned, self.platform)] = image_key(reference, self.platform)
        return replace(super().image(pinned), reference=reference)

    def at_hand(self, reference: Reference) -> Image | None:
        """None: each is looked for by its digest, in several places."""
        return None

    def every_platform(self, reference: Reference, platforms: Platforms) -> Images:
        """All images of an index under its own name."""
        pinned = self.pinned(reference)
        self._unpinned[images_key(pinned, platforms)] = images_key(reference, platforms)
        return replace(super().every_platform(pinned, platforms), reference=reference)

    def source_of(self, reference: Reference) -> Source:
        """Where the image was found by its digest."""
        return super().source_of(self.pinned(reference))

    def pinned(self, reference: Reference) -> Reference:
        """The reference with the digest the record has; LkbuildError where it has none."""
        if reference.digest is not None:
            return reference
        digest = self.pins.get(reference)
        if digest is None:
            raise LkbuildError(f"the record says nothing of the image {reference}", "it was changed since it was made")
        return reference.pinned(digest)

    def _recall(self, key: Digest, reference: Reference) -> Images | None:
        if self.cache is None:
            return None
        memory = Memory(self.cache)
        for known in (key, self._unpinned.get(key, key)):
            found = memory.images(known, reference)
            if found is None:
                continue
            heads = {found.root.digest, *(image.index or image.digest for image in found.images[:1])}
            if reference.digest in heads:
                return found
        return None


@frozen
class PinnedDoors:
    """The doors of a rebuild (`steps.work.Doors`): what the cache has comes from there, checked as if it were fetched.

    `debs` are the record's, by digest.
    """

    finder: PinnedFinder
    out: WayOut
    debs: Mapping[Digest, Deb]
    architecture: str

    def fetch_layer(self, reference: Reference, blob: Blob, into: Path, progress: Progress) -> None:
        """Bring a layer to `into`."""
        if not self._cached(blob, into):
            self.out.fetch_layer(reference, blob, into, progress)

    def fetch_file(self, uri: str, blob: Blob, into: Path, progress: Progress) -> None:
        """Bring a Debian package to `into`; `uri` is the record's word for it, which names no mirror."""
        if self._cached(blob, into):
            return
        cache, deb = self.finder.cache, self.debs[blob.digest]
        looked = "no cache" if cache is None else f"the cache {cache.root}: not there"
        if self.finder.sources.pull == "never":
            raise ImageError(
                f"{_called(deb)} was not found\n  {looked}\n  this rebuild is offline", "without --offline"
            )
        try:
            found = self.finder.sources.apt.address(deb, self.architecture)
            debian.fetch(found, blob.size, blob.digest, into, progress)
        except LkbuildError as error:
            raise ImageError(
                f"{_called(deb)} was not found\n  {looked}\n  the host's apt: {error.message}",
                "archives drop old versions: name a cache that has it, or a snapshot of the archive in apt's sources",
            ) from error

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Candidate | Looked]:
        """The signatures of an image.  NB: a record asks for none, for it has each image's digest."""
        return self.out.signatures(reference, digest)

    def build_dockerfile(self, params: DockerfileBuild, work: Work) -> None:
        """An image of a Dockerfile as the cache has it, else built by the daemon."""
        inputs = tuple((role, file.blob.digest) for role, file in work.inputs.items())
        key = step_key("dockerfile", KINDS["dockerfile"].version, params, inputs)
        cache = self.finder.cache
        result = None if cache is None else cache.result(key)
        if cache is None or result is None:
            self.out.build_dockerfile(params, work)
            return
        for name, blob in result.outputs:
            shutil.copyfile(cache.path(blob.digest), work.output(name))

    def _cached(self, blob: Blob, into: Path) -> bool:
        cache = self.finder.cache
        if cache is None or not cache.has(blob):
            return False
        shutil.copyfile(cache.path(blob.digest), into)
        return True


def _called(deb: Deb) -> str:
    return f"the Debian package {deb.name} {deb.version} ({deb.uri}, {deb.size} bytes, {deb.digest})"
