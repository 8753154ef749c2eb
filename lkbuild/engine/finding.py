"""Where images and packages are found: `images=` first, then the Docker daemon, then the store, then the registry."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from lkbuild.digest import Digest, identity, plain
from lkbuild.engine.events import Listener, Told
from lkbuild.engine.options import Pull
from lkbuild.errors import ImageError
from lkbuild.oci.image import Descriptor, ImageConfig, Manifest, Platform
from lkbuild.packages.debian import Deb, DebianRequest
from lkbuild.reference import Reference
from lkbuild.sources import Image, Images, Missing, Source, not_found, search
from lkbuild.sources.debian import Apt
from lkbuild.store import Blob, Result, Store


@dataclass(frozen=True, slots=True)
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
        self._found: dict[Reference, Source] = {}
        self._guard = threading.Lock()

    def image(self, reference: Reference) -> Image:
        """The image, its layers not fetched; ImageError says where was looked and how to get it."""
        found, looked = search(self.sources.local, reference, self.platform)
        if found is not None:
            with self._guard:
                self._found[reference] = found.source
            return found.image
        remembered = None if self.sources.pull == "always" else self._recall(reference)
        if remembered is not None:
            return remembered
        if self.sources.pull == "never":
            offline = Missing(
                "the network",
                "not asked: this build is offline",
                "build once without offline=yes / pull=never, or name a copy of it with images=PATH",
            )
            raise not_found(reference, self.platform, (*looked, Missing("the cache", "not there"), offline))
        found, more = search([self.sources.registry], reference, self.platform)
        if found is None:
            raise not_found(reference, self.platform, (*looked, *more))
        self._remember(found.image)
        return found.image

    def every_platform(self, reference: Reference, platforms: tuple[Platform, ...]) -> tuple[Source, Images]:
        """All images the reference names, or those of `platforms`, and where they can be fetched from."""
        looked: list[Missing] = []
        remote = () if self.sources.pull == "never" else (self.sources.registry,)
        for source in (*self.sources.local, *remote):
            answer = source.resolve_index(reference, platforms)
            if not isinstance(answer, Missing):
                with self._guard:
                    self._found[reference] = source
                return source, answer
            looked.append(answer)
        raise not_found(reference, self.platform, tuple(looked))

    def records(self, named: Reference | DebianRequest) -> tuple[Path, ...]:
        """The files of the store that say what a tag or a request means, for the stamp."""
        if isinstance(named, Reference):
            return () if named in self._found else (self.store.result_path(self._key(named)),)
        return (self.store.result_path(_debian_key(named)),)

    def source_of(self, reference: Reference) -> Source:
        """Where the blobs of an image come from: where it was found, else the registry."""
        source = self._found.get(reference)
        if source is None:
            if self.sources.pull == "never":
                raise ImageError(
                    f"a layer of {reference} is not in the cache, and this build is offline",
                    "build once without offline=yes / pull=never, or name a copy of it with images=PATH",
                )
            return self.sources.registry
        return source

    def debs(self, request: DebianRequest) -> tuple[Deb, ...]:
        """The Debian packages a request means: as the store has it, else as the host's apt says now."""
        key = _debian_key(request)
        if self.sources.pull != "always":
            result = self.store.result(key)
            if result is not None:
                items = json.loads(self.store.read(result["debs"].digest))
                return tuple(Deb(**{**item, "digest": Digest.parse(item["digest"])}) for item in items)
        if self.sources.pull == "never":
            raise ImageError(
                f"the Debian packages {', '.join(request.packages)} were never resolved, and this build is offline",
                "build once without offline=yes / pull=never",
            )
        self.listen(Told(f"resolving Debian packages: {', '.join(request.packages)}"))
        debs = self.sources.apt.resolve(
            request, renew=self.sources.pull == "always", say=lambda text: self.listen(Told(text))
        )
        blob = self.store.add(json.dumps([plain(deb) for deb in debs], sort_keys=True).encode())
        self.store.record(key, Result((("debs", blob),)))
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

    # -- memory --------------------------------------------------------------------------------------------------------

    def _key(self, reference: Reference) -> Digest:
        return identity({"kind": "reference", "reference": str(reference), "platform": str(self.platform)})

    def _remember(self, image: Image) -> None:
        facts = {"index": str(image.index) if image.index else None, "media_type": image.media_type}
        outputs = (
            ("manifest", self.store.add(image.manifest)),
            ("config", self.store.add(image.config)),
            ("facts", self.store.add(json.dumps({**facts, "source": image.source}, sort_keys=True).encode())),
        )
        self.store.record(self._key(image.reference), Result(outputs))

    def _recall(self, reference: Reference) -> Image | None:
        result = self.store.result(self._key(reference))
        if result is None:
            return None
        self.store.touch(self._key(reference))
        manifest, config = (self.store.read(result[name].digest) for name in ("manifest", "config"))
        facts = json.loads(self.store.read(result["facts"].digest))
        parsed, about = Manifest.parse(manifest, facts["media_type"]), ImageConfig.from_config(config)
        index = Digest.parse(facts["index"]) if facts["index"] else None
        return Image(
            reference,
            result["manifest"].digest,
            index,
            facts["media_type"],
            manifest,
            config,
            about.platform,
            parsed.layers,
            about.diff_ids,
            facts["source"],
        )


def _debian_key(request: DebianRequest) -> Digest:
    return identity({"kind": "debian", "request": request})


def layer_descriptor(digest: Digest, size: int) -> Descriptor:
    """A descriptor to fetch a layer by; its media type does not matter, what is in it is told by its first bytes."""
    return Descriptor("application/octet-stream", digest, size)
