"""Every format added to a machine that is built: what ran, how long beside `cp`, who can read it, and is it the same.

    python bench/formats.py [--spec SPEC] [--arch ARCH] [--rounds N] [--debs CACHE] [FORMAT ...]

Prints a Markdown table.  The machine is built as kernel+initrd and tar first; then each format is added, which is timed
from the first step to the last byte, beside `cp` of the same files (and, where a format can compress, `gzip -1` of its
disk).  Then all of it is built from nothing a second time: in another directory, another time zone, with another cache,
and as nobody where root runs this.  Programs that are not ours read every file.  `--debs`: a cache whose Debian
packages are taken, so that they need not be fetched.
"""

from __future__ import annotations

import argparse
import encodings
import hashlib
import json
import os
import pkgutil
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import lkbuild  # noqa: E402
from bench.readers import gzipped, read_back  # noqa: E402
from lkbuild.engine.arguments import order  # noqa: E402
from lkbuild.engine.build import build  # noqa: E402
from lkbuild.engine.events import Event, Finished  # noqa: E402
from lkbuild.engine.options import BuildOptions  # noqa: E402
from lkbuild.engine.prepare import prepare  # noqa: E402
from lkbuild.errors import Origin  # noqa: E402
from lkbuild.plan.outputs import FORMATS  # noqa: E402
from lkbuild.plan.possible import Asked, problems  # noqa: E402
from lkbuild.sources import Registry, RegistryOptions  # noqa: E402
from lkbuild.spec.load import load  # noqa: E402


@dataclass
class Place:
    """Where a build takes place: its specs, cache and outputs, in which time zone, and as whom."""

    root: Path
    spec: str
    arch: str
    zone: str
    user: int | None = None

    def out(self, format: str) -> Path:
        """The directory of a format's files."""
        return self.root / "out" / format

    def build(self, format: str) -> Run:
        """Build one format in a process of its own, so that its memory is its own too."""
        environment = {**os.environ, "TZ": self.zone, "HOME": str(self.root), "LANG": "C.UTF-8"}
        command = [sys.executable, __file__, "--worker", format, self.arch, self.spec, str(self.user or "")]
        done = subprocess.run(command, cwd=self.root, env=environment, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise SystemExit(f"{format}: not built as {self.user or 'this user'} in {self.root}")
        return Run(**json.loads(done.stdout))


@dataclass
class Run:
    """Steps that ran, seconds from the first of them to the last byte written, and peak memory in MB."""

    steps: list[str]
    seconds: float
    memory: float


@dataclass
class Row:
    """What is known of a format."""

    format: str
    files: dict[str, int]
    steps: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: float = 0.0
    copied: float = 0.0
    packed: float | None = None
    same: str = ""
    readers: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """The row of the table."""
        size = sum(self.files.values()) / 1e6
        packed = "" if self.packed is None else f"{self.packed:.2f}"
        ratio = f"{self.seconds / self.copied:.1f}" if self.copied > 0.005 else ""
        steps, readers = ", ".join(self.steps) or "none", ", ".join(self.readers)
        files = ", ".join(self.files)
        times = (f"{self.seconds:.2f}", f"{self.copied:.2f}", ratio, packed, f"{self.memory:.0f}")
        return [f"`{self.format}`", files, f"{size:.1f}", steps, *times, self.same, readers]


HEAD = ("format", "files", "MB", "steps that ran", "s", "cp s", "ratio", "gzip -1 s", "peak MB", "digests", "readers")


def worker(format: str, arch: str, spec: str, user: str) -> None:
    """Build here; as `user`, who may not be able to read this Python, when all that may be needed is imported."""
    for package in (lkbuild, encodings):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "mbcs", "oem")):
                import_module(module.name)
    if user:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    events: list[Event] = []
    options = BuildOptions(((Path(spec),),), (format,), arch, cache=Path("cache"), directory=Path("out", format))
    registry = Registry(RegistryOptions())
    prepared = prepare(options, events.append, registry)
    began = time.monotonic()
    build(prepared)
    seconds = time.monotonic() - began
    prepared.close()
    ran = [event.step for event in events if isinstance(event, Finished) and event.how == "ran"]
    print(json.dumps({"steps": ran, "seconds": seconds, "memory": peak()}))


