"""Images as values: descriptor, platform, manifest, index and config (image-spec 1.1; Docker's schema 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen, ordered
from lkbuild.oci.document import Fields, parse_object

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPT = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
"""What a registry is asked for, in the order we like it."""

REF_NAME = "org.opencontainers.image.ref.name"
CONFIG_LABEL = "org.mobyproject.config"
MAX_MANIFEST = 4 << 20
"""The most bytes a manifest or an index may have; registries hold to the same bound (distribution-spec)."""
MAX_CONFIG = 8 << 20
"""The most bytes an image config may have."""
MAX_LINE = 400
"""Of what made a layer, so many characters are kept."""

_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar|docker\.image\.rootfs(?:\.foreign)?\.diff\.tar)"
    r"(?:[.+](?:gzip|zstd))?"
)
_SCHEMA1 = re.compile(r"application/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)")
_PLATFORM_PART = re.compile(r"[A-Za-z0-9_.-]+")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "i386": "386",
}
# What an architecture's image is good for where no variant is named (containerd's platforms package).
_BASE_VARIANT = {"amd64": 1, "arm64": 8, "arm": 7}


def check_layer(media_type: str) -> None:
    """ImageError if a layer of this media type is no tar of a file system, plain or compressed with gzip or zstd."""
    if not _LAYER.fullmatch(media_type):
        raise ImageError(
            f"layers of type {media_type!r:.120} cannot be unpacked (wanted a tar, plain, gzip or zstd)",
            "is this reference a container image, and not encrypted?",
        )


@ordered
class Platform:
    """What an image runs on (image-spec image-index.md#platform)."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/amd64`, `linux/arm64/v8`; ValueError otherwise."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(map(_PLATFORM_PART.fullmatch, parts)):
            raise ValueError(f"not a platform: {text!r:.100} (wanted OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT)")
        return cls(*(part.lower() for part in parts))

    @property
    def unknown(self) -> bool:
        """Whether this is what build tools write beside attestations, which are no images."""
        return self.os == "unknown" or self.architecture == "unknown"

    @property
    def canonical(self) -> Platform:
        """The same platform by the architecture's usual name, with no variant where it is the one understood anyway."""
        architecture = _ARCHITECTURES.get(self.architecture, self.architecture)
        variant = self.variant
        if not variant and self.architecture == "armel":
            variant = "v6"
        if variant.removeprefix("v") == str(_BASE_VARIANT.get(architecture)):
            variant = ""
        return Platform(self.os, architecture, variant)

    def runs(self, image: Platform) -> int | None:
        """How well an image for `image` serves here: None not at all, else the higher the better.

        The same variant is best, then lower ones, as Docker chooses: an arm/v6 image runs on arm/v7.
        """
        here, there = self.canonical, image.canonical
        if (here.os, here.architecture) != (there.os, there.architecture):
            return None
        if here.variant == there.variant:
            return 1000
        mine, theirs = _variant_level(here), _variant_level(there)
        return theirs if mine is not None and theirs is not None and theirs < mine else None

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}{f'/{self.variant}' if self.variant else ''}"


def _variant_level(platform: Platform) -> int | None:
    if not platform.variant:
        return _BASE_VARIANT.get(platform.architecture)
    match = re.fullmatch(r"v?([0-9]{1,2})", platform.variant)
    return int(match[1]) if match else None


@frozen
class Descriptor:
    """What points at a blob (image-spec descriptor.md); `size` in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, fields: Fields) -> Descriptor:
        """The descriptor a JSON object says; ImageError if it lacks something or its digest is none."""
        try:
            digest = Digest.parse(fields.text("digest") or "")
        except ValueError as error:
            raise ImageError(f"{fields.where}: {error}") from error
        media_type = fields.text("mediaType")
        if not media_type:
            raise ImageError(f"{fields.where}: mediaType is missing")
        platform = _platform(fields.object("platform")) if fields.has("platform") else None
        return cls(media_type, digest, fields.size("size"), platform, fields.object("annotations").pairs())

    def annotation(self, name: str) -> str | None:
        """The annotation called `name`, None where there is none."""
        return dict(self.annotations).get(name)


def _platform(fields: Fields) -> Platform:
    """A platform as an index or a config tells it; what is missing is unknown."""
    os, architecture = fields.text("os") or "unknown", fields.text("architecture") or "unknown"
    return Platform(os, architecture, fields.text("variant") or "")


def choose(descriptors: Iterable[Descriptor], platform: Platform) -> Descriptor | None:
    """The entry of an index that serves `platform` best; the first where several are as good, None where none does.

    Entries for unknown/unknown (attestations) are skipped.  An index with but one entry that names no platform is that
    entry: whoever reads its config will see what it is for.
    """
    entries = [d for d in descriptors if d.platform is None or not d.platform.unknown]
    found = [(fit, d) for d in entries if d.platform and (fit := platform.runs(d.platform)) is not None]
    if found:
        return max(found, key=lambda pair: pair[0])[1]
    return entries[0] if len(entries) == 1 and entries[0].platform is None else None


@frozen
class Manifest:
    """An image for one platform (image-spec manifest.md); `layers` from the lowest up."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, raw: bytes, media_type: str = "") -> Manifest:
        """The manifest in `raw`; ImageError if it is anything else.  See `parse_manifest` for `media_type`."""
        document = parse_manifest(raw, media_type)
        if not isinstance(document, Manifest):
            raise ImageError("found an image index, wanted the manifest of one platform")
        return document


