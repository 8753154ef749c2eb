"""From what was asked for to a session: read the specs, find the images and packages, plan, decide.

Everything that depends on the world outside is settled here, before the graph is made: which image a tag means, which
Debian packages a name means, what local files hold.  After it, the graph is a value and nothing moves any more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lkbuild.engine.doors import WayOut
from lkbuild.engine.events import Listener, Said
from lkbuild.engine.execute import Place
from lkbuild.engine.finding import Finder, Sources
from lkbuild.engine.fingerprints import DAEMON
from lkbuild.engine.formats import check_formats, formats_of, size_for_nothing
from lkbuild.engine.materials import Gathering, Terms, references
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.outputs import is_current
from lkbuild.engine.refusing import Files, Refusal, Refusals
from lkbuild.engine.session import Session
from lkbuild.engine.stamp import Watch
from lkbuild.engine.trusting import demand_of
from lkbuild.errors import LkbuildError, SpecError, UsageError
from lkbuild.frozen import frozen
from lkbuild.lock import Lock, lock_path, pin, read_lock
from lkbuild.oci.image import Platform
from lkbuild.plan.graph import SHARED_PATH, Graph, at_odds, merge
from lkbuild.plan.materials import Style
from lkbuild.plan.outputs import FORMATS, plan
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Source, open_path
from lkbuild.sources.debian import Apt
from lkbuild.spec.load import load
from lkbuild.spec.model import ImageName, PackageDir, Spec
from lkbuild.store import Store
from lkbuild.tools import mksquashfs

Loaded = tuple[Spec, Lock | None]


@frozen
class Prepared:
    """A build that is ready to run, and what was looked at to get there.

    `machines`: those it is of, by their spec files; `refused`: those asked for that it is not of.
    """

    session: Session
    watch: Watch
    finder: Finder
    machines: tuple[Files, ...]
    refused: tuple[Refusal, ...] = ()

    def close(self) -> None:
        """Let go of the store."""
        self.session.place.store.close()


def prepare(
    options: BuildOptions, listen: Listener, registry: Source, watch: Watch | None = None, going_on: bool = False
) -> Prepared:
    """Everything up to, and without, the first step.  SpecError has the problems of all specs at once, in their order.

    `watch` is told what is looked at, also where that ends in an error.  With `going_on`, those machines are prepared
    that can be, and of the others it is said why not; what is wrong with all of them is an error all the same.
    """
    watch, refusals = watch or Watch(), Refusals(options.machines, going_on)
    specs = refusals.each(lambda number: _load(options.machines[number], options, watch.part(number), listen))
    if not refusals.found and (problems := size_for_nothing((spec for spec, _ in specs.values()), options)):
        raise SpecError(problems)
    if not specs:
        refusals.settle()
    store = Store.open(options.cache)
    try:
        for path in options.images:
            watch.add_layout(path)
        if options.key is not None:
            watch.add_file(options.key)
        daemon = Daemon(store.root / "spool", options.docker_host)
        finder = make_finder(options, store, listen, daemon, registry)
        place = Place(store, WayOut(finder, daemon), listen)
        bootloader = _bootloader(options, specs.values())
        if options.docker:
            names = {name for spec, _ in specs.values() for name in references(spec)}
            names |= {bootloader} if isinstance(bootloader, Reference) else set()
            watch.add_text(DAEMON, daemon.fingerprint(names))
        graphs = _graphs(specs, Gathering(finder, place, bootloader), _Asked(options, watch, refusals))
        session = _session(graphs, place, refusals)
        watch.keep(refusals.left)
        machines = tuple(options.machines[number] for number in refusals.left)
        return Prepared(session, watch, finder, machines, refusals.found)
    except BaseException:
        store.close()
        raise


def _load(files: Sequence[Path], options: BuildOptions, watch: Watch, listen: Listener) -> Loaded:
    """A machine's spec, and its lock where there is one beside its first file; what the lock does not hold is said.

    SpecError also for formats it cannot be made in.
    """
    for file in files:
        watch.add_file(file)
    spec = load(files, name=options.name)
    path = lock_path(files[0])
    watch.add_file(path)
    check_formats(spec, options)
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


@frozen
class _Asked:
    """How it is to be built; who is told what is looked at, and of machines that cannot be built."""

    options: BuildOptions
    watch: Watch
    refusals: Refusals


def _graphs(specs: Mapping[int, Loaded], gathering: Gathering, asked: _Asked) -> dict[int, Graph]:
    """The graph of each machine."""
    options, bootloader = asked.options, gathering.bootloader
    gathering.find_images(spec for spec, _ in specs.values())
    if not asked.refusals.going_on and (asked.refusals.found or gathering.missing):
        gathering.dockerfiles = replace(gathering.dockerfiles, in_vain=True)
    squashing = functools.cache(mksquashfs)
    style = Style(
        options.compression,
        options.profile,
        options.decompress_kernel,
        options.arch,
        bootloader,
        options.size,
        "",
        options.sbom,
        options.sbom_output,
        options.supplier,
        options.recorded if options.provenance else None,
        options.lock,
    )

    def planned(number: int) -> Graph:
        spec, lock = specs[number]
        mine, own = asked.watch.part(number), style
        formats = formats_of(spec, options)
        if any(FORMATS[name].mksquashfs for name in formats):
            for file in squashing().files:
                mine.add_file(file)
            own = replace(style, mksquashfs=squashing().version)
        loaders = any(FORMATS[name].loaders for name in formats)
        named = references(spec) | ({bootloader} if loaders and isinstance(bootloader, Reference) else set())
        demand = demand_of(spec, named, gathering.finder, mine, options.trust)
        materials = gathering.materials(spec, Terms(lock, mine, demand, loaders))
        return plan(spec, materials, own, formats, options.directory.absolute())

    return asked.refusals.each(planned)


def _session(graphs: Mapping[int, Graph], place: Place, refusals: Refusals) -> Session:
    """What is to be run of all machines that can be built."""
    for first, second, path in at_odds(graphs):
        for (number, name), (other, others) in ((first, second), (second, first)):
            message = f"{name} and {others} of {refusals.spec(other)} would both write {path}"
            refusals.refuse(number, LkbuildError(message, SHARED_PATH))
    refusals.settle()
    session = Session(merge(graphs[number] for number in refusals.left), place)
    session.decide(session.graph.outputs, is_current)
    too_much = session.too_much()
    for number in refusals.left if too_much else ():
        if mine := [problem for machine, problem in too_much if machine == graphs[number].outputs[0].machine]:
            refusals.refuse(number, SpecError(mine))
    if too_much:
        refusals.settle()
        session.leave_out({machine for machine, _ in too_much})
        session.decide(session.graph.outputs, is_current)
    return session


def _bootloader(options: BuildOptions, specs: Iterable[Loaded]) -> ImageName | None:
    """The image of boot loaders, None where no format needs one."""
    if not any(FORMATS[name].loaders for spec, _ in specs for name in formats_of(spec, options)):
        return None
    text = options.bootloader or f"@pkg:{_BOOTLOADER}"
    try:
        if text.startswith("@pkg:"):
            return PackageDir(str(Path(text.removeprefix("@pkg:")).absolute()), text)
        return Reference.parse(text)
    except ValueError as error:
        raise UsageError(f"bootloader: {error}", "name an image, or a package with @pkg:DIR") from error


_BOOTLOADER = Path(__file__).parents[1] / "bootloader"
"""The package of boot loaders that comes with lkbuild."""
