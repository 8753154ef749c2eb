"""From what was asked for to a session: read the specs, find the images and packages, plan, decide.

Everything that depends on the world outside is settled here, before the graph is made: which image a tag means, which
Debian packages a name means, what local files hold.  After it, the graph is a value and nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from lkbuild.engine.doors import WayOut
from lkbuild.engine.events import Listener, Said
from lkbuild.engine.execute import Place
from lkbuild.engine.finding import Finder, Sources
from lkbuild.engine.fingerprints import DAEMON
from lkbuild.engine.formats import check_formats, formats_of
from lkbuild.engine.materials import Gathering, Terms, image_origins, references
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.outputs import is_current
from lkbuild.engine.session import Session
from lkbuild.engine.stamp import Watch
from lkbuild.engine.trusting import demand_of
from lkbuild.errors import Origin, Problem, SpecError, UsageError
from lkbuild.frozen import frozen
from lkbuild.lock import Lock, lock_path, pin, read_lock
from lkbuild.oci.image import Platform
from lkbuild.plan.graph import Graph, merge
from lkbuild.plan.materials import Style
from lkbuild.plan.outputs import FORMATS, Format, plan
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Source, open_path
from lkbuild.sources.debian import Apt
from lkbuild.spec.load import load
from lkbuild.spec.model import ImageName, PackageDir, Spec
from lkbuild.store import Store
from lkbuild.tools import mksquashfs

T = TypeVar("T")


@frozen
class Prepared:
    """A build that is ready to run, and what was looked at to get there."""

    session: Session
    watch: Watch
    finder: Finder

    def close(self) -> None:
        """Let go of the store."""
        self.session.place.store.close()


def prepare(options: BuildOptions, listen: Listener, registry: Source, watch: Watch | None = None) -> Prepared:
    """Everything up to, and without, the first step.  SpecError has the problems of all specs at once.

    `watch` is told what is looked at, also where that ends in an error.
    """
    watch = watch or Watch()
    specs = _collect(enumerate(options.machines), lambda item: _load(item[1], options, watch.part(item[0]), listen))
    check_formats((spec for spec, _ in specs), options)
    store = Store.open(options.cache)
    try:
        for path in options.images:
            watch.add_layout(path)
        if options.key is not None:
            watch.add_file(options.key)
        daemon = Daemon(store.root / "spool", options.docker_host)
        finder = make_finder(options, store, listen, daemon, registry)
        place = Place(store, WayOut(finder, daemon), listen)
        bootloader = _bootloader(options, specs)
        if options.docker:
            names = {name for spec, _ in specs for name in references(spec)}
            names |= {bootloader} if isinstance(bootloader, Reference) else set()
            watch.add_text(DAEMON, daemon.fingerprint(names))
        session = Session(merge(_plan(specs, Gathering(finder, place, bootloader), options, watch)), place)
        session.decide(session.graph.outputs, is_current)
        session.refuse()
        return Prepared(session, watch, finder)
    except BaseException:
        store.close()
        raise


def _load(files: Sequence[Path], options: BuildOptions, watch: Watch, listen: Listener) -> tuple[Spec, Lock | None]:
    """A machine's spec, and its lock where there is one beside its first file; what the lock does not hold is said."""
    for file in files:
        watch.add_file(file)
    spec = load(files, name=options.name)
    path = lock_path(files[0])
    watch.add_file(path)
    lock = read_lock(path)
    if lock is None:
        return spec, None
    left_open = sorted({str(name) for name in references(spec) if lock.pinned(name).digest is None})
    if left_open:
        listen(Said(f"{path} does not hold {', '.join(left_open)}; `doit lock` adds what is missing"))
    return pin(spec, lock.pinned), lock


def make_finder(options: BuildOptions, store: Store, listen: Listener, daemon: Daemon, registry: Source) -> Finder:
    """Who finds images for these options; `daemon` is asked only if they say so."""
    local: list[Source] = [open_path(path, store.root / "spool") for path in options.images]
    if options.docker:
        local.append(daemon)
    sources = Sources(tuple(local), registry, Apt(store.root / "apt"), options.pull)
    return Finder(store, sources, Platform("linux", options.arch), listen)


def find_images(specs: Iterable[Spec], gathering: Gathering) -> None:
    """Find every image of the specs, and that of boot loaders; SpecError names those that are missing."""
    bootloader = gathering.bootloader
    gathering.find_images([image_origins(spec) for spec in specs])
    gathering.find_images([] if bootloader is None else [{bootloader: Origin("bootloader")}])


def _plan(
    specs: list[tuple[Spec, Lock | None]], gathering: Gathering, options: BuildOptions, watch: Watch
) -> Iterable[Graph]:
    """The graph of each machine."""
    bootloader = gathering.bootloader
    find_images((spec for spec, _ in specs), gathering)
    style = Style(
        options.compression,
        options.profile,
        options.decompress_kernel,
        options.arch,
        bootloader,
        options.size,
        _mksquashfs(options, specs, watch),
        options.sbom,
        options.sbom_output,
        options.supplier,
        options.recorded if options.provenance else None,
        options.lock,
    )

    def planned(item: tuple[int, tuple[Spec, Lock | None]]) -> Graph:
        number, (spec, lock) = item
        mine = watch.part(number)
        named = references(spec) | ({bootloader} if isinstance(bootloader, Reference) else set())
        demand = demand_of(spec, named, gathering.finder, mine, options.trust)
        materials = gathering.materials(spec, Terms(lock, mine, demand))
        return plan(spec, materials, style, formats_of(spec, options), options.directory.absolute())

    return _collect(enumerate(specs), planned)


def _bootloader(options: BuildOptions, specs: list[tuple[Spec, Lock | None]]) -> ImageName | None:
    """The image of boot loaders, None where no format needs one."""
    if not any(format.loaders for format in _formats(options, specs)):
        return None
    text = options.bootloader or f"@pkg:{_BOOTLOADER}"
    try:
        if text.startswith("@pkg:"):
            return PackageDir(str(Path(text.removeprefix("@pkg:")).absolute()), text)
        return Reference.parse(text)
    except ValueError as error:
        raise UsageError(f"bootloader: {error}", "name an image, or a package with @pkg:DIR") from error


def _mksquashfs(options: BuildOptions, specs: list[tuple[Spec, Lock | None]], watch: Watch) -> str:
    """The version of mksquashfs, empty where no format needs it; ToolError where it is not there."""
    if not any(format.mksquashfs for format in _formats(options, specs)):
        return ""
    program = mksquashfs()
    for file in program.files:
        watch.add_file(file)
    return program.version


def _formats(options: BuildOptions, specs: list[tuple[Spec, Lock | None]]) -> list[Format]:
    """Every format that some machine is made in."""
    return [FORMATS[name] for name in {name for spec, _ in specs for name in formats_of(spec, options)}]


_BOOTLOADER = Path(__file__).parents[1] / "bootloader"
"""The package of boot loaders that comes with lkbuild."""


def _collect(items: Iterable[T], work: Callable[[T], object]) -> list:  # type: ignore[type-arg]
    """`work` of every item; the problems of all of them in one SpecError."""
    done, problems = [], list[Problem]()
    for item in items:
        try:
            done.append(work(item))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return done
