"""The table and the plots of results that `python -m bench` kept: `python -m bench.report [DIR]` makes them anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bench.aims import Rows, Verdict, verdicts
from bench.stopwatch import Run

_COLOURS = ("#8a8f98", "#2a6fbb", "#3a9a5b", "#c4682c")
_YARDSTICK = "other programs"


def write(out: Path) -> None:
    """Write `table.md` beside `results.json`; `plot.svg` and `plot.png` too where matplotlib is installed."""
    about = json.loads((out / "results.json").read_text())
    rows: dict[str, dict[str, Run]] = {
        row: {name: Run(**run) for name, run in by.items()} for row, by in about["rows"].items()
    }
    (out / "table.md").write_text("".join(f"{line}\n" for line in table(rows, about["subjects"], about["rounds"])))
    try:
        import matplotlib  # noqa: F401 - whether it is there
    except ImportError:
        sys.stderr.write("no plot: `pip install '.[bench]'` brings matplotlib\n")
        return
    _plot(rows, out)


def table(rows: Rows, subjects: list[str], rounds: int) -> Iterator[str]:
    """The lines of the Markdown table: every row, then the aims."""
    names = list(dict.fromkeys(name for by in rows.values() for name in by if name)) or list(subjects)
    yield f"Medians of {rounds} rounds, of whole processes: seconds of wall time / of processor time / peak MB."
    yield ""
    ratio = len(subjects) == 2
    head = ["", *names, *(["after / before"] if ratio else [])]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row, by in rows.items():
        cells = [_cell(by.get(name) or (by.get("") if name == names[-1] else None)) for name in names]
        yield f"| {' | '.join([row, *cells, *([_ratio(by, subjects)] if ratio else [])])} |"
    yield ""
    yield from _aims(rows, subjects)


def _aims(rows: Rows, subjects: list[str]) -> Iterator[str]:
    """The table of aims, by wall time and by processor time, which is the fairer one where others use the machine."""
    processor = {row: {name: replace(run, wall=run.cpu) for name, run in by.items()} for row, by in rows.items()}
    yield f"| aim | bound | {' | '.join(subjects)} | {' | '.join(f'{name}, processor time' for name in subjects)} |"
    yield f"|---|---|{'---|' * 2 * len(subjects)}"
    columns = [verdicts(each, name) for each in (rows, processor) for name in subjects]
    for line in zip(*columns, strict=True):
        aim = line[0].aim
        cells = [_judged(verdict) for verdict in line[: len(subjects) if aim.of_memory or aim.wall_only else None]]
        yield f"| {' | '.join([aim.row, aim.words, *cells, *[''] * (2 * len(subjects) - len(cells))])} |"


def _judged(verdict: Verdict) -> str:
    unit = "MB" if verdict.aim.of_memory else "s"
    word = "met" if verdict.met else "**not met**"
    return f"{_number(verdict.measured)} of {_number(verdict.bound)} {unit}: {word}"


def _cell(run: Run | None) -> str:
    if run is None:
        return ""
    memory = f" / {run.memory:.0f}" if run.memory else ""
    return f"{_number(run.wall)} / {_number(run.cpu)}{memory}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _ratio(by: Mapping[str, Run], subjects: list[str]) -> str:
    if not all(name in by for name in subjects):
        return ""
    before, after = (by[name] for name in subjects)
    return f"{after.wall / before.wall:.2f} / {after.cpu / before.cpu:.2f}"


def _plot(rows: Rows, out: Path) -> None:
    """Bars of processor time on a logarithmic scale: on a machine others use too, wall time says less."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "lkbuild"
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for by in rows.values() for name in by))
    figure, axes = pyplot.subplots(figsize=(10, 0.32 * sum(len(by) for by in rows.values()) + 1.5))
    at, ticks = 0.0, []
    for row, by in rows.items():
        ticks.append((at + (len(by) - 1) / 2, row))
        for name, run in by.items():
            axes.barh(at, run.wall, 0.85, color=_COLOURS[names.index(name) % len(_COLOURS)], alpha=0.45)
            axes.barh(at, run.cpu, 0.4, color=_COLOURS[names.index(name) % len(_COLOURS)])
            axes.text(max(run.wall, run.cpu) * 1.05, at, _number(run.wall), va="center", fontsize=7)
            at += 1
        at += 0.8
    axes.set_yticks([y for y, _ in ticks], [row for _, row in ticks], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds: wall time (pale, with its number) and processor time (dark)")
    for number, name in enumerate(names):
        axes.barh(0, 0, color=_COLOURS[number % len(_COLOURS)], label=name or _YARDSTICK)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out / "plot.svg", metadata={"Date": None})
    figure.savefig(out / "plot.png", dpi=110)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results")