@frozen
class Index:
    """A list of manifests, or of further indexes, one per platform (image-spec image-index.md)."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, raw: bytes, media_type: str = "") -> Index:
        """The index in `raw`, such as a layout's `index.json`; ImageError if it is anything else."""
        document = parse_manifest(raw, media_type)
        if not isinstance(document, Index):
            raise ImageError("found the manifest of one image, wanted an image index")
        return document


def parse_manifest(raw: bytes, media_type: str = "") -> Manifest | Index:
    """The manifest or index in `raw`, at most MAX_MANIFEST bytes.

    `media_type` is what whoever sent it says it is (Content-Type, or a descriptor).  It counts where the document has
    no mediaType of its own, which OCI allows; where both are given they must agree, and a document that could be read
    as either kind is refused, or two readers would see two images under one digest (image-spec, CVE-2021-41190).
    """
    fields = Fields(parse_object(raw, MAX_MANIFEST, "image manifest"), "image manifest")
    said, known = fields.text("mediaType"), INDEX_TYPES | MANIFEST_TYPES
    given = media_type.partition(";")[0].strip().lower()
    _refuse_schema1(fields, said or given)
    if said and given in known and said != given:
        raise ImageError(f"image manifest: sent as {given}, but says it is {said:.120}")
    has_entries, has_layers = fields.has("manifests"), fields.has("layers") or fields.has("config")
    if has_entries and has_layers:
        raise ImageError("image manifest: has both manifests and layers, so that it is unclear what it is")
    kind = said or (given if given in known else OCI_INDEX if has_entries else OCI_MANIFEST)
    if kind not in known:
        raise ImageError(f"image manifest: {kind!r:.120} is no kind of image")
    if kind in INDEX_TYPES:
        if has_layers:
            raise ImageError(f"image manifest: says it is {kind}, but has layers")
        return Index(kind, tuple(Descriptor.of(entry) for entry in fields.objects("manifests")))
    if not fields.has("config") or not fields.has("layers"):
        raise ImageError("image manifest: config or layers are missing")
    config = Descriptor.of(fields.object("config"))
    return Manifest(kind, config, tuple(Descriptor.of(layer) for layer in fields.objects("layers")))


def _refuse_schema1(fields: Fields, media_type: str) -> None:
    if _SCHEMA1.fullmatch(media_type) or fields.has("fsLayers"):
        raise ImageError(
            "image manifest: this is Docker's schema 1, which nothing makes any more",
            "push the image again with a current docker or buildx, or copy it with `skopeo copy --format oci`",
        )
    if fields.size("schemaVersion") != 2:
        raise ImageError(f"image manifest: schemaVersion is {fields.size('schemaVersion')}, wanted 2")


@frozen
class RunConfig:
    """What of an image config a container's bundle depends on, and nothing more: it stands in the bundle's key.

    `label` is the text of the label org.mobyproject.config, None where there is none.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    label: str | None = None

    @classmethod
    def from_config(cls, config_json: bytes) -> RunConfig:
        """From an image config document (image-spec config.md); fields that are null are empty."""
        config = _config_fields(config_json).object("config")
        return cls(
            entrypoint=config.texts("Entrypoint"),
            cmd=config.texts("Cmd"),
            env=config.texts("Env"),
            working_dir=config.text("WorkingDir") or "",
            label=config.object("Labels").text(CONFIG_LABEL),
        )


@frozen
class ImageConfig:
    """What of an image config fetching and flattening need: its platform, and the uncompressed layers' digests."""

    platform: Platform
    diff_ids: tuple[Digest, ...]

    @classmethod
    def from_config(cls, config_json: bytes) -> ImageConfig:
        """From an image config document (image-spec config.md)."""
        fields = _config_fields(config_json)
        try:
            diff_ids = tuple(map(Digest.parse, fields.object("rootfs").texts("diff_ids")))
        except ValueError as error:
            raise ImageError(f"image config: rootfs: diff_ids: {error}") from error
        return cls(_platform(fields), diff_ids)


def layer_history(config_json: bytes, layers: int) -> tuple[str, ...]:
    """What made each of an image's `layers`, the lowest first, by its config's `history` (image-spec config.md).

    Nothing where that does not tell of just so many.  It is for people to read: lines are cut, and nothing is an error.
    """
    try:
        entries = _config_fields(config_json).objects("history")
        lines = [
            " ".join((entry.text("created_by") or "").split()) for entry in entries if not entry.flag("empty_layer")
        ]
    except ImageError:
        return ()
    return tuple(line[:MAX_LINE] for line in lines) if len(lines) == layers and any(lines) else ()


def _config_fields(config_json: bytes) -> Fields:
    return Fields(parse_object(config_json, MAX_CONFIG, "image config"), "image config")
