"""The way out for the steps that may use it: layers, Debian packages, and the Docker daemon's builder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lkbuild.digest import Digest
from lkbuild.engine.finding import Finder, layer_descriptor
from lkbuild.errors import ImageError
from lkbuild.frozen import frozen
from lkbuild.oci.image import Descriptor
from lkbuild.packages.params import DockerfileBuild
from lkbuild.reference import Reference
from lkbuild.sources import Daemon, Dockerfile, debian
from lkbuild.steps.work import Progress, Work
from lkbuild.store.values import Blob

if TYPE_CHECKING:
    from lkbuild.sources.signatures import Looked
    from lkbuild.trust.judge import Candidate


@frozen
class WayOut:
    """The doors of a real build (`steps.work.Doors`)."""

    finder: Finder
    daemon: Daemon

    def fetch_layer(self, reference: Reference, blob: Blob, into: Path, progress: Progress) -> None:
        """Bring a layer to `into` from where its image was found."""
        source = self.finder.source_of(reference)

        def report(_: Descriptor, done: int) -> None:
            progress(done, blob.size)

        source.fetch(reference, layer_descriptor(blob.digest, blob.size), into, report)

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Candidate | Looked]:
        """The signatures of an image, where it was found."""
        from lkbuild.sources.signatures import signatures

        return signatures(self.finder.signed_at(reference), reference, digest)

    def fetch_file(self, uri: str, blob: Blob, into: Path, progress: Progress) -> None:
        """Bring a Debian package to `into`."""
        if self.finder.sources.pull == "never":
            raise ImageError(
                f"{uri.rpartition('/')[2]} is not in the cache, and this build is offline",
                "build once without offline=yes / pull=never",
            )
        debian.fetch(uri, blob.size, blob.digest, into, progress)

    def build_dockerfile(self, params: DockerfileBuild, work: Work) -> None:
        """Have the daemon build the image; writes `manifest`, `config` and `layer0`, `layer1`, …."""
        context = work.directory / "context"
        _lay_out(params, {role: file.path for role, file in work.inputs.items()}, context)
        platform = self.finder.platform
        renew = self.finder.sources.pull == "always"
        job = Dockerfile(context, params.dockerfile, platform, params.labels, params.arguments, params.network, renew)
        image = self.daemon.resolve_id(self.daemon.build(job), platform)
        work.output("manifest").write_bytes(image.manifest)
        work.output("config").write_bytes(image.config)
        for number, layer in enumerate(image.layers):
            self.daemon.fetch(image.reference, layer, work.output(f"layer{number}"))
        for path in sorted(context.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        context.rmdir()


def _lay_out(params: DockerfileBuild, files: Mapping[str, Path], context: Path) -> None:
    """Write the build context: what the step's params and inputs say, and nothing else of the disk."""
    context.mkdir()
    number = 0
    for entry in params.entries:
        path = context / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "directory":
            path.mkdir(exist_ok=True)
        elif entry.kind == "symlink":
            path.symlink_to(entry.target)
        elif entry.contents is not None:
            path.write_text(entry.contents, "utf-8")
        else:
            path.write_bytes(files[f"file{number}"].read_bytes())
            number += 1
        if entry.kind != "symlink":
            path.chmod(entry.mode)
