"""Images of the local Docker daemon, and images it builds from a Dockerfile (Docker Engine API 1.41 and later).

The daemon gives an image only as a whole, as `docker save` does, and it names it by an Id: the config's digest, or with
the containerd image store the manifest's.  So an image is spooled once into an archive called after its Id.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import Descriptor, Platform
from lkbuild.reference import DOCKER_HUB, Reference
from lkbuild.sources.dockerfile import Dockerfile, build_image
from lkbuild.sources.opening import open_tar
from lkbuild.sources.source import AbsentError, Document, Image, Missing, Progress, Source, quiet
from lkbuild.sources.tree import Tar
from lkbuild.store.files import failure

if TYPE_CHECKING:
    from docker import APIClient

_DEFAULT_HOST = "unix:///var/run/docker.sock"
_SECONDS = 600
"""How long to wait for the next bytes: the daemon may write a whole image to its disk before it sends the first."""
_BUILT = "lkbuild-built"
_NO_DAEMON = "start it, or set DOCKER_HOST, or make the package of `debian:` and `root:`"
"""What to do where a Dockerfile is to be built and nobody answers."""


class Daemon(Source):
    """The images of the Docker daemon at `host` (as DOCKER_HOST writes it; None: the default socket).

    It is first asked when an image is.  `spool` is a directory for its archives.  Threads may share one.
    """

    def __init__(self, spool: Path, host: str | None = None) -> None:
        self._spool = spool
        self._host = host or _DEFAULT_HOST
        self._client: APIClient | None = None
        self._archives: dict[str, Source] = {}
        self._ids: dict[Reference, str] = {}
        self._locks: dict[str, Lock] = {}
        self._connecting = Lock()

    def describe(self) -> str:
        """See Source."""
        return "Docker daemon"

    def fingerprint(self, references: Iterable[Reference] = ()) -> str:
        """See Source: the Ids of the images asked about.  One request, without loading the docker package."""
        from lkbuild.sources.imagelist import list_images

        names = sorted({_familiar(reference) for reference in references})
        try:
            listed = list_images(self._host) if self._host.startswith(("unix://", "tcp://")) else self._api().images()
            ids = {name: image["Id"] for image in listed for name in _names(image)}
        except (AbsentError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return "Docker daemon: none"
        return "Docker daemon: " + " ".join(f"{name}={ids.get(name)}" for name in names)

    def find(self, reference: Reference, platform: Platform | None) -> Document:
        """See Source.  A digest is looked for among those the image was pulled by, and nowhere else: an Id is none."""
        if reference.registry == _BUILT:
            return self._saved(reference, self._ids[reference], self._inspect(self._ids[reference]), platform)
        name = f"{reference.name}@{reference.digest}" if reference.digest else f"{reference.name}:{reference.tag}"
        seen = self._inspect(name)
        pulled = [str(name).rpartition("@")[2] for name in seen.get("RepoDigests") or ()]
        if reference.digest and str(reference.digest) not in pulled:
            raise AbsentError("has no image that was pulled by this digest")
        image_id = str(_digest_of(seen))
        self._ids[reference] = image_id
        return self._saved(reference, image_id, seen, platform)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """See Source."""
        return self._archive(self._id_of(reference)).read(reference, descriptor, limit)

    def fetch(self, reference: Reference, descriptor: Descriptor, into: Path, progress: Progress = quiet) -> None:
        """See Source."""
        self._archive(self._id_of(reference)).fetch(reference, descriptor, into, progress)

    def pulled_as(self, reference: Reference) -> tuple[Digest, ...]:
        """The digests by which the registry of `reference` knows, or knew, the image that has this name here."""
        seen = self._inspect(self._id_of(reference))
        found = []
        for text in seen.get("RepoDigests") or ():
            with contextlib.suppress(ValueError):
                known = Reference.parse(str(text))
                if known.name == reference.name and known.digest:
                    found.append(known.digest)
        return tuple(found)

    def resolve_id(self, image_id: str, platform: Platform) -> Image:
        """The image called by its Id, such as one just built; ImageError if it is not there or does not fit."""
        try:
            digest = Digest.parse(image_id)
        except ValueError as error:
            raise ImageError(f"Docker daemon: {error}") from error
        reference = Reference(_BUILT, "image", digest.short)
        self._ids[reference] = image_id
        answer = self.resolve(reference, platform)
        if isinstance(answer, Missing):
            raise ImageError(f"Docker daemon: image {image_id}: {answer.reason}", answer.hint)
        return answer

    def build(self, request: Dockerfile) -> str:
        """Build a Dockerfile; the Id of the image.  ImageError ends with the last lines of the build's log."""
        if not (request.context / request.dockerfile).is_file():
            raise ImageError(f"{request.context}: has no file {request.dockerfile!r}")
        try:
            return build_image(self._api(), request)
        except AbsentError as error:
            raise ImageError(
                f"building {request.dockerfile} needs a Docker daemon: {error.message}", _NO_DAEMON
            ) from error

    def release(self) -> None:
        """Remove the archives spooled by this value; they come back when something is asked of them again."""
        for image_id in tuple(self._archives):
            del self._archives[image_id]
            (self._spool / f"{Digest.parse(image_id).hex}.tar").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections to the daemon."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def _api(self) -> APIClient:
        """The docker package's client; AbsentError where no daemon answers."""
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._host)
            return self._client

    def _inspect(self, name: str) -> dict[str, Any]:
        import docker.errors

        api = self._api()
        with _talking(self._host):
            try:
                return cast(dict[str, Any], api.inspect_image(name))  # type: ignore[no-untyped-call]
            except docker.errors.NotFound:
                raise AbsentError("has no image of this name") from None

    def _id_of(self, reference: Reference) -> str:
        if reference not in self._ids:
            self.find(reference, None)
        return self._ids[reference]

    def _saved(self, reference: Reference, image_id: str, seen: dict[str, Any], platform: Platform | None) -> Document:
        there = Platform(seen.get("Os") or "unknown", seen.get("Architecture") or "unknown", seen.get("Variant") or "")
        mine = platform and (platform.canonical.os, platform.canonical.architecture)
        if mine and not there.unknown and mine != (there.canonical.os, there.canonical.architecture):
            raise AbsentError(f"has the image for {there}, not for {platform}")
        plain = Reference(reference.registry, reference.repository, reference.tag or "latest")
        return self._archive(image_id).find(plain, platform)

    def _archive(self, image_id: str) -> Source:
        """The image as an archive, saved first if it is not spooled yet."""
        with self._locks.setdefault(image_id, Lock()):
            if image_id not in self._archives:
                path = self._spool / f"{Digest.parse(image_id).hex}.tar"
                self._archives[image_id] = (_spooled(path) if path.exists() else None) or self._save(image_id, path)
            return self._archives[image_id]

    def _save(self, image_id: str, path: Path) -> Source:
        """Spool an image at `path`; ImageError where the daemon fails, StoreError where it cannot be written."""
        api = self._api()
        part = None
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._spool, suffix=".part", delete=False) as file:
                part = Path(file.name)
                for chunk in _saved_chunks(api, image_id, self._host):
                    file.write(chunk)
            source = _spooled(part, path)
            if source is None:
                raise ImageError(f"Docker daemon: what it saved of {image_id} holds no image")
            part.replace(path)
        except OSError as error:
            raise failure(error, f"writing {path}") from error
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
        return _spooled(path) or source


