"""The same work by a `linuxkit` binary, in turn with lkbuild: LINUXKIT=PATH.

The binary gets its images as its documentation says: the layout as a tar, by `linuxkit cache import`, into a cache of
its own.  `--input-tar` takes the tar of the build before, which must hold its spec (`metadata: yaml`).
NB: written from linuxkit's documentation and source; there was no binary to run it with.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from bench.laboratory import Laboratory
from bench.stopwatch import Child, Run
from bench.workload import Machine

PLAIN, TAR = "the same machine cold, kernel+initrd", "the same machine cold, tar"
AGAIN, CHANGED = "the same machine, nothing to do (tar)", "the same machine, one capability changed (tar)"
_METADATA = "  - path: etc/linuxkit.yml\n    metadata: yaml\n"


def measure(lab: Laboratory, megabytes: float, binary: str | None) -> None:
    """Write the rows of this scenario into the book; nothing where no binary is given."""
    if binary is None:
        return
    machine = Machine(lab.work / "machine", megabytes).make(lab.rounds + 1)
    spec = _spec(machine)
    linuxkit = _LinuxKit(lab.work / "linuxkit", Path(binary).absolute())
    linuxkit.import_images(machine.layout)
    for turn in lab.turns():
        for subject in lab.subjects:
            subject.forget_made(machine.layout)
            how = ("--offline", "--images", machine.layout, spec)
            lab.note(PLAIN, subject.lkbuild(*how), subject.name)
            subject.forget_made(machine.layout)
            lab.note(TAR, subject.lkbuild("--format", "tar", *how), subject.name)
            lab.note(AGAIN, subject.lkbuild("--format", "tar", *how), subject.name)
        lab.note(PLAIN, linuxkit.build("--format", "kernel+initrd", "--dir", linuxkit.home, spec), "linuxkit")
        before, after = linuxkit.home / "before.tar", linuxkit.home / "after.tar"
        lab.note(TAR, linuxkit.build("--format", "tar", "-o", before, spec), "linuxkit")
        lab.note(AGAIN, linuxkit.build("--format", "tar", "--input-tar", before, "-o", after, spec), "linuxkit")
        _change(spec, turn)
        for subject in lab.subjects:
            lab.note(CHANGED, subject.lkbuild("--format", "tar", *how), subject.name)
        lab.note(CHANGED, linuxkit.build("--format", "tar", "--input-tar", before, "-o", after, spec), "linuxkit")


def _spec(machine: Machine) -> Path:
    """The machine's spec without the service that is a package, which linuxkit would need a Docker daemon for."""
    text = machine.spec.read_text()
    start, end = text.index("  - name: web\n"), text.index("files:\n")
    spec = machine.directory / "for-linuxkit.yml"
    spec.write_text(text[:start] + text[end:] + _METADATA)
    return spec


def _change(spec: Path, turn: int) -> None:
    start, _, rest = spec.read_text().partition("capabilities: [")
    spec.write_text(f"{start}capabilities: [CAP_NET_ADMIN, CAP_{('KILL', 'SETUID')[turn % 2]}]{rest.partition(']')[2]}")


class _LinuxKit:
    """A linuxkit binary with a cache and a directory for outputs of its own."""

    def __init__(self, home: Path, binary: Path) -> None:
        self.home, self._binary = home, binary
        home.mkdir(parents=True, exist_ok=True)

    def import_images(self, layout: Path) -> None:
        """Put the images of a layout into the cache, once."""
        if (self.home / "cache").exists():
            return
        archive = self.home / "images.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(layout, ".")
        self._run("cache", "import", "--cache", self.home / "cache", archive)
        archive.unlink()

    def build(self, *words: str | Path) -> Run:
        """`linuxkit build` without an SBOM, from the cache alone."""
        return self._run("build", "--no-sbom", "--cache", self.home / "cache", *words)

    def _run(self, *words: str | Path) -> Run:
        return Child(self.home, {}).time([self._binary, *words])
