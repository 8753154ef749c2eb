"""What is in an image, of its layers, of the Debian packages it was made of and of the SBOM it brings itself."""

from __future__ import annotations

from lkbuild.archive.deb import control, fields
from lkbuild.archive.entry import path_text
from lkbuild.archive.reading import read_files
from lkbuild.contents import attestation
from lkbuild.contents.dpkg import component
from lkbuild.contents.image import DIRECTORIES, NAMES, RPM, RPM_NOTE, Account, contents, databases
from lkbuild.contents.model import DEBIAN, Component
from lkbuild.contents.purl import Distribution
from lkbuild.errors import StepError
from lkbuild.plan.contents_kinds import ImageContents
from lkbuild.steps.segment import layers
from lkbuild.steps.work import Work

MAX_READ = 32 << 20
"""The most bytes of an image's databases that are read; those of a large desktop have 6 MB."""


def image_contents(params: ImageContents, work: Work) -> None:
    """Writes `contents`: of the layers `layer<N>`, of the Debian packages `deb<N>` that layer0 is made of, `sbom<N>`.

    What is wrong with a database or an attestation, or beyond what is believed, is noted: it is no reason not to build.
    """
    debs, notes = list(work.numbered("deb")), list[str]()
    accounts: list[Account] = []
    if debs:
        accounts.append((DEBIAN, *_debian(work)))
    # The lowest layer is these packages unpacked: there is nothing to be read in it that they do not tell better.
    reading = read_files(layers(work)[bool(debs) :], NAMES, DIRECTORIES, MAX_READ)
    accounts += databases({path_text(path): data for path, data in reading.files.items()})
    if reading.there(RPM):
        notes.append(RPM_NOTE)
    accounts += _attested(params, work)
    found = contents((item.blob.digest for item in work.numbered("layer")), accounts, notes)
    for note in found.notes:
        work.note(note)
    work.output("contents").write_bytes(found.encode())


def _debian(work: Work) -> tuple[list[Component], list[str]]:
    """The packages of the inputs `deb<N>`, with the digests of their files."""
    found, strange = list[Component](), list[str]()
    for item in work.numbered("deb"):
        package = component(fields(control(item.path)), Distribution(), str(item.blob.digest))
        if package is None:
            strange.append(f"the Debian package {item.blob.digest.short} has no name and version that could be read")
        else:
            found.append(package)
    return found, strange


def _attested(params: ImageContents, work: Work) -> list[Account]:
    """What the image says of itself."""
    own = "the image's own SBOM"
    found: list[Account] = [
        (own, [], [f"{own} has {size} bytes, {attestation.MAX_BYTES} is the most that is read"]) for size in params.left
    ]
    for item in work.numbered("sbom"):
        if params.manifest is None:
            raise StepError(f"{own} is about nothing: it has no manifest")
        found.append((own, *attestation.parse(item.path.read_bytes(), params.manifest)))
    return found
