"""The stamp of a build with nothing left to do: what it looked at, so that the next one sees that nothing changed.

One stamp per machine and request lies in `<cache>/stamps/<xxh3 of the request>`, as JSON.  It names every path the
build looked at with its lstat, those of the outputs, and fingerprints of what is no file.  Whatever differs, cannot be
read or is not understood makes it stale: then the graph decides.  A build that does nothing consists of this module, so
it imports little.

A file changed twice within one tick of the clock keeps its ctime.  So what changed less than 20 ms before it was looked
at is not trusted, and a build that looked at such a file leaves no stamp ("racy clean", git's Documentation/technical).
Before it looks at its outputs a build waits for a tick.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import xxhash

from lkbuild import __version__
from lkbuild.engine.options import BuildOptions
from lkbuild.frozen import frozen
from lkbuild.store.files import replace_note
from lkbuild.store.verified import boot_id

Signature = list[int]
"""mode, device, inode, size, mtime_ns, ctime_ns of a path, a symbolic link's target's too; empty where nothing is.

One negative number, the error's, in place of the six of what cannot be looked at."""

StillHolds = Callable[[Mapping[str, str]], bool]
"""Whether the fingerprints (name to text) of what is no file are still the same."""

_FORMAT = 2
_RACY_NS = 20_000_000
_COARSE = 5
"""CLOCK_REALTIME_COARSE (<linux/time.h>), from which file systems take their times; `time` has no name for it."""
_TICKS = 25
_MAX_STAMP = 64 << 20


class Watch:
    """What a build looked at.  Every path is to be added before it is read, so that a later change is seen.

    What changed less than `margin` nanoseconds before it was looked at is not trusted.
    """

    def __init__(self, root: Watch | None = None, margin: int = _RACY_NS) -> None:
        self._margin = margin
        self.paths: dict[str, Signature] = {}
        self.texts: dict[str, str] = {}
        self.racy = False
        self._parts: dict[int, Watch] = {}
        # What several machines look at may be read once, for the first of them: its signature counts for all.
        self._first: dict[str, tuple[Signature, bool]] = root._first if root else {}

    def part(self, number: int) -> Watch:
        """What the machine `number` (its place in the options) alone looks at; this one is what all of them look at."""
        return self._parts.setdefault(number, Watch(self))

    def keep(self, numbers: Iterable[int]) -> None:
        """Of the machines only these are left, and have other numbers now: 0, 1 and so on."""
        self._parts = {new: self.part(old) for new, old in enumerate(numbers)}

    def whole(self, number: int) -> Watch:
        """All that concerns the machine `number`: its part and what is common."""
        merged = Watch()
        for watch in (self, self.part(number)):
            merged.paths.update(watch.paths)
            merged.texts.update(watch.texts)
            merged.racy |= watch.racy
        return merged

    def add_file(self, path: Path) -> None:
        """A path whose contents count, or that it is missing; a directory counts by its list of names."""
        name = _name(path)
        if name not in self._first:
            now, seen = time.time_ns(), signature(name)
            self._first[name] = seen, any(now - changed < self._margin for changed in seen[5::6])
        self.paths[name], racy = self._first[name]
        self.racy |= racy

    def add_seen(self, records: Iterable[tuple[Path, Signature]]) -> None:
        """Paths as they were when they were read; they are only ever replaced by renaming others to them."""
        self.paths.update((_name(path), seen) for path, seen in records)

    def add_tree(self, path: Path) -> None:
        """A directory, or a link to one, with everything below it, or a file.  Links below it are not followed."""
        self.add_file(path)
        for parent, directories, files in os.walk(path):
            for name in directories + files:
                self.add_file(Path(parent, name))

    def add_layout(self, path: Path) -> None:
        """An image layout, or an archive: what is in it is told by its index, or by the file itself."""
        self.add_file(path)
        for name in ("index.json", "oci-layout", "manifest.json"):
            self.add_file(path / name)

    def add_text(self, name: str, text: str) -> None:
        """A fingerprint of something that is no file, the Docker daemon for instance."""
        self.texts[name] = text


