"""Where outputs come from: the digests of their files as they will be on disk, and the statement about them."""

from __future__ import annotations

import hashlib
import json

from lkbuild.contents.bill import listed
from lkbuild.contents.provenance import statement
from lkbuild.digest import Digest, canonical
from lkbuild.disk.layout import read
from lkbuild.plan.contents_kinds import Hashes, Provenance
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe, Tree, whole

_PROGRESS = 1 << 24


def hashes(params: Hashes, work: Work) -> None:
    """Writes `hashes`: an object of the files' digests by their paths in the output, "" for one that is a file."""
    output = work.inputs["output"]
    if params.form == "tree":
        files = Tree.decode(output.path.read_bytes()).files
        found = {path: digest_of(recipe, work) for path, recipe in files.items()}
    elif params.form == "recipe":
        with output.path.open("rb") as file:
            found = {"": digest_of(Recipe.read(file), work)}
    elif output.blob.digest.algorithm == "sha256":
        found = {"": output.blob.digest}
    else:
        found = {"": digest_of(whole(output.blob), work)}
    work.output("hashes").write_bytes(canonical(found))


def digest_of(recipe: Recipe, work: Work) -> Digest:
    """The SHA-256 of the file a recipe makes, which is read once for it."""
    found, done, said = hashlib.sha256(), 0, 0
    for piece in read(recipe.extents, work.store.open_blob):
        found.update(piece)
        done += len(piece)
        if done - said >= _PROGRESS:
            work.progress(said := done, recipe.size)
    return Digest("sha256", found.hexdigest())


def provenance(params: Provenance, work: Work) -> None:
    """Writes `statement`: about the files whose digests are the inputs `hashes<N>`."""
    subjects: dict[str, Digest] = {}
    for name, item in zip(params.subjects, work.numbered("hashes"), strict=True):
        for path, text in json.loads(item.path.read_bytes()).items():
            subjects[f"{name}/{path}" if path else name] = Digest.parse(text)
    images = listed(params.images, [item.path.read_bytes() for item in work.numbered("contents")])
    work.output("statement").write_bytes(statement(subjects, params.made, images))
