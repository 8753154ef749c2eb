"""The apk databases of several init images as one, as LinuxKit joins them (moby/build.go)."""

from __future__ import annotations

from collections.abc import Iterator

from lkbuild.archive.entry import Entry
from lkbuild.errors import StepError
from lkbuild.plan.kinds import ApkDatabase
from lkbuild.steps.segment import segment
from lkbuild.steps.tree import APK_DATABASE
from lkbuild.steps.work import InputFile, Work

MAX_JOINED = 64 << 20
"""The most bytes the joined database may have; tens of kilobytes are usual."""
_BETWEEN = b"\n\n"
_CHUNK = 1 << 18


def apk_database(params: ApkDatabase, work: Work) -> None:
    """Writes `segment` and `index`: of the file, or of nothing where fewer than two images have one."""
    found = [item for item in work.numbered("apk") if item.blob.size]
    size = sum(item.blob.size + len(_BETWEEN) for item in found)
    if len(found) > 1 and size > MAX_JOINED:
        raise StepError(
            f"the apk databases of the init images have {size} bytes together, and {MAX_JOINED} is the most",
            "a database lists a few hundred packages: look at lib/apk/db/installed of the images under `init`",
        )
    with segment(params.segment, work) as sink:
        if len(found) > 1:
            sink.add(Entry(APK_DATABASE, "file", 0o644, mtime=0, size=size), _joined(found))


def _joined(found: list[InputFile]) -> Iterator[bytes]:
    for item in found:
        with item.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield _BETWEEN
