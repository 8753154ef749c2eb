"""How a result was made, read back from the store: the step under its key, or why there is none to be had."""

from __future__ import annotations

from lkbuild.digest import Digest
from lkbuild.errors import StoreError
from lkbuild.plan.recorded import RecordedStep
from lkbuild.store.files import doing
from lkbuild.store.store import Store
from lkbuild.store.values import without_checksum

_MAX_STEP = 64 << 20


def recorded_step(store: Store, key: Digest) -> RecordedStep | None:
    """The step that made the result under `key`; None where none is written down, as by lkbuild before it did so.

    StoreError where what is there is damaged, or is another step: the key follows from all of it.
    """
    path = store.step_path(key)
    with doing(f"reading a step from the cache {store.root}"):
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_STEP)
        except FileNotFoundError:
            return None
    try:
        step = RecordedStep.decode(without_checksum(text))
    except ValueError as error:
        raise StoreError(
            f"{path} is no step that was written down: {error}", "remove it: it is but a record"
        ) from error
    if step.key != key:
        raise StoreError(f"{path} is the step of another key, {step.key}", "remove it: it is but a record")
    return step
