"""What every step that makes a segment shares: the sink its entries go into, and the two outputs it leaves.

`segment` is an archive (part of an initrd, or of a tar), `index` says what is in it (`archive.index`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from lkbuild.archive.compress import RELEASE_LEVEL, Codec
from lkbuild.archive.entry import Buffer, Entry
from lkbuild.archive.sink import CpioSink, Sink, TarSink
from lkbuild.errors import StepError
from lkbuild.plan.kinds import Segment
from lkbuild.steps.reading import CountedLayer, reading
from lkbuild.steps.work import Work


@contextlib.contextmanager
def segment(how: Segment, work: Work) -> Iterator[CpioSink | TarSink]:
    """A sink whose entries become the outputs `segment` and `index`; what it warns of becomes the result's notes."""
    with work.output("segment").open("w+b") as raw:
        sink: CpioSink | TarSink
        if how.archive == "tar":
            sink = TarSink(raw)
        else:
            codec = how.codec or _decided(work)
            sink = CpioSink(raw, codec, RELEASE_LEVEL[codec] if how.profile == "release" else None)
        yield sink
        sink.close()
    work.output("index").write_bytes(sink.index())
    for warning in sink.warnings:
        work.note(warning)


def _decided(work: Work) -> Codec:
    """What the step `kernel` found that the kernel reads."""
    codec = work.input("codec").read_text("ascii")
    if codec not in ("gzip", "zstd", "none"):
        raise StepError(f"no such compression: {codec!r:.20}")
    return cast(Codec, codec)


def layers(work: Work) -> list[CountedLayer]:
    """The inputs `layer0`, `layer1`, …: the layers of an image, the lowest first, as `archive.flatten` reads them.

    A single layer is usually read once, several always twice.
    """
    found = list(work.numbered("layer"))
    progress = reading(work, "layer", 1 if len(found) == 1 else 2)
    return [CountedLayer(item.path, f"layer {item.blob.digest}", progress) for item in found]


class WithoutBoot:
    """A sink that lets nothing under boot/ through: it has no place in an initrd."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def add(
        self, entry: Entry, body: Iterable[Buffer] = (), links: Sequence[bytes] = (), implied: bool = False
    ) -> None:
        """Pass the entry on under those of its names that are not under boot/."""
        names = [name for name in (entry.path, *links) if name != b"boot" and not name.startswith(b"boot/")]
        if names:
            self.sink.add(entry._replace(path=names[0]), body, names[1:], implied)

    def restart(self) -> None:
        """Forget everything."""
        self.sink.restart()


def rooted(sink: Sink, how: Segment) -> Sink:
    """`sink`, for entries that lie at the root of the machine."""
    return WithoutBoot(sink) if how.archive == "cpio" else sink
