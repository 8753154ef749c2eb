"""Reading a package directory: build.yml, decoded strictly, and the checks its types cannot make."""

from __future__ import annotations

from pathlib import Path

from lkbuild.errors import Origin, Problem, SpecError
from lkbuild.packages.build_file import ARCHITECTURES, DOCKERFILE_ONLY, FILES_ONLY, BuildFile
from lkbuild.packages.layout import relative
from lkbuild.packages.model import Kind, Package
from lkbuild.spec.decode import Document, read_document
from lkbuild.spec.fields import shape

BUILD_FILE = "build.yml"


def read_package(directory: Path) -> Package:
    """The package in `directory`; SpecError holds all that is wrong with its build.yml, each with its line."""
    directory = directory.absolute()
    _check_there(directory)
    document = read_document(directory / BUILD_FILE, BuildFile)
    problems = [*_wrong_kind(directory, document), *_wrong_names(document), *_wrong_values(document)]
    problems += _wrong_root(directory, document)
    if problems:
        raise SpecError(problems)
    kind = _kind(directory, document.value)
    if kind == "dockerfile":
        return Package(directory, kind, document, directory)
    root = directory / (document.value.root or "root")
    return Package(directory, kind, document, root if kind == "layers" and root.is_dir() else None)


def _check_there(directory: Path) -> None:
    """SpecError where there is no package at all."""
    file = directory / BUILD_FILE
    if not directory.is_dir():
        message, hint = f"there is no directory {str(directory)!r}", "a path after @pkg: is relative to the spec"
    elif not file.exists():
        message, hint = (
            f"there is no {BUILD_FILE} in {str(directory)!r}",
            "a package has one: it begins with image: NAME",
        )
    else:
        return
    raise SpecError([Problem(Origin(str(file)), message, hint)])


def _given(build: BuildFile, names: tuple[str, ...]) -> list[str]:
    """Which of these fields are given, in YAML's spelling."""
    return [each.key for each in shape(BuildFile) if each.name in names and getattr(build, each.name) is not None]


def _kind(directory: Path, build: BuildFile) -> Kind:
    if build.dockerfile is not None or (not _given(build, FILES_ONLY) and (directory / "Dockerfile").is_file()):
        return "dockerfile"
    return "layers" if build.kernel is None else "kernel"


def _wrong_kind(directory: Path, document: Document[BuildFile]) -> list[Problem]:
    """Fields that cannot stand together."""
    build = document.value
    kind = _kind(directory, build)
    if kind == "dockerfile":
        found = [
            Problem(
                document.origin(name), f"{name!r} cannot stand beside a Dockerfile", "the Dockerfile says that itself"
            )
            for name in _given(build, FILES_ONLY)
        ]
        name = build.dockerfile or "Dockerfile"
        file = _inside(directory, name)
        if file is None or not file.is_file():
            found.append(Problem(document.origin("dockerfile"), f"there is no {name!r} in {str(directory)!r}"))
        return found
    hint = "put a Dockerfile beside build.yml and drop what describes files, or drop this"
    found = [
        Problem(document.origin(name), f"{name!r} means something only to a Dockerfile, and there is none in use", hint)
        for name in _given(build, DOCKERFILE_ONLY)
    ]
    if kind == "kernel" and build.debian is None:
        message = "a kernel's package needs `debian` with the package the kernel is in"
        found.append(
            Problem(document.origin("kernel"), message, "for example  debian: {amd64: [linux-image-cloud-amd64]}")
        )
    clash = ("root", "directories", "modes", "links", "applets", "concatenate", "users", "groups")
    if kind == "kernel":
        message = "cannot stand in a kernel's package, of whose image nothing but the kernel reaches a machine"
        found += [
            Problem(document.origin(n), f"{n!r} {message}", "put it into another package") for n in _given(build, clash)
        ]
    if kind == "layers" and not _given(build, FILES_ONLY) and not (directory / "root").is_dir():
        message = f"{str(directory)!r} says nothing an image could be made of"
        found.append(
            Problem(document.origin(), message, "name Debian packages under `debian`, add root/, or a Dockerfile")
        )
    return found


def _inside(directory: Path, name: str) -> Path | None:
    """`directory/name`; None where `name` leads out."""
    try:
        return directory / relative(name)
    except ValueError:
        return None


def _wrong_names(document: Document[BuildFile]) -> list[Problem]:
    """Architectures and the image's name."""
    build = document.value
    found = [
        Problem(document.origin("arches", number), f"{name!r} is no architecture", f"known: {', '.join(ARCHITECTURES)}")
        for number, name in enumerate(build.arches or ())
        if name not in ARCHITECTURES
    ]
    if not build.image:
        found.append(Problem(document.origin("image"), "the image's name is empty"))
    if build.depends is not None:
        message = "depends: images in the build context are not supported"
        found.append(
            Problem(document.origin("depends"), message, "copy from them in the Dockerfile: COPY --from=IMAGE")
        )
    if build.extra_sources:
        message = "extra-sources: sources outside of the package's directory are not supported"
        found.append(Problem(document.origin("extra-sources"), message, "put them into the directory"))
    return found


def _wrong_values(document: Document[BuildFile]) -> list[Problem]:
    """Texts with a form of their own."""
    build = document.value
    found = [
        Problem(document.origin("modes", n), f"modes: {each.path} has no mode", "mode: '0755', for example")
        for n, each in enumerate(build.modes or ())
        if each.mode is None
    ]
    for key, texts in (("env", build.env), ("buildArgs", build.build_args)):
        for number, text in enumerate(texts or ()):
            if "=" not in text[1:]:
                found.append(Problem(document.origin(key, number), f"{key}: {text!r} is not NAME=VALUE"))
    for place, target in build.links or ():
        if not target or "\0" in target:
            found.append(Problem(document.origin("links", place), f"links: {place} has no target"))
        found += _wrong_place(document, "links", place)
    for number, applets in enumerate(build.applets or ()):
        for name in applets.names:
            found += _wrong_place(document, "applets", name, number)
    return found


def _wrong_place(document: Document[BuildFile], key: str, text: str, number: int | None = None) -> list[Problem]:
    try:
        relative(text)
    except ValueError as error:
        return [Problem(document.origin(key, text if number is None else number), f"{key}: {error}")]
    return []


def _wrong_root(directory: Path, document: Document[BuildFile]) -> list[Problem]:
    """The tree, and what it must not have where build.yml makes it."""
    build = document.value
    name = build.root or "root"
    root = _inside(directory, name)
    if root is None or (build.root is not None and not root.is_dir()):
        return [Problem(document.origin("root"), f"root: there is no directory {name!r} in {str(directory)!r}")]
    users = build.users is not None or build.groups is not None
    return [
        Problem(
            document.origin("users" if build.users is not None else "groups"),
            f"users and groups make {path}, and {name}/{path} is there too",
            "keep one of the two",
        )
        for path in ("etc/passwd", "etc/group")
        if users and (root / path).exists()
    ]