def _connect(host: str) -> APIClient:
    from lkbuild.sources.imagelist import listens

    # Most machines that have no daemon are told apart here, without loading the docker package.
    if not listens(host):
        raise _nobody(host)
    import docker

    with _talking(host):
        return docker.APIClient(
            base_url=host, version="auto", timeout=_SECONDS, use_ssh_client=host.startswith("ssh://")
        )


def _spooled(file: Path, path: Path | None = None) -> Source | None:
    """A spooled archive as a source; None where it is damaged, so that it is saved again."""
    try:
        return open_tar(Tar(file, path), "docker save of", any_name=True)
    except ImageError:
        return None


def _saved_chunks(api: APIClient, image_id: str, host: str) -> Iterator[bytes]:
    """What the daemon saves.  NB: requests' errors are OSErrors; here they are told apart from our disk's."""
    try:
        with _talking(host):
            yield from api.get_image(image_id)
    except AbsentError as error:
        raise ImageError(f"Docker daemon: saving {image_id} broke off: {error.__cause__}") from error


@contextmanager
def _talking(host: str) -> Iterator[None]:
    """What the docker package raises, as AbsentError where no daemon answers, ImageError where it answers badly."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise ImageError(f"Docker daemon: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise _nobody(host) from error


def _nobody(host: str) -> AbsentError:
    return AbsentError(f"no Docker daemon answers at {host}", "start it, or build without docker=yes")


def _names(image: dict[str, Any]) -> tuple[str, ...]:
    return (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))


def _digest_of(seen: dict[str, Any]) -> Digest:
    try:
        return Digest.parse(seen["Id"])
    except (KeyError, ValueError) as error:
        raise ImageError(f"Docker daemon: the image has an Id that is none: {error}") from error


def _familiar(reference: Reference) -> str:
    """How the daemon lists a reference: without what Docker Hub's names leave out."""
    name = (
        reference.name.removeprefix(f"{DOCKER_HUB}/").removeprefix("library/")
        if (reference.registry == DOCKER_HUB)
        else reference.name
    )
    return f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.tag}"
