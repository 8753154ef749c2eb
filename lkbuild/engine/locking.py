"""Writing lock files: `doit lock` says what the tags mean now, `doit update` asks anew what they mean."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lkbuild.digest import Digest, identity
from lkbuild.engine.events import Listener
from lkbuild.engine.finding import Finder
from lkbuild.engine.materials import image_origins
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import make_finder
from lkbuild.errors import ImageError, LkbuildError, Origin, Problem, SpecError
from lkbuild.lock import Lock, lock_path, parse_lock
from lkbuild.packages import read_package
from lkbuild.packages.debian import Deb
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Source
from lkbuild.spec.load import load
from lkbuild.spec.model import ImageName, PackageDir
from lkbuild.store import Store


def write_locks(options: BuildOptions, listen: Listener, registry: Source, renew: bool) -> list[Path]:
    """Write the lock of every machine beside its first spec file and return their paths.

    What a lock holds already stays, and what the cache knows is taken from there; with `renew`, everything is asked
    anew.  `renew` writes no lock where there is none: it then renews what the cache knows.
    """
    options = replace(options, pull="always") if renew else options
    store = Store.open(options.cache)
    try:
        finder = make_finder(options, store, listen, Daemon(store.root / "spool", options.docker_host), registry)
        written = []
        for files in options.machines:
            path = lock_path(files[0])
            old = parse_lock(path.read_text("utf-8"), path) if path.exists() else None
            lock = _resolve(files, options, finder, Lock() if renew or old is None else old)
            if old is not None or not renew:
                _write(path, lock.encode())
                written.append(path)
        return written
    finally:
        store.close()


def _resolve(files: tuple[Path, ...], options: BuildOptions, finder: Finder, known: Lock) -> Lock:
    """The lock of one machine, what `known` says left as it is."""
    spec = load(files, name=options.name)
    images, debian = dict[str, Digest](), dict[Digest, tuple[Deb, ...]]()
    problems: list[Problem] = []

    def settle(item: tuple[ImageName, Origin]) -> None:
        name, origin = item
        try:
            if isinstance(name, PackageDir):
                debian.update(_package(name, options.arch, finder, known))
            elif name.digest is None:
                images[str(name)] = dict(known.images).get(str(name)) or _digest(name, finder)
        except SpecError as error:
            problems.extend(error.problems)
        except ImageError as error:
            problems.append(Problem(origin, error.message, error.hint))

    named = image_origins(spec)
    for number, volume in enumerate(spec.volumes):
        if volume.image is not None:
            named.setdefault(volume.image, spec.origin("volumes", number, "image"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(settle, named.items()))
    if problems:
        raise SpecError(problems)
    return Lock(tuple(sorted(images.items())), tuple(sorted(debian.items())))


def _digest(reference: Reference, finder: Finder) -> Digest:
    image = finder.image(reference)
    return image.index or image.digest


def _package(name: PackageDir, arch: str, finder: Finder, known: Lock) -> dict[Digest, tuple[Deb, ...]]:
    package = read_package(Path(name.path))
    package.check(arch)
    request = package.request(arch)
    if request is None:
        return {}
    return {identity(request): known.debs(request) or finder.debs(request)}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise LkbuildError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
