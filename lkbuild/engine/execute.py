"""One step, carried out: the same function for threads, processes and other machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from lkbuild.digest import Digest
from lkbuild.engine.events import Finished, Listener, Progressed
from lkbuild.errors import LkbuildError, StepError
from lkbuild.frozen import frozen
from lkbuild.packages.params import DebFile
from lkbuild.plan.kinds import KINDS, Pull, Verify
from lkbuild.plan.recorded import RecordedStep
from lkbuild.plan.step import Step, located, step_key
from lkbuild.steps.functions import FUNCTIONS
from lkbuild.steps.work import Doors, InputFile, Work
from lkbuild.store import Blob, Result, Store
from lkbuild.store.files import failure, full

_OFTEN = 0.05
"""Seconds between two reports of how far a step is."""


@frozen
class Place:
    """Where a step is carried out: the store, the way out, and who listens."""

    store: Store
    doors: Doors
    listen: Listener


def key_of(step: Step, inputs: Mapping[str, Blob]) -> Digest:
    """The key of `step`'s result, given what its inputs are."""
    kind = KINDS[step.kind]
    return step_key(step.kind, kind.version, step.params, tuple((i.role, inputs[i.role].digest) for i in step.inputs))


def fixed_result(step: Step) -> Result | None:
    """The result of a step whose params say what it makes (a pull), None for any other."""
    if isinstance(step.params, Pull):
        layers = enumerate(step.params.layers)
        return Result(tuple((f"layer{n}", Blob(layer.digest, layer.size)) for n, layer in layers))
    if isinstance(step.params, DebFile):
        return Result((("deb", Blob(step.params.digest, step.params.size)),))
    return None


def on_record(step: Step, key: Digest, store: Store) -> Result | None:
    """The result recorded under `key`, the step's, whether or not its blobs are still here.

    One of a verification counts only if what was kept with it proves it anew.
    """
    result = store.recorded(key)
    if result is None or not isinstance(step.params, Verify):
        return result
    from lkbuild.steps.verify import still_verified  # which loads cryptography

    root = next((i.blob for i in step.inputs if i.role == "root"), None)
    return result if still_verified(step.params, result, store, root) else None


def execute(step: Step, inputs: Mapping[str, Blob], place: Place, key: Digest | None = None) -> Result:
    """The result of `step`: from the store, or made now and recorded there.  `key` is its key, where that is known.

    Of any number of processes that want the same result at once, one makes it.  Errors carry the place in the spec.
    """
    key = key or key_of(step, inputs)
    began = time.monotonic()
    with place.store.lock(key.hex) as waited:
        result = on_record(step, key, place.store)
        if result is not None and not all(map(place.store.has, result.blobs)):
            result = None
        if result is not None:
            place.listen(Finished(step.name, "waited" if waited else "cached", time.monotonic() - began))
            return result
        result = _run(step, inputs, place)
        read = {role: (blob.digest, blob.size) for role, blob in inputs.items()}
        place.store.record(key, result, RecordedStep.of(step, read).encode())
    place.listen(Finished(step.name, "ran", time.monotonic() - began))
    return result


def _run(step: Step, inputs: Mapping[str, Blob], place: Place) -> Result:
    store = place.store
    with store.scratch() as directory:
        work = Work(
            inputs={role: InputFile(store.path(blob.digest), blob) for role, blob in inputs.items()},
            directory=directory,
            doors=place.doors,
            progress=_progress(step.name, place.listen),
            store=store,
        )
        try:
            FUNCTIONS[step.kind](step.params, work)
        except LkbuildError as error:
            error.hint = error.hint or full(error.__cause__)
            raise _located(error, step) from error
        except FileNotFoundError as error:
            raise StepError(f"{step.name}: {error.filename} is gone from the cache", "build again") from error
        except OSError as error:
            raise failure(error, f"{step.name}: {error.filename or store.root}") from error
        written = {path.name: store.add_file(path) for path in directory.iterdir()}
        outputs = {**work.made, **written}
        _refuse_other(step, outputs, store)
        return Result(tuple(sorted(outputs.items())), tuple(work.refers), tuple(work.notes))


def _progress(step: str, listen: Listener) -> Callable[[int, int], None]:
    """Tells how far the step is, twenty times a second at most, and at the end."""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _OFTEN or done == total:
            last = now
            listen(Progressed(step, done, total))

    return progress


def _refuse_other(step: Step, made: Mapping[str, Blob], store: Store) -> None:
    """StepError where a step whose params say what it makes made something else, or left it out of the store."""
    fixed = fixed_result(step)
    if fixed is None:
        return
    asked = dict(fixed.outputs)
    for name in sorted(asked.keys() | made.keys()):
        if made.get(name) != asked.get(name):
            raise StepError(located(step, f"{name}: got {_named(made.get(name))}, want {_named(asked.get(name))}"))
        if not store.has(asked[name]):
            raise StepError(located(step, f"{name}: {asked[name].digest} is gone from the cache"), "build again")


def _named(blob: Blob | None) -> str:
    return "nothing" if blob is None else f"{blob.digest} of {blob.size} bytes"


def _located(error: LkbuildError, step: Step) -> LkbuildError:
    """The same error, saying which step and which line of the spec it is about; its kind stays."""
    error.message = located(step, error.message)
    error.args = (error.message,)
    return error