@frozen
class Request:
    """The build of one machine (`options` has one) as it was asked for; `target` is `-o FILE`."""

    options: BuildOptions
    target: str = ""

    @property
    def text(self) -> str:
        """All of it: every option, what paths are relative to, and what lkbuild is.

        And the boot: after a power failure, files may have the right size and times, and not the right bytes.
        """
        options = {field.name: _plain(getattr(self.options, field.name)) for field in fields(self.options)}
        if not self.options.docker:
            del options["docker_host"]
        home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
        return json.dumps([_FORMAT, code(), boot_id(), str(Path.cwd()), home, self.target, options], sort_keys=True)

    @property
    def path(self) -> Path:
        """Where its stamp lies."""
        return self.options.cache / "stamps" / xxhash.xxh3_128_hexdigest(os.fsencode(self.text))


@frozen
class Fresh:
    """A machine there is nothing to do for, and its output files."""

    machine: str
    outputs: tuple[str, ...]


def check(request: Request, still_holds: StillHolds | None = None) -> Fresh | None:
    """The machine, if its stamp says that nothing has changed since; None where that is not certain."""
    if request.options.pull == "always":
        return None
    try:
        with request.path.open("rb") as file:
            text = file.read(_MAX_STAMP + 1)
        if len(text) > _MAX_STAMP:
            return None
        return _checked(json.loads(text), request, still_holds)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _checked(document: dict[str, object], request: Request, still_holds: StillHolds | None) -> Fresh | None:
    machine, paths, texts, outputs = (document[name] for name in ("machine", "paths", "texts", "outputs"))
    if document["request"] != request.text or not isinstance(machine, str):
        return None
    if not (isinstance(paths, dict) and isinstance(texts, dict) and isinstance(outputs, list) and outputs):
        return None
    if any(paths[output] == [] for output in outputs):
        return None
    if any(signature(path) != expected for path, expected in paths.items()):
        return None
    if texts and (still_holds is None or not still_holds(texts)):
        return None
    return Fresh(machine, tuple(outputs))


def write(request: Request, watches: Iterable[Watch], fresh: Fresh) -> bool:
    """Leave a stamp, if what was looked at can be trusted; returns whether it was.

    The watches hold the outputs too, looked at before they were found to be as they should be.
    """
    watches = tuple(watches)
    paths: dict[str, Signature] = {}
    changed = any(paths.setdefault(path, seen) != seen for watch in watches for path, seen in watch.paths.items())
    if changed or request.options.pull == "always" or any(watch.racy for watch in watches):
        return False
    document = {
        "request": request.text,
        "machine": fresh.machine,
        "outputs": list(fresh.outputs),
        "paths": paths,
        "texts": {name: text for watch in watches for name, text in watch.texts.items()},
    }
    path = request.path
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_note(path, json.dumps(document, separators=(",", ":")).encode())
        return True
    return False


def ticked() -> bool:
    """Wait for a tick of the clock that files have their times from; whether it came.

    What changes after that has a later time than whatever was written before.
    """
    began = time.clock_gettime_ns(_COARSE)
    for _ in range(_TICKS):
        if time.clock_gettime_ns(_COARSE) != began:
            return True
        time.sleep(0.001)
    return False


def written(paths: Iterable[str], after_tick: bool) -> Watch:
    """What is seen of files that are written; where the clock `ticked` since, no margin is needed."""
    seen = Watch(margin=0 if after_tick else _RACY_NS)
    for path in paths:
        seen.add_tree(Path(path))
    return seen


def signature(path: str) -> Signature:
    """What tells that a path is what it was."""
    status = _numbers(path, os.lstat)
    return status + _numbers(path, os.stat) if status and stat.S_ISLNK(max(status[0], 0)) else status


def _name(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - `..` is to be taken out as text, without following links


def _numbers(path: str, look: Callable[[str], os.stat_result]) -> Signature:
    try:
        status = look(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # a loop of links, a directory that may not be searched
        return [-(error.errno or 1)]
    return [
        status.st_mode,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


@functools.cache
def code() -> str:
    """What this lkbuild is: its version, and a fingerprint of the stat of its own files."""
    found = xxhash.xxh3_128()
    root = Path(__file__).parent.parent
    for parent, directories, files in os.walk(root):
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        for name in sorted(files):
            path = os.path.join(parent, name)  # noqa: PTH118 - hot
            found.update(os.fsencode(f"{path}{signature(path)}"))
    return f"{__version__} {found.hexdigest()}"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
