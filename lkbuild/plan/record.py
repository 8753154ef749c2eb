"""The record a machine carries of its own build: what is needed to make the same bytes again (docs/rebuild.md).

It lies in the root filesystem at `PATH`, a segment of its own, the last and not compressed.  Its first bytes, its size
and its own SHA-256 tell it from all else, so that it is found in any medium that holds the file as it is.

What is in it: the spec as it is meant, never its text; images and Debian packages by digest; package directories and
the sources of `files` by the digests of what they hold; the options bytes depend on.  Nothing of where all that lay.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lkbuild import __version__
from lkbuild.digest import Digest, canonical, plain
from lkbuild.frozen import frozen
from lkbuild.packages import Deb, TreeEntry
from lkbuild.plan.images import PackageFiles
from lkbuild.plan.kinds import KINDS, FileEntry, Files, Profile, Segment
from lkbuild.plan.machine import MachinePlan
from lkbuild.plan.materials import Style
from lkbuild.plan.step import Step
from lkbuild.plan.typed import typed
from lkbuild.reference import Reference
from lkbuild.spec.model import ImageName, PackageDir, Spec

PATH = "lkbuild.json"
"""NB: at the root, where no directory has to be made whose mode might then be another than an image gave it."""

FORMAT = 1
MARK = b'{"lkbuild-record":'
MAX_BYTES = 32 << 20
_HEAD = re.compile(rb'\{"lkbuild-record":(\d{1,9}),"size":(\d{1,9}),"sha256":"([0-9a-f]{64})","build":')
HEAD_BYTES = 160
"""More than the bytes before the build itself can be."""

BOOTLOADER = "bootloader"


@frozen
class RecordedImage:
    """An image: the places that name it (`kernel`, `init[0]`, `services[2]`, `bootloader`), and what was found."""

    at: tuple[str, ...]
    reference: str
    digest: Digest


@frozen
class RecordedPackage:
    """A package directory, and the places that name it."""

    at: tuple[str, ...]
    package: PackageFiles


@frozen
class RecordedFile:
    """The source of an entry of `files`, by the entry's number."""

    number: int
    digest: Digest
    size: int


@frozen
class RecordedStyle:
    """The options bytes depend on.

    `sbom` is where the machine has its SBOM, None for nowhere; `mksquashfs` the version of the program, where a format
    needs it.
    """

    arch: str
    compression: str
    profile: Profile
    decompress_kernel: bool
    size: int | None
    sbom: str | None
    supplier: str
    mksquashfs: str


@frozen
class Record:
    """A record.  `version` is lkbuild's, `kinds` are all kinds of steps it had; `spec` is `Spec.written`."""

    version: str
    kinds: tuple[tuple[str, int], ...]
    name: str
    spec: str
    images: tuple[RecordedImage, ...]
    packages: tuple[RecordedPackage, ...]
    files: tuple[RecordedFile, ...]
    style: RecordedStyle

    def encode(self) -> str:
        """The record's text: ASCII, one line."""
        document = plain(self)
        document["spec"] = json.loads(self.spec)
        for item, each in zip(document["packages"], self.packages, strict=True):
            item["package"]["build"] = json.loads(each.package.build)
        # NB: keys stay in the order they have, for the spec's is that of LinuxKit, and `files: metadata` writes it out.
        body = json.dumps(document, separators=(",", ":"))
        digest = hashlib.sha256(body.encode("ascii")).hexdigest()
        return f'{MARK.decode()}{FORMAT},"size":{len(body)},"sha256":"{digest}","build":{body}}}\n'


def stated(head: bytes) -> tuple[int, int] | None:
    """Where the build begins and ends in a record that starts with the bytes `head`; None where none does.

    ValueError where it is of another format, or larger than any is.
    """
    match = _HEAD.match(head)
    if match is None:
        return None
    if int(match[1]) != FORMAT:
        raise ValueError(f"it is of format {int(match[1])}, and this lkbuild reads format {FORMAT}")
    if int(match[2]) > MAX_BYTES:
        raise ValueError(f"it says it has {int(match[2])} bytes, and {MAX_BYTES} is the most")
    return match.end(), match.end() + int(match[2])


def decode(data: bytes) -> Record:
    """The record at the start of `data`, which may come from anybody; ValueError says what is wrong with it."""
    place, match = stated(data), _HEAD.match(data)
    if place is None or match is None:
        raise ValueError("it does not begin as a record does")
    body = data[slice(*place)]
    if len(body) < place[1] - place[0]:
        raise ValueError(f"it ends after {len(body)} of {place[1] - place[0]} bytes")
    if hashlib.sha256(body).hexdigest().encode() != match[3]:
        raise ValueError("its bytes are not those its SHA-256 is of")
    try:
        document = json.loads(body)
        document["spec"] = json.dumps(document["spec"], ensure_ascii=False)
        for item in document["packages"]:
            build = canonical(item["package"]["build"])
            item["package"]["build"] = build.decode("utf-8", "surrogateescape")
    except (KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"it is not shaped as a record is: {error!r:.100}") from error
    return typed(Record, document, "build")


