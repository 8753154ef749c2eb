"""The apk databases of several init images as one, as LinuxKit joins them (moby/build.go)."""

from __future__ import annotations

from lkbuild.archive.entry import Entry
from lkbuild.plan.kinds import ApkDatabase
from lkbuild.steps.segment import segment
from lkbuild.steps.tree import APK_DATABASE
from lkbuild.steps.work import Work


def apk_database(params: ApkDatabase, work: Work) -> None:
    """Writes `segment` and `index`: of the file, or of nothing where fewer than two images have one."""
    found = [item.path for item in work.numbered("apk") if item.blob.size]
    joined = b"".join(path.read_bytes() + b"\n\n" for path in found)
    with segment(params.segment, work) as sink:
        if len(found) > 1:
            sink.add(Entry(APK_DATABASE, "file", 0o644, mtime=0, size=len(joined)), [joined])
