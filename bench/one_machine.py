"""One machine of some hundred megabytes: cold, with nothing to do, and after each kind of change."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.laboratory import Laboratory, Subject
from bench.stopwatch import Run
from bench.workload import Machine

COLD = "cold, {codec}, -n {jobs}"
ONE_IMAGE = "cold, one image of that size, {codec}"
CHANGES = {
    "one `files:` entry changed": Machine.change_file,
    "one capability changed": Machine.change_capability,
    "one package file changed": Machine.change_package,
    "a service's image changed": Machine.change_image,
}
SEGMENT = "that image's segment, in that build"


def measure(lab: Laboratory, megabytes: float) -> None:
    """Write the rows of this scenario into the book."""
    machine = Machine(lab.work / "machine", megabytes).make(lab.rounds + 1)
    one_image = Machine(lab.work / "one-image", megabytes, 1).make(0)
    for subject in lab.subjects:
        _lkbuild(subject, machine)
    for turn in lab.turns():
        _cold_one_image(lab, one_image)
        _cold(lab, machine)
        _yardsticks(lab, machine)
        _nothing(lab, machine)
        _changes(lab, machine, turn)


def _lkbuild(subject: Subject, machine: Machine, *more: str | Path, into: Path | None = None) -> Run:
    return subject.lkbuild("--offline", "--images", machine.layout, *more, machine.spec, into=into)


def _cold(lab: Laboratory, machine: Machine) -> None:
    for codec in ("zstd", "gzip"):
        for jobs in ("1", "2"):
            for subject in lab.subjects:
                subject.forget_made(machine.layout)
                run = _lkbuild(subject, machine, "--compression", codec, "-n", jobs)
                lab.note(COLD.format(codec=codec, jobs=jobs), run, subject.name)


def _cold_one_image(lab: Laboratory, machine: Machine) -> None:
    """One tree alone, which both processors must be used for all the same."""
    for codec in ("zstd", "gzip"):
        for subject in lab.subjects:
            subject.forget_made(machine.layout)
            run = _lkbuild(subject, machine, "--compression", codec, "-n", "2")
            lab.note(ONE_IMAGE.format(codec=codec), run, subject.name)


def _yardsticks(lab: Laboratory, machine: Machine) -> None:
    """What other programs need for the same bytes: the output copied, unpacked layers, and those compressed."""
    out, scratch = lab.subjects[0].out, lab.work / "scratch"
    layers = sorted(_layers(machine.layout))
    plain = lab.work / "plain"
    if not plain.exists():
        lab.yardstick("gzip -dc of the layers", ["gzip", "-dc", *layers], plain)
    lab.yardstick("gzip -dc of the layers", ["gzip", "-dc", *layers], scratch)
    lab.yardstick("zstd -1 -T2 of the same bytes", ["zstd", "-1", "-T2", "-c", plain], scratch)
    scratch.unlink()
    lab.yardstick("cp of the output", ["cp", out / "machine-initrd.img", scratch])
    scratch.unlink()
    lab.yardstick("python -c pass", [sys.executable, "-c", "pass"])


def _layers(layout: Path) -> set[Path]:
    """The layers of the images a spec names: those whose tag is 1."""
    found = set()
    blobs = layout / "blobs" / "sha256"
    for about in json.loads((layout / "index.json").read_text())["manifests"]:
        if about["annotations"]["org.opencontainers.image.ref.name"].endswith(":1"):
            manifest = json.loads((blobs / about["digest"].partition(":")[2]).read_text())
            found |= {blobs / one["digest"].partition(":")[2] for one in manifest["layers"]}
    return found


def _nothing(lab: Laboratory, machine: Machine) -> None:
    for subject in lab.subjects:
        _lkbuild(subject, machine)
        _doit(subject, machine)
    for _ in range(3):
        for subject in lab.subjects:
            lab.note("nothing to do, lkbuild build", _lkbuild(subject, machine), subject.name)
            lab.note("nothing to do, doit build", _doit(subject, machine), subject.name)
        lab.yardstick("python -c pass", [sys.executable, "-c", "pass"])


def _doit(subject: Subject, machine: Machine) -> Run:
    return subject.doit(f"spec={machine.spec}", f"images={machine.layout}", "offline=yes")


def _changes(lab: Laboratory, machine: Machine, turn: int) -> None:
    for row, change in CHANGES.items():
        change(machine, turn)
        for subject in lab.subjects:
            events = lab.work / "events"
            run = _lkbuild(subject, machine, "--json", into=events)
            lab.note(row, run, subject.name)
            if change is Machine.change_image:
                _note_segment(lab, events, subject)
    for subject in lab.subjects:
        for path in subject.out.glob("*.tar"):
            path.unlink()
        lab.note("a format added (tar-kernel-initrd)", _with_format(subject, machine), subject.name)


def _note_segment(lab: Laboratory, events: Path, subject: Subject) -> None:
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "finished" and event["step"] == "tree:services/s0":
            lab.note(SEGMENT, Run(event["seconds"], event["seconds"], 0), subject.name)


def _with_format(subject: Subject, machine: Machine) -> Run:
    return _lkbuild(subject, machine, "--format", "kernel+initrd,tar-kernel-initrd")
