"""Images that the Docker daemon builds from a Dockerfile.

Their config decides the plan, so they are built before there is one.
"""

from __future__ import annotations

import threading
from dataclasses import field, replace

from lkbuild.digest import Digest
from lkbuild.engine.execute import Place, execute, key_of
from lkbuild.errors import ImageError, Origin, SpecError
from lkbuild.frozen import frozen
from lkbuild.packages import Package, TreeEntry, file_inputs
from lkbuild.plan.step import Input, Step
from lkbuild.store import Blob, Result


@frozen
class BuiltImage:
    """The step that built it, the key of its result, and the result."""

    step: Step
    key: Digest
    result: Result


@frozen
class Dockerfiles:
    """Builds each image once.  `renew`: also those that are in the store.  Threads may share one.

    `in_vain`: nothing will come of it, and none is built; that is a SpecError without problems.
    """

    place: Place
    architecture: str
    renew: bool
    in_vain: bool = False
    _built: dict[Digest, Result] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def image(self, package: Package, entries: tuple[TreeEntry, ...], origin: Origin) -> BuiltImage:
        """The image of a package with a Dockerfile, whose tree has these entries."""
        params = package.dockerfile_params(self.architecture, entries)
        files = enumerate(file_inputs(params, entries))
        inputs = tuple(Input(f"file{n}", blob=entry.digest, size=entry.size) for n, entry in files)
        step = Step(f"dockerfile:{package.name}", "dockerfile", params, inputs, origin)
        blobs = {i.role: Blob(i.blob, i.size) for i in inputs if i.blob is not None}
        key = key_of(step, blobs)
        if self.in_vain:
            raise SpecError(())
        with self._guard:
            if key not in self._built:
                try:
                    self._built[key] = self._build(replace(step, origin=None), key, blobs)
                except ImageError as error:
                    raise ImageError(f"{package.directory}: {error.message}", error.hint) from error
            return BuiltImage(step, key, self._built[key])

    def _build(self, step: Step, key: Digest, blobs: dict[str, Blob]) -> Result:
        """NB: the step has no origin here; whoever gathers what is wrong adds it."""
        store = self.place.store
        before = store.recorded(key) if self.renew else None
        if before is None:
            return execute(step, blobs, self.place)
        store.result_path(key).unlink(missing_ok=True)
        try:
            return execute(step, blobs, self.place)
        except BaseException:
            store.record(key, before)
            raise
