"""Writing lock files: `doit lock` says what the tags mean now, `doit update` asks anew what they mean."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lkbuild.digest import Digest, identity
from lkbuild.engine.dockerfiles import Dockerfiles
from lkbuild.engine.doors import WayOut
from lkbuild.engine.events import Listener
from lkbuild.engine.execute import Place
from lkbuild.engine.finding import Finder
from lkbuild.engine.layouts import platforms, whole_images
from lkbuild.engine.materials import image_origins
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import make_finder
from lkbuild.errors import ImageError, LkbuildError, Origin, Problem, SpecError
from lkbuild.frozen import frozen
from lkbuild.lock import Lock, lock_path, read_lock
from lkbuild.packages import read_package, snapshot
from lkbuild.packages.debian import Deb
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Source
from lkbuild.spec.load import load
from lkbuild.spec.model import ImageName, PackageDir, Spec, Volume
from lkbuild.store import Store
from lkbuild.store.files import replace_file


def write_locks(options: BuildOptions, listen: Listener, registry: Source, renew: bool) -> list[Path]:
    """Write the lock of every machine beside its first spec file and return their paths.

    What a lock holds already stays, and what the cache knows is taken from there; with `renew`, everything is asked
    anew.  `renew` writes no lock where there is none: it then renews what the cache knows.
    """
    options = replace(options, pull="always") if renew else options
    store = Store.open(options.cache)
    try:
        daemon = Daemon(store.root / "spool", options.docker_host)
        finder = make_finder(options, store, listen, daemon, registry)
        place = Place(store, WayOut(finder, daemon), listen)
        meanings = Meanings(finder, Dockerfiles(place, options.arch, renew), renew)
        written = []
        for files in options.machines:
            path = lock_path(files[0])
            old = read_lock(path)
            lock = meanings.lock(load(files, name=options.name), old or Lock())
            if old is not None or not renew:
                _write(path, lock.encode())
                written.append(path)
        return written
    finally:
        store.close()


@frozen
class Meanings:
    """Finds what the names of a spec mean; with `renew`, also of those whose meaning is known."""

    finder: Finder
    dockerfiles: Dockerfiles
    renew: bool

    def lock(self, spec: Spec, known: Lock) -> Lock:
        """`known`, and what the spec names for this architecture.  Other architectures' and specs' entries stay."""
        images, debian = dict(known.images), dict(known.debian)
        problems: list[Problem] = []

        def settle(item: tuple[ImageName | Volume, Origin]) -> None:
            name, origin = item
            try:
                if isinstance(name, PackageDir):
                    debian.update(self._package(name, origin, known))
                else:
                    images.update(self._image(name, known))
            except SpecError as error:
                problems.extend(error.problems)
            except ImageError as error:
                problems.append(Problem(origin, error.message, error.hint))

        named: list[tuple[ImageName | Volume, Origin]] = [*image_origins(spec).items()]
        for volume, name, origin in whole_images(spec):
            named.append((name if isinstance(name, PackageDir) else volume, origin))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(settle, named))
        if problems:
            raise SpecError(problems)
        return Lock(tuple(sorted(images.items())), tuple(sorted(debian.items())))

    def _image(self, name: Reference | Volume, known: Lock) -> dict[str, Digest]:
        reference = name.image if isinstance(name, Volume) else name
        if not isinstance(reference, Reference) or reference.digest is not None:
            return {}
        if not self.renew and str(reference) in dict(known.images):
            return {}
        if isinstance(name, Volume):
            return {str(reference): self.finder.every_platform(reference, platforms(name)).root.digest}
        image = self.finder.image(reference)
        return {str(reference): image.index or image.digest}

    def _package(self, name: PackageDir, origin: Origin, known: Lock) -> dict[Digest, tuple[Deb, ...]]:
        """The Debian packages of a package.  A Dockerfile has none: its image is in the cache, made anew on `renew`."""
        architecture = self.finder.platform.architecture
        package = read_package(Path(name.path))
        package.check(architecture)
        if package.kind == "dockerfile":
            if self.renew:
                self.dockerfiles.image(package, snapshot(package.directory, self.finder.take), origin)
            return {}
        request = package.request(architecture)
        if request is None:
            return {}
        return {identity(request): (None if self.renew else known.debs(request)) or self.finder.debs(request)}


def _write(path: Path, text: str) -> None:
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise LkbuildError(f"{path}: cannot be written: {error.strerror}") from error
