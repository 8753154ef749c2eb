"""From a spec to the segments of its root filesystem: what LinuxKit's `Build` does, as steps (moby/build.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.oci.config import is_readonly, names_used, own_tree
from lkbuild.oci.mounts import volumes_used
from lkbuild.plan.graph import StepSet, renamed
from lkbuild.plan.kinds import (
    ApkDatabase,
    Boot,
    Bundle,
    FileEntry,
    Files,
    Kernel,
    Modules,
    Segment,
    Text,
    Tree,
    VolumeDirectories,
    VolumeLayout,
    leading,
)
from lkbuild.plan.materials import Materials, Style
from lkbuild.plan.step import Input, Step
from lkbuild.spec.fields import shape
from lkbuild.spec.metadata import metadata_json, metadata_yaml
from lkbuild.spec.model import Container, ContainerConfig, File, ImageName, PackageDir, Spec

FIRST_UID = 100


@frozen
class Placed:
    """A segment of the root filesystem: whose it is, and the step whose outputs `segment` and `index` it is."""

    owner: str
    step: str


class MachinePlan:
    """The steps of one machine, collected by asking for the segments its formats want.  Asking twice costs nothing."""

    def __init__(self, spec: Spec, materials: Materials, style: Style, steps: StepSet | None = None) -> None:
        self.spec = spec
        self.materials = materials
        self.style = style
        self._steps = StepSet() if steps is None else steps
        self._kernel: str | None = None
        self._segments: dict[str, tuple[Segment, tuple[Input, ...]]] = {}
        self.ids = _ids(spec)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps so far, each after those it needs."""
        return self._steps.all

    def add(self, step: Step) -> str:
        """Put a step into the plan, unless it is there; returns its name in it, which another may have had before."""
        return self._steps.add(step)

    def add_all(self, steps: Iterable[Step]) -> dict[str, str]:
        """Put steps into the plan that name each other; returns the names they have in it."""
        return self._steps.add_all(steps)

    def image(self, name: ImageName) -> tuple[Input, ...]:
        """The layers of an image as inputs; its steps are added."""
        planned = self.materials.images[name]
        return renamed(planned.inputs(), self._steps.add_all(planned.steps))

    # -- kernel --------------------------------------------------------------------------------------------------------

    def kernel(self) -> str | None:
        """The step whose outputs are `kernel`, `tar`, `ucode` and `codec`; None where the spec has no kernel."""
        kernel = self.spec.kernel
        if kernel is None or self._kernel is not None:
            return self._kernel
        params = Kernel(kernel.binary, kernel.tar, kernel.ucode, self.style.decompress_kernel)
        places = tuple((key, self.spec.origin("kernel", key)) for key in ("binary", "tar", "ucode"))
        origin = self.spec.origin("kernel", "image")
        step = Step(f"kernel:{short(kernel.image)}", "kernel", params, self.image(kernel.image), origin, places)
        self._kernel = self.add(step)
        return self._kernel

    def file_places(self) -> tuple[tuple[str, Origin], ...]:
        """Which entry of `files` each path, and each directory that leads to one, comes from: the first of them."""
        found: dict[str, Origin] = {}
        for number, file in enumerate(self.spec.files):
            for path in (*leading(file.path), file.path):
                found.setdefault(path, self.spec.origin("files", number))
        return tuple(found.items())

    def segment(self, archive: str) -> tuple[Segment, tuple[Input, ...]]:
        """How segments of this machine are written, and the input that decides what the params leave open."""
        if archive not in self._segments:
            self._segments[archive] = self._segment(archive)
        return self._segments[archive]

    def _segment(self, archive: str) -> tuple[Segment, tuple[Input, ...]]:
        if archive == "tar":
            return Segment("tar", "none", "dev"), ()
        profile = self.style.profile
        match self.style.compression:
            case "gzip":
                return Segment("cpio", "gzip", profile), ()
            case "zstd":
                return Segment("cpio", "zstd", profile), ()
            case _:
                kernel = self.kernel()
                # Of a kernel that `files` puts in the place of the image's nobody knows what it reads beside gzip.
                if kernel is None or self.override("boot/kernel") is not None:
                    return Segment("cpio", "gzip", profile), ()
                return Segment("cpio", None, profile), (Input("codec", kernel, "codec"),)

    # -- segments ------------------------------------------------------------------------------------------------------

    def segments(self, archive: str) -> list[Placed]:
        """The segments that the spec says, in the order they are laid down, for an initrd (`cpio`) or a tar."""
        placed = self._kernel_segments(archive)
        placed += self._init_segments(archive)
        placed += self._volume_segments(archive)
        placed += self._container_segments(archive)
        if self.spec.files:
            placed.append(self._files_segment(archive))
        return placed

    def containers(self) -> Iterator[tuple[str, tuple[str, int], Container]]:
        """Every container: its place below containers/ (`onboot/000-sysctl`), its section and its index there."""
        for section, number, container in _containers(self.spec):
            name = container.name if section == "services" else f"{number:03d}-{container.name}"
            yield f"{section}/{name}", (section, number), container

    def place(self, owner: str, step: Step, archive: str) -> Placed:
        """Put a step that makes a segment into the plan.

        NB: `.tar` stands where no name of a service or volume can, or a service `web.tar` would clash with `web`.
        """
        what, _, whose = step.name.partition(":")
        name = step.name if archive == "cpio" else f"{what}.tar:{whose}"
        return Placed(owner, self.add(replace(step, name=name)))

    def _kernel_segments(self, archive: str) -> list[Placed]:
        kernel, placed = self.kernel(), list[Placed]()
        if kernel is None or self.spec.kernel is None:
            return placed
        origin = self.spec.origin("kernel")
        segment, codec = self.segment(archive)
        if archive == "tar":
            ucode = self.spec.kernel.ucode is not None
            wanted = ("kernel", "facts", "ucode") if ucode else ("kernel", "facts")
            inputs = tuple(Input(role, kernel, role) for role in wanted)
            boot = Boot(self.spec.kernel.cmdline, ucode)
            placed.append(self.place("kernel", Step(f"boot:{self.spec.name}", "boot", boot, inputs, origin), archive))
        if self.spec.kernel.tar:
            inputs = (Input("tar", kernel, "tar"), *codec)
            step = Step(f"modules:{short(self.spec.kernel.image)}", "modules", Modules(segment), inputs, origin)
            placed.append(self.place("kernel", step, archive))
        return placed

    def _init_segments(self, archive: str) -> list[Placed]:
        placed = []
        for number, image in enumerate(self.spec.init):
            origin = self.spec.origin("init", number)
            placed.append(self._tree(f"init[{number}]", f"tree:init/{number}", image, ("", True, archive, origin)))
        if len(placed) > 1:
            segment, codec = self.segment(archive)
            inputs = tuple(Input(f"apk{n}", p.step, "apk") for n, p in enumerate(placed))
            step = Step(f"apk:{self.spec.name}", "apk-database", ApkDatabase(segment), (*inputs, *codec))
            placed.append(self.place("init", step, archive))
        return placed

    def _tree(self, owner: str, name: str, image: ImageName, how: tuple[str, bool, str, Origin]) -> Placed:
        prefix, init, archive, origin = how
        segment, codec = self.segment(archive)
        step = Step(name, "tree", Tree(prefix, init, segment), (*self.image(image), *codec), origin)
        return self.place(owner, step, archive)

    def _volume_segments(self, archive: str) -> list[Placed]:
        placed = []
        segment, codec = self.segment(archive)
        for number, volume in enumerate(self.spec.volumes):
            origin, owner = self.spec.origin("volumes", number), f"volumes[{number}]"
            directory = f"containers/volumes/{volume.name}"
            if volume.image is not None and volume.format == "filesystem":
                how = (f"{directory}/lower", True, archive, origin)
                placed.append(self._tree(owner, f"tree:volumes/{volume.name}", volume.image, how))
            elif volume.image is not None:
                layout = self.materials.layouts[volume.name]
                blobs = renamed(layout.blobs, self._steps.add_all(layout.steps))
                params = VolumeLayout(volume.name, layout.index, segment)
                inputs = (*blobs, *codec)
                step = Step(f"layout:volumes/{volume.name}", "volume-layout", params, inputs, origin)
                placed.append(self.place(owner, step, archive))
            empty = VolumeDirectories(volume.name, volume.image is None, segment)
            step = Step(f"volume:{volume.name}", "volume-directories", empty, codec, origin)
            placed.append(self.place(owner, step, archive))
        return placed

    def _container_segments(self, archive: str) -> list[Placed]:
        placed: list[Placed] = []
        laid: dict[str, str] = {}
        for place, (section, number), container in self.containers():
            directory, owner = f"containers/{place}", f"{section}[{number}]"
            origin = self.spec.origin(section, number)
            run = self.materials.images[container.image].run
            readonly = is_readonly(container.config, run, str(container.image))
            root = laid.get(str(container.image))
            if root is None:
                root = laid[str(container.image)] = own_tree(directory, readonly)
                how = (root, False, archive, origin)
                placed.append(self._tree(owner, f"tree:{place}", container.image, how))
            segment, codec = self.segment(archive)
            bundle = Bundle(
                directory,
                root,
                readonly,
                container.config,
                run,
                tuple((n, self.ids[n]) for n in sorted(names_used(container.config, run)) if n in self.ids),
                tuple((v.name, v.readonly) for v in self.spec.volumes if v.name in volumes_used(container.config)),
                segment,
            )
            places = self._said(container, section, number)
            step = Step(f"bundle:{place}", "bundle", bundle, codec, origin, places)
            placed.append(self.place(owner, step, archive))
        return placed

    def _said(self, container: Container, section: str, number: int) -> tuple[tuple[str, Origin], ...]:
        """Where each key stands that the spec gives for a container."""
        given = (each.key for each in shape(ContainerConfig) if getattr(container.config, each.name) is not None)
        return tuple((key, self.spec.origin(section, number, key)) for key in given)

    def _files_segment(self, archive: str) -> Placed:
        segment, codec = self.segment(archive)
        entries, inputs = list[FileEntry](), list[Input]()
        for file in self.spec.files:
            entry = self._file_entry(file)
            if entry is None:
                continue
            if entry.kind == "file" and entry.contents is None:
                digest, size = self.materials.files[file.source or ""]
                inputs.append(Input(f"file{len(entries)}", blob=digest, size=size))
            entries.append(entry)
        params = Files(tuple(entries), segment)
        origin, places = self.spec.origin("files"), self.file_places()
        step = Step(f"files:{self.spec.name}", "files", params, (*inputs, *codec), origin, places)
        return self.place("files", step, archive)

    def _file_entry(self, file: File) -> FileEntry | None:
        """An entry with everything filled in; None for an optional file that is not there."""
        uid, gid = (self.ids.get(v, 0) if isinstance(v, str) else v for v in (file.uid, file.gid))
        default = 0o700 if file.directory else 0o600
        entry = FileEntry(file.path, "file", None, None, default if file.mode is None else file.mode, uid, gid)
        if file.directory:
            return replace(entry, kind="directory")
        if file.symlink is not None:
            return replace(entry, kind="symlink", target=file.symlink)
        if file.metadata is not None:
            text = metadata_yaml(self.spec) if file.metadata == "yaml" else metadata_json(self.spec)
            return replace(entry, contents=text)
        if file.contents is not None:
            return replace(entry, contents=file.contents)
        return entry if file.source in self.materials.files else None

    def override(self, path: str) -> Step | None:
        """A step that makes the file which a `files` entry puts at `path`, where there is one; the last one counts."""
        for file in reversed(self.spec.files):
            entry = self._file_entry(file) if file.path.strip("/") == path else None
            if entry is None or entry.kind != "file":
                continue
            name = f"text:{self.spec.name}/{path}"
            if entry.contents is not None:
                return Step(name, "text", Text(entry.contents))
            digest, size = self.materials.files[file.source or ""]
            return Step(name, "text", Text(), (Input("file", blob=digest, size=size),))
        return None


def short(image: ImageName) -> str:
    """An image's name for people: a package's directory, or the whole reference."""
    return image.path.rstrip("/").rpartition("/")[2] if isinstance(image, PackageDir) else str(image)


def _containers(spec: Spec) -> list[tuple[str, int, Container]]:
    """Every container with its section and index, in the order in which they get their uids."""
    sections = (("onboot", spec.onboot), ("onshutdown", spec.onshutdown), ("services", spec.services))
    return [(section, n, container) for section, entries in sections for n, container in enumerate(entries)]


def _ids(spec: Spec) -> dict[str, int]:
    """The number each container's name stands for; `root` and "" are 0."""
    ids = {container.name: FIRST_UID + n for n, (_, _, container) in enumerate(_containers(spec))}
    return {**ids, "root": 0, "": 0}
