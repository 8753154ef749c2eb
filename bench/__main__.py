"""`python -m bench`: measure, and write the table and the plots (README.md says how to read them)."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench import fleet, inner_loop, linuxkit, one_machine
from bench.laboratory import Laboratory, Subject
from bench.workload import Fleet

ROOT = Path(__file__).parents[1]
SCENARIOS = ("machine", "fleet", "thousand", "dev", "linuxkit")


def main(argv: list[str]) -> None:
    """Measure what the command line names, everything where it names nothing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all where none is named")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--megabytes", type=float, default=300, help="size of the one machine's images")
    parser.add_argument("--specs", type=int, default=1000, help="how many the large fleet has")
    parser.add_argument("--against", metavar="DIR", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--work", metavar="DIR", type=Path, help="keep the workloads here, for the next time")
    parser.add_argument("--out", metavar="DIR", type=Path, default=ROOT / "bench" / "results", help="for the results")
    given = parser.parse_args(argv)
    if unknown := set(given.scenario) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        work = (given.work or Path(scratch)).absolute()
        lab = Laboratory(_subjects(work, given.against), given.rounds, work, given.out)
        for name in given.scenario or SCENARIOS:
            _measure(lab, name, given)
    if not lab.book:
        parser.exit(1, "nothing was measured: the scenario linuxkit needs a binary, LINUXKIT=PATH\n")
    from bench.report import write  # which loads what would count as memory of the processes measured

    write(given.out)


def _subjects(work: Path, against: Path | None) -> list[Subject]:
    checkouts = {"lkbuild": ROOT} if against is None else {"before": against.absolute(), "after": ROOT}
    subjects = [Subject(name, checkout, work / name) for name, checkout in checkouts.items()]
    for subject in subjects:
        subject.home.mkdir(parents=True, exist_ok=True)
        subject.compile()
    return subjects


def _measure(lab: Laboratory, name: str, given: argparse.Namespace) -> None:
    match name:
        case "machine":
            one_machine.measure(lab, given.megabytes)
        case "fleet":
            fleet.measure(lab, Fleet(lab.work / "twenty", 20, 24, max(8, int(given.megabytes * 30))))
        case "thousand":
            fleet.measure(lab, Fleet(lab.work / "thousand", given.specs, 200, 60))
        case "dev":
            inner_loop.measure(lab)
        case "linuxkit":
            linuxkit.measure(lab, given.megabytes, os.environ.get("LINUXKIT"))


if __name__ == "__main__":
    main(sys.argv[1:])
