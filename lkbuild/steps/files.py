"""The files section: entries and the directories that lead to them (LinuxKit's `filesystem`, moby/build.go)."""

from __future__ import annotations

from collections.abc import Iterator

from lkbuild.archive.entry import Entry, path_bytes
from lkbuild.plan.kinds import FileEntry, Files, leading
from lkbuild.steps.segment import rooted, segment
from lkbuild.steps.work import InputFile, Work


def files(params: Files, work: Work) -> None:
    """Writes `segment` and `index`.  A path given twice is what is said last."""
    with segment(params.segment, work) as sink:
        into = rooted(sink, params.segment)
        for entry, body in _laid_out(params.entries, work).values():
            into.add(entry, _chunks(body))


def _laid_out(entries: tuple[FileEntry, ...], work: Work) -> dict[str, tuple[Entry, bytes | InputFile]]:
    """Every path with its entry and contents, leading directories before what lies in them."""
    found: dict[str, tuple[Entry, bytes | InputFile]] = {}
    for number, file in enumerate(entries):
        for directory in leading(file.path):
            if directory not in found:
                found[directory] = (
                    Entry(path_bytes(directory), "directory", _searchable(file.mode), file.uid, file.gid),
                    b"",
                )
        contents: bytes | InputFile = b""
        size, target = 0, b""
        if file.kind == "symlink":
            target = path_bytes(file.target or "")
        elif file.kind == "file":
            contents = work.inputs[f"file{number}"] if file.contents is None else path_bytes(file.contents)
            size = contents.blob.size if isinstance(contents, InputFile) else len(contents)
        entry = Entry(path_bytes(file.path), file.kind, file.mode, file.uid, file.gid, size=size, target=target)
        found[file.path] = (entry, contents)
    return found


def _searchable(mode: int) -> int:
    """A directory's mode for a file's: search permission for whoever has any permission."""
    for mask, search in ((0o700, 0o100), (0o070, 0o010), (0o007, 0o001)):
        if mode & mask:
            mode |= search
    return mode


def _chunks(body: bytes | InputFile) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    yield from body.chunks()
