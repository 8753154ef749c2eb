"""The images a machine was made of, as the cache knows them: their layers, what brought them, and what made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lkbuild.archive.view import View
from lkbuild.digest import Digest
from lkbuild.engine.history import State
from lkbuild.engine.parts import Part
from lkbuild.engine.report import size_words
from lkbuild.errors import LkbuildError
from lkbuild.frozen import frozen
from lkbuild.oci.image import MAX_LINE, layer_history
from lkbuild.plan.recorded import RecordedStep
from lkbuild.report.layers import LayerReader
from lkbuild.report.portions import Laid
from lkbuild.store import Blob
from lkbuild.store.steps import recorded_step


@frozen
class LaidImage:
    """An image that was laid down: its layers, the lowest first, and for each the step that brought it.

    `history`: what made each, where that is known.  Where `laid` is None, `note` says why.
    """

    layers: tuple[Blob, ...]
    steps: tuple[str, ...]
    history: tuple[str, ...]
    laid: Laid | None
    note: str = ""

    @property
    def title(self) -> str:
        """What it is called, in short."""
        return self.steps[-1].partition(":")[2].rpartition("/")[2] if self.steps else ""

    def name(self, number: int) -> str:
        """What a layer is called."""
        return f"layer {number} {self.layers[number].digest.short}"

    def about(self, number: int) -> tuple[str, ...]:
        """Lines about a layer: what made it, where it is from, its digest."""
        layer = self.layers[number]
        origin = ", ".join(filter(None, (f"{size_words(layer.size)} packed", self.steps[number])))
        return (*filter(None, self.history[number : number + 1]), origin, str(layer.digest))


class Images:
    """The images of the machine that came to `state`.  `makers`: the step that made each blob, the first if several."""

    def __init__(self, state: State, reader: LayerReader) -> None:
        self.makers: dict[Blob, str] = {}
        self._state, self._store, self._reader = state, reader.store, reader
        self._bringers: dict[tuple[Blob, ...], str] = {}
        for name, key in state.items():
            result = reader.store.recorded(key)
            outputs = result.outputs if result else ()
            self._bringers.setdefault(_layers(dict(outputs)), name)
            for _, blob in outputs:
                self.makers.setdefault(blob, name)

    def of(self, part: Part) -> LaidImage | None:
        """The image that a segment is made of; None where it is made of something else, or nobody knows any more."""
        step = self._step(part)
        if step is None or step.kind != "tree":
            return None
        layers = _layers({each.role: Blob(each.digest, each.size) for each in step.inputs})
        steps, history = self._brought(layers)
        view = View(str(step.params.get("prefix", "")), "init" if step.params.get("init") else "container")
        try:
            return LaidImage(layers, steps, history, Laid(view, self._reader.read(layers)))
        except LkbuildError as error:
            return LaidImage(layers, steps, history, None, f"not told by layer: {error.message}")

    def elsewhere(self, part: Part) -> str:
        """A line about a container whose image stands with another one that has the same; else nothing."""
        step = self._step(part)
        root = str(step.params.get("root", "")) if step and step.kind == "bundle" else ""
        place = root.removeprefix("containers/").rpartition("/")[0]
        return f"its image is counted with {place}" if place and place != part.group else ""

    def _step(self, part: Part) -> RecordedStep | None:
        key = self._state.get(part.step)
        return None if key is None else recorded_step(self._store, key)

    def _brought(self, layers: tuple[Blob, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """For each layer the step that brought it, and what made it."""
        bringer = self._bringers.get(layers)
        if bringer is None or not layers:
            return tuple(self.makers.get(layer, "") for layer in layers), ()
        return (bringer,) * len(layers), self._history(self._state[bringer], len(layers))

    def _history(self, key: Digest, count: int) -> tuple[str, ...]:
        """What made the layers that a step brought: as it was told, or as the config says that it made with them."""
        step, result = recorded_step(self._store, key), self._store.recorded(key)
        told = step.unkeyed.get("history") if step else None
        if isinstance(told, list) and len(told) == count:
            return tuple(str(line)[:MAX_LINE] for line in told)
        config = dict(result.outputs).get("config") if result else None
        return layer_history(self._store.read(config.digest), count) if config and self._store.has(config) else ()


def _layers(roles: Mapping[str, Blob]) -> tuple[Blob, ...]:
    """The blobs `layer0`, `layer1`, … among inputs or outputs."""

    def numbered() -> Iterator[Blob]:
        number = 0
        while (layer := roles.get(f"layer{number}")) is not None:
            yield layer
            number += 1

    return tuple(numbered())