def segment(machine: MachinePlan, archive: str) -> Step | None:
    """The step that lays the record down; None where it is not wanted, or `files` puts something else there."""
    if not machine.style.embedded or any(file.path == PATH for file in machine.spec.files):
        return None
    how, _ = machine.segment(archive)
    text = record(machine).encode()
    params = Files((FileEntry(PATH, "file", text, mode=0o644),), Segment(how.archive, "none", how.profile))
    return Step(f"record:{machine.spec.name}", "files", params)


def record(machine: MachinePlan) -> Record:
    """What the machine is built from, as far as the bytes of its root filesystem and of media around it depend on."""
    spec, materials = machine.spec, machine.materials
    at = list(named_images(spec))
    if machine.style.bootloader is not None:
        at.append((BOOTLOADER, machine.style.bootloader))
    files = ((n, materials.files.get(file.source or "")) for n, file in enumerate(spec.files))
    return Record(
        __version__,
        tuple((kind.name, kind.version) for kind in KINDS.values()),
        spec.name,
        spec.written,
        tuple(_images(at, machine)),
        tuple(_packages(at, machine)),
        tuple(RecordedFile(n, *found) for n, found in files if found is not None),
        _style(machine.style),
    )


def named_images(spec: Spec) -> Iterator[tuple[str, ImageName]]:
    """Every place of a spec that names an image, with the image."""
    if spec.kernel is not None:
        yield "kernel", spec.kernel.image
    for number, name in enumerate(spec.init):
        yield f"init[{number}]", name
    for number, volume in enumerate(spec.volumes):
        if volume.image is not None:
            yield f"volumes[{number}]", volume.image
    for section in ("onboot", "onshutdown", "services"):
        for number, container in enumerate(getattr(spec, section)):
            yield f"{section}[{number}]", container.image


def _images(at: Iterable[tuple[str, ImageName]], machine: MachinePlan) -> Iterator[RecordedImage]:
    whole = {f"volumes[{n}]": volume.name for n, volume in enumerate(machine.spec.volumes) if volume.format == "oci"}
    written = _written(machine.spec)
    found: dict[tuple[str, Digest], list[str]] = {}
    for place, name in at:
        if not isinstance(name, Reference):
            continue
        if place in whole:
            # An image kept whole has its reference in its index.json: with the digest, where a lock gave it one.
            layout = machine.materials.layouts[whole[place]]
            title, reference = layout.images[0].name if layout.images else None, name
        else:
            # Elsewhere a digest that a lock gave changes nothing, and what the spec itself says tells images apart.
            title, reference = machine.materials.images[name].name, written.get(place, name)
        digest = name.digest if title is None else title.index or title.manifest
        if digest is not None:
            found.setdefault((str(reference), digest), []).append(place)
    return (RecordedImage(tuple(places), reference, digest) for (reference, digest), places in found.items())


def _written(spec: Spec) -> dict[str, Reference]:
    """The references of a spec as its files have them, by place: what a lock added is not among it."""
    document = json.loads(spec.written)
    found: dict[str, Reference] = {}
    for place, name in named_images(spec):
        if isinstance(name, Reference):
            holder = document[place.partition("[")[0]]
            text = holder["image"] if place == "kernel" else holder[int(place.rstrip("]").partition("[")[2])]
            found[place] = Reference.parse(text if isinstance(text, str) else text["image"])
    return found


def _packages(at: Iterable[tuple[str, ImageName]], machine: MachinePlan) -> Iterator[RecordedPackage]:
    found: dict[str, list[str]] = {}
    kept: dict[str, PackageFiles] = {}
    for place, name in at:
        if isinstance(name, PackageDir):
            found.setdefault(name.path, []).append(place)
            kept[name.path] = machine.materials.packages[name]
    for path, places in found.items():
        package = kept[path]
        debs = tuple(replace(deb, uri=file_name(deb)) for deb in package.debs)
        yield RecordedPackage(tuple(places), replace(package, debs=debs))


def file_name(deb: Deb) -> str:
    """What a Debian package's file is called (deb(7)).

    NB: not where it lies.  One file lies at several places of an archive and its mirrors, each written in its own way,
    so that two users would have two records of one machine.
    """
    return f"{deb.name}_{deb.version.partition(':')[2] or deb.version}_{deb.architecture}.deb"


def _style(style: Style) -> RecordedStyle:
    sbom = None if style.sbom == "no" else style.sbom_path
    return RecordedStyle(
        style.architecture,
        style.compression,
        style.profile,
        style.decompress_kernel,
        style.size,
        sbom,
        style.supplier if sbom else "",
        style.mksquashfs,
    )


def check_entries(entries: Iterable[TreeEntry]) -> None:
    """ValueError where a tree's entries could not lie in one directory, or one would lie outside of it."""
    kinds: dict[str, str] = {}
    for entry in entries:
        parts = entry.path.split("/")
        if "\0" in entry.path + entry.target or not {"", ".", ".."}.isdisjoint(parts) or entry.path in kinds:
            raise ValueError(f"{entry.path!r:.100} is no path of a tree, or there twice")
        if (
            (entry.kind == "file") != (entry.digest is not None)
            or entry.size < 0
            or (entry.kind == "symlink" and not entry.target)
        ):
            raise ValueError(f"{entry.path!r:.100} is neither a file with a digest nor a link with a target")
        kinds[entry.path] = entry.kind
    for path in kinds:
        while path := path.rpartition("/")[0]:
            if path in kinds:
                raise ValueError(f"{path!r:.100} is a {kinds[path]}, and something lies below it")
