"""A record laid out as what it was made from: a spec with its packages and sources beside it, ready to be read again.

Everything in a record may come from anybody.  Nothing is written outside of the directory, and what is laid out goes
through the same decoding and checks as a spec that somebody wrote.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lkbuild.digest import Digest
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen
from lkbuild.lock import Lock
from lkbuild.packages.layout import relative
from lkbuild.plan.images import PackageFiles
from lkbuild.plan.record import BOOTLOADER, Record, check_entries, named_images
from lkbuild.reference import Reference
from lkbuild.spec.load import load
from lkbuild.spec.metadata import printable
from lkbuild.spec.model import ImageName, PackageDir, Spec

_PLACE = re.compile(r"([a-z]+)\[(\d{1,6})\]")


@frozen
class Workspace:
    """A spec read back: its lock holds its Debian packages, `pins` the digests of its images."""

    spec: Spec
    lock: Lock
    pins: Mapping[Reference, Digest]
    bootloader: ImageName | None


def lay_out(record: Record, files: Mapping[Digest, Path], directory: Path) -> Workspace:
    """Write what the record holds into `directory`, which is empty; LkbuildError where that makes no machine."""
    try:
        return _laid_out(record, files, directory)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise LkbuildError(f"the record describes no machine: {error}", _HINT) from error
    except LkbuildError as error:
        raise LkbuildError(f"the record describes no machine: {_without(directory, error.message)}", _HINT) from error
    except OSError as error:
        raise LkbuildError(f"the record cannot be laid out: {error.strerror}") from error


_HINT = "it was not written by lkbuild, or changed since"


def _without(directory: Path, message: str) -> str:
    return message.replace(f"{directory}/", "")


def _laid_out(record: Record, files: Mapping[Digest, Path], directory: Path) -> Workspace:
    document, names = json.loads(record.spec), dict[str, str]()
    packages = dict[str, str]()
    for number, each in enumerate(record.packages):
        text = f"@pkg:packages/{number}"
        _package(each.package, files, directory / "packages" / str(number))
        names.update(dict.fromkeys(each.at, text))
        packages[text] = each.package.name
    for image in record.images:
        names.update(dict.fromkeys(image.at, str(Reference.parse(image.reference))))
    if unnamed := _unnamed(document, names):
        raise ValueError(f"nothing is said of the image of {', '.join(unnamed):.200}")
    written = _images(document, names)
    sources = {each.number: each.digest for each in record.files}
    for number, file in enumerate(document.get("files", [])):
        if file.get("source"):
            file["source"] = f"sources/{number}"
            if number in sources:
                (directory / "sources").mkdir(exist_ok=True)
                shutil.copyfile(files[sources[number]], directory / "sources" / str(number))
    path = directory / "machine.yml"
    path.write_text(printable(json.dumps(document, ensure_ascii=False)), "utf-8")
    spec = replace(load([path], name=_name(record.name)), written=record.spec)
    debian = {each.package.request: each.package.debs for each in record.packages}
    pins = {Reference.parse(image.reference): image.digest for image in record.images}
    lock = Lock(debian=tuple((key, debs) for key, debs in debian.items() if key is not None))
    loader = names.get(BOOTLOADER)
    return Workspace(_renamed(spec, written), lock, pins, None if loader is None else _image(loader, directory))


def _name(text: str) -> str:
    if not text or "/" in text or "\0" in text or text in (".", ".."):
        raise ValueError(f"{text!r:.100} names no machine")
    return text


def _image(text: str, directory: Path) -> ImageName:
    if text.startswith("@pkg:"):
        return PackageDir(str(directory / text.removeprefix("@pkg:")), text)
    return Reference.parse(text)


def _images(document: Any, names: Mapping[str, str]) -> dict[str, str]:
    """Put the images' names into the spec's document; returns what stood there before, by place."""
    before: dict[str, str] = {}
    for place, name in names.items():
        if place != BOOTLOADER:
            holder, key = _place(document, place)
            before[place], holder[key] = str(holder[key]), name
    return before


def _unnamed(document: Any, names: Mapping[str, str]) -> list[str]:
    """The places of images that the record says nothing of.

    NB: of these the spec alone would say what is meant, and a `@pkg:` there would be a directory of this machine.
    """
    places = ["kernel"] if document.get("kernel") else []
    places += [f"init[{n}]" for n, _ in enumerate(document.get("init") or [])]
    for section in ("volumes", "onboot", "onshutdown", "services"):
        entries = enumerate(document.get(section) or [])
        places += [f"{section}[{n}]" for n, entry in entries if section != "volumes" or entry.get("image")]
    return [place for place in places if place not in names]


def _place(document: Any, place: str) -> tuple[Any, str | int]:
    """Where in a spec's document the image of a place stands."""
    match = _PLACE.fullmatch(place)
    if place == "kernel":
        return document["kernel"], "image"
    if match is None:
        raise ValueError(f"{place!r:.100} is no place of an image")
    number = int(match[2])
    return (document["init"], number) if match[1] == "init" else (document[match[1]][number], "image")


def _renamed(spec: Spec, written: Mapping[str, str]) -> Spec:
    """The spec whose packages are called as they were: what two containers share is decided by that name."""
    texts = {place: written.get(place) for place, _ in named_images(spec)}

    def named(place: str, name: Any) -> Any:
        return PackageDir(name.path, texts[place] or name.text) if isinstance(name, PackageDir) else name

    def entries(section: str) -> Any:
        found = enumerate(getattr(spec, section))
        return tuple(replace(each, image=named(f"{section}[{n}]", each.image)) for n, each in found)

    kernel = spec.kernel
    return replace(
        spec,
        kernel=None if kernel is None else replace(kernel, image=named("kernel", kernel.image)),
        init=tuple(named(f"init[{n}]", name) for n, name in enumerate(spec.init)),
        volumes=entries("volumes"),
        onboot=entries("onboot"),
        onshutdown=entries("onshutdown"),
        services=entries("services"),
    )


def _package(package: PackageFiles, files: Mapping[Digest, Path], directory: Path) -> None:
    """Write a package directory."""
    check_entries(package.entries)
    root = directory / relative(package.root) if package.root else directory
    root.mkdir(parents=True)
    for entry in package.entries:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.digest is None:
            path.symlink_to(entry.target)
        else:
            shutil.copyfile(files[entry.digest], path)
            path.chmod(0o755 if entry.mode & 0o100 else 0o644)
    build = directory / "build.yml"
    if build.is_symlink() or (build.exists() and not package.dockerfile):
        raise ValueError(f"{package.name!r:.100} has a build.yml among its files")
    if not build.exists():
        build.write_text(printable(package.build), "utf-8")
