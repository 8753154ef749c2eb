"""An image built anew from what it carries, and laid beside what it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lkbuild import __version__
from lkbuild.engine.doors import WayOut
from lkbuild.engine.events import Listener, Said, Told
from lkbuild.engine.execute import Place
from lkbuild.engine.finding import Sources
from lkbuild.engine.materials import Gathering, Terms
from lkbuild.engine.options import Pull
from lkbuild.engine.outputs import write
from lkbuild.engine.session import Session
from lkbuild.engine.stamp import Watch
from lkbuild.errors import LkbuildError, Origin
from lkbuild.frozen import frozen
from lkbuild.oci.image import Platform
from lkbuild.plan.graph import Graph, Output, merge
from lkbuild.plan.kinds import KINDS
from lkbuild.plan.materials import Materials, Style
from lkbuild.plan.outputs import FORMATS, Format, plan
from lkbuild.plan.possible import Asked, problems, sized
from lkbuild.plan.record import Record
from lkbuild.rebuild.compare import Difference, compare
from lkbuild.rebuild.contents import find, wanted
from lkbuild.rebuild.finding import PinnedDoors, PinnedFinder
from lkbuild.rebuild.images import Candidate, Image, candidates
from lkbuild.rebuild.workspace import Workspace, lay_out
from lkbuild.sources import Daemon, Source, open_path
from lkbuild.sources.debian import Apt
from lkbuild.store import Store
from lkbuild.tools import mksquashfs


@frozen
class Means:
    """What a rebuild may use besides the image itself.

    `cache`: the cache of other builds, for what was fetched; `context`: a directory with the files of packages and the
    sources of `files`; `images`: as for a build.  `keep`: where what is built is written, None for nowhere.
    """

    registry: Source
    cache: Path | None = None
    context: Path | None = None
    images: tuple[Path, ...] = ()
    pull: Pull = "missing"
    keep: Path | None = None
    docker_host: str | None = None


@frozen
class Verdict:
    """What came of comparing an image with one format built anew: nothing in `differences` means identical."""

    machine: str
    format: str
    files: tuple[Path, ...]
    differences: tuple[Difference, ...]


@frozen
class Rebuilt:
    """What came of an image: a verdict for each of its outputs, and the packages that were not built from files."""

    verdicts: tuple[Verdict, ...]
    excepted: tuple[str, ...] = ()


def rebuild(image: Image, means: Means, listen: Listener) -> Rebuilt:
    """Build the image again in a store of its own, which is gone afterwards, and compare."""
    record = image.record
    _say_other_versions(record, listen)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lkbuild-rebuild-")))
        cache = _cache(means)
        if cache is not None:
            stack.callback(cache.close)
        files = find(wanted(record), cache, means.context)
        (scratch / "work").mkdir()
        workspace = lay_out(record, files, scratch / "work")
        store = Store.open(scratch / "store")
        stack.callback(store.close)
        place, finder = _place(record, workspace, means, store, listen)
        finder.cache = cache
        graphs = _graphs(record, workspace, Gathering(finder, place, workspace.bootloader))
        groups = candidates(image, [output for graph in graphs for output in graph.outputs])
        if not groups:
            raise LkbuildError(f"{image.path} is in no format that its record can be built in", _RENAMED)
        made = {output.format: graph for graph in graphs for output in graph.outputs}
        verdicts = [_best(image, group, made, place, means.keep) for group in groups]
        return Rebuilt(tuple(verdicts), tuple(each.package.name for each in record.packages if each.package.dockerfile))


_RENAMED = "name the file that holds the root filesystem: an initrd, a tar, a disk, an ISO"


def _say_other_versions(record: Record, listen: Listener) -> None:
    """Say which lkbuild and mksquashfs made the image, and which kinds of steps had other versions, where these did."""
    if record.version != __version__:
        listen(Said(f"built by lkbuild {record.version:.40}, and this is {__version__}"))
    there = mksquashfs().version if record.style.mksquashfs else ""
    if there != record.style.mksquashfs:
        listen(Said(f"made by mksquashfs {record.style.mksquashfs:.80}, and this is {there}"))
    then, now = dict(record.kinds), {kind.name: kind.version for kind in KINDS.values()}
    other = [f"{name:.40} {then.get(name, '-')}->{now.get(name, '-')}" for name in sorted(then.keys() | now.keys())]
    changed = [text for text, name in zip(other, sorted(then.keys() | now.keys()), strict=True)
               if then.get(name) != now.get(name)]  # fmt: skip
    if changed:
        listen(Said(f"kinds of steps with other versions then: {', '.join(changed)}; what they make may differ"))


def _cache(means: Means) -> Store | None:
    return Store.open(means.cache) if means.cache is not None and (means.cache / "results").is_dir() else None


def _place(
    record: Record, workspace: Workspace, means: Means, store: Store, listen: Listener
) -> tuple[Place, PinnedFinder]:
    daemon = Daemon(store.root / "spool", means.docker_host)
    local = tuple(open_path(path, store.root / "spool") for path in means.images)
    sources = Sources(local, means.registry, Apt(store.root / "apt"), means.pull)
    try:
        platform = Platform("linux", record.style.arch)
    except ValueError as error:
        raise LkbuildError(f"the record names an architecture that is none: {error}") from error
    finder = PinnedFinder(store, sources, platform, listen, workspace.pins)
    debs = {deb.digest: deb for each in record.packages for deb in each.package.debs}
    doors = PinnedDoors(finder, WayOut(finder, daemon), debs, record.style.arch)
    return Place(store, doors, listen), finder


def _graphs(record: Record, workspace: Workspace, gathering: Gathering) -> list[Graph]:
    """The graph of each format that can be made of this machine; paths of outputs are below `/`."""
    gathering.find_images([workspace.spec])
    materials = gathering.materials(workspace.spec, Terms(workspace.lock, Watch()))
    return [
        _graph(record, workspace, materials, name)
        for name, format in FORMATS.items()
        if _may_be(record, workspace, format)
    ]


def _may_be(record: Record, workspace: Workspace, format: Format) -> bool:
    """Whether a machine with this record may be of a format: the record has what it depends on, and nothing else."""
    style, loaders = record.style, workspace.bootloader is not None
    asked = Asked(((format.name, Origin(record.name)),), style.arch, style.size, loaders)
    return (
        format.loaders == loaders
        and format.mksquashfs == bool(style.mksquashfs)
        and (style.size is None or bool(sized([format.name])))
        and not problems(workspace.spec, asked)
    )


def _graph(record: Record, workspace: Workspace, materials: Materials, format: str) -> Graph:
    style = record.style
    wanted = Style(
        style.compression,
        style.profile,
        style.decompress_kernel,
        style.arch,
        workspace.bootloader,
        style.size,
        mksquashfs().version if style.mksquashfs else "",
        "no" if style.sbom is None else "spdx",
        style.sbom or "",
        style.supplier,
        embedded=True,
    )
    graph = plan(workspace.spec, materials, wanted, [format], Path("/"))
    return merge([replace(graph, outputs=tuple(output for output in graph.outputs if not output.beside))])


def _best(
    image: Image, group: Iterable[Candidate], graphs: dict[str, Graph], place: Place, keep: Path | None
) -> Verdict:
    """The verdict on the candidate that the image is, or is most like."""
    verdicts = [_verdict(image, each, graphs[each.output.format], place, keep) for each in group]
    same = [each for each in verdicts if not each.differences]
    return same[0] if same else max(verdicts, key=_likeness)


def _likeness(verdict: Verdict) -> tuple[bool, int]:
    first = verdict.differences[0]
    return first.found == first.wanted, first.at or 0


def _verdict(image: Image, candidate: Candidate, graph: Graph, place: Place, keep: Path | None) -> Verdict:
    output = candidate.output
    session = Session(graph, place)
    session.decide([output], lambda output, session: False)
    place.listen(Told(f"building {output.machine} again: {output.format}"))
    for step in graph.steps:
        if session.must_run(step.name):
            session.make(step.name)
    if keep is not None:
        write(_kept(output, keep), session)
    found = [each for file, path in candidate.places for each in compare(file, path, session)]
    return Verdict(output.machine, output.format, tuple(path for _, path in candidate.places), tuple(found))


def _kept(output: Output, keep: Path) -> Output:
    return replace(
        output,
        files=tuple(replace(f, path=str(keep.absolute() / f.path.lstrip("/"))) for f in output.files),
    )
