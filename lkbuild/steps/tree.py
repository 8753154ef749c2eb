"""Laying an image down: its layers flattened into one segment."""

from __future__ import annotations

from lkbuild.archive.flatten import flatten
from lkbuild.archive.sink import TapSink
from lkbuild.archive.view import View
from lkbuild.plan.kinds import Tree
from lkbuild.steps.segment import layers, rooted, segment
from lkbuild.steps.work import Work

APK_DATABASE = b"lib/apk/db/installed"


def tree(params: Tree, work: Work) -> None:
    """Writes `segment` and `index`; and `apk`, the image's apk database (empty where it has none), of init images."""
    view = View(params.prefix, "init" if params.init else "container")
    with segment(params.segment, work) as sink:
        if params.prefix:
            flatten(layers(work), sink, view)
            return
        with work.output("apk").open("w+b") as database:
            flatten(layers(work), TapSink(rooted(sink, params.segment), APK_DATABASE, database), view)
