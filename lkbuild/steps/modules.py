"""The kernel's modules: its tar, laid down at the root; and kernel and command line in boot/, for a tar."""

from __future__ import annotations

import json

from lkbuild.archive.entry import Entry
from lkbuild.archive.flatten import lay_down
from lkbuild.plan.kinds import Boot, Modules, Segment
from lkbuild.steps.reading import CountedLayer, Reading
from lkbuild.steps.segment import rooted, segment
from lkbuild.steps.work import Work


def modules(params: Modules, work: Work) -> None:
    """Writes `segment` and `index`."""
    with segment(params.segment, work) as sink:
        tar = work.inputs["tar"]
        layer = CountedLayer(tar.path, "the kernel's tar", Reading(work, tar.blob.size))
        lay_down(layer, rooted(sink, params.segment))


def boot(params: Boot, work: Work) -> None:
    """Writes `segment` and `index`, of a tar: boot/cmdline, boot/kernel and boot/ucode.cpio."""
    facts = json.loads(work.input("facts").read_bytes())
    cmdline = params.cmdline.encode("utf-8", "surrogateescape")
    with segment(Segment("tar", "none"), work) as sink:
        sink.add(Entry(b"boot", "directory", 0o755))
        sink.add(Entry(b"boot/cmdline", "file", 0o644, size=len(cmdline)), [cmdline])
        for name, path in (("kernel", b"boot/kernel"), ("ucode", b"boot/ucode.cpio")):
            if name == "kernel" or params.ucode:
                file = work.inputs[name]
                sink.add(Entry(path, "file", facts[name]["mode"], size=file.blob.size), file.chunks())