def peak() -> float:
    """Peak resident memory of this process in MB.  NB: `ru_maxrss` would count that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def place(root: Path, spec: Path, arch: str, debs: Path | None) -> Place:
    """A directory with the specs and packages of this repository, and a cache with Debian packages alone."""
    for name in ("specs", "pkg"):
        shutil.copytree(ROOT / name, root / name)
    (root / "cache" / "blobs").mkdir(parents=True)
    if debs is not None:
        for path in [path for path in (debs / "blobs").rglob("*") if path.is_file() and is_deb(path)]:
            to = root / "cache" / path.relative_to(debs)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)
    return Place(root, str(spec.absolute().relative_to(ROOT)), arch, "UTC")


def is_deb(path: Path) -> bool:
    """Whether it is an `ar` archive, as Debian's packages are."""
    with path.open("rb") as file:
        return file.read(8) == b"!<arch>\n"


def give(path: Path, user: int) -> None:
    """Make everything below `path` the user's."""
    for each in (path, *path.rglob("*")):
        os.chown(each, user, user, follow_symlinks=False)


def tree(directory: Path) -> dict[str, int]:
    """The files below a directory, the parts of a directory output as one, with their bytes."""
    sizes: dict[str, int] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            relative = path.relative_to(directory)
            name = relative.parts[0] + ("/" if len(relative.parts) > 1 else "")
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


def digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file below a directory."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(directory))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def measured(here: Place, format: str, rounds: int) -> Row:
    """Add a format `rounds` times to what is built, forgetting it in between; medians of the times."""
    before = set((here.root / "cache").rglob("*"))
    runs: list[Run] = []
    copied: list[float] = []
    for _ in range(rounds):
        for path in set((here.root / "cache").rglob("*")) - before:
            if path.is_file():
                path.unlink()
        shutil.rmtree(here.out(format), ignore_errors=True)
        runs.append(here.build(format))
        copied.append(timed(["cp", "-r", here.out(format), here.root / "copy"]))
        shutil.rmtree(here.root / "copy")
    first = runs[0]
    row = Row(format, tree(here.out(format)), first.steps, memory=max(run.memory for run in runs))
    row.seconds, row.copied = statistics.median(run.seconds for run in runs), statistics.median(copied)
    return row


def timed(command: Sequence[str | Path]) -> float:
    """Seconds of a program, from one that has nothing left to write on."""
    os.sync()
    began = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def formats_of(spec: Path, arch: str) -> tuple[str, ...]:
    """The formats this machine can have."""
    machine = load([spec])
    return tuple(name for name in FORMATS if not problems(machine, Asked(((name, Origin("")),), arch)))


def table(rows: Iterable[Row]) -> str:
    """Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str]) -> None:
    """Measure all formats, or those named."""
    parser = argparse.ArgumentParser(description="every format of a machine, measured and read back")
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    parser.add_argument("--spec", type=Path, default=ROOT / "specs" / "nginx.yml")
    parser.add_argument("--arch", default=order([], Path()).options.arch)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--debs", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="formats-") as scratch:
        Path(scratch).chmod(0o755)
        here = place(Path(scratch, "one"), given.spec, given.arch, given.debs)
        there = place(Path(scratch, "another", "place"), given.spec, given.arch, given.debs)
        there.zone = "Asia/Tokyo"
        if os.geteuid() == 0:
            there.user = pwd.getpwnam("nobody").pw_uid
            give(there.root, there.user)
        here.build("kernel+initrd")
        here.build("tar")
        rows = []
        for format in given.formats or formats_of(given.spec, given.arch):
            row = measured(here, format, given.rounds)
            there.build(format)
            row.same = "equal" if digests(here.out(format)) == digests(there.out(format)) else "DIFFER"
            row.readers = read_back(here.out(format), Path(scratch, "readers"))
            row.packed = gzipped(here.out(format), timed, Path(scratch, "readers"))
            rows.append(row)
            print(f"{format}: done", file=sys.stderr)
        print(f"{given.spec.name}, {given.arch}; second build by {'nobody' if there.user else 'the same user'}\n")
        print(table(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:6])
    else:
        main(sys.argv[1:])
