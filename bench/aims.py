"""What is aimed at on two processors, each as a bound computed from rows of the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.laboratory import YARDSTICK
from bench.one_machine import COLD, ONE_IMAGE, SEGMENT
from bench.stopwatch import Run

Rows = Mapping[str, Mapping[str, Run]]
_CP, _PASS = "cp of the output", "python -c pass"
_ZSTD, _GUNZIP = "zstd -1 -T2 of the same bytes", "gzip -dc of the layers"


@dataclass(frozen=True, slots=True)
class Aim:
    """A row and the most it may cost: `bound` takes the rows and the subject's name; seconds, or MB of memory.

    `wall_only`: there is no telling by processor time, since some of what it is bound by is known by the clock alone.
    """

    row: str
    words: str
    bound: Callable[[Rows, str], float]
    of_memory: bool = False
    wall_only: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a subject did: what was measured, the bound, and in which unit."""

    aim: Aim
    measured: float
    bound: float

    @property
    def met(self) -> bool:
        """Whether the aim is met."""
        return self.measured <= self.bound


def _wall(rows: Rows, row: str, subject: str = YARDSTICK) -> float:
    return rows[row][subject].wall


def _thousand(what: str, words: str, bound: float, of_memory: bool = False) -> Aim:
    return Aim(f"1000 specs: {what}", words, lambda _rows, _subject: bound, of_memory)


AIMS = (
    *(
        Aim(
            row.format(codec=codec, jobs="2"),
            "1.3 × (zstd -1 -T2 + gzip -dc of the layers)",
            lambda rows, _: 1.3 * (_wall(rows, _ZSTD) + _wall(rows, _GUNZIP)),
        )
        for row in (COLD, ONE_IMAGE)
        for codec in ("zstd", "gzip")
    ),
    Aim(
        "a service's image changed",
        "its segment + 1.5 × cp + 0.2 s",
        lambda rows, subject: _wall(rows, SEGMENT, subject) + 1.5 * _wall(rows, _CP) + 0.2,
        wall_only=True,
    ),
    Aim("one capability changed", "1.5 × cp + 0.2 s", lambda rows, _: 1.5 * _wall(rows, _CP) + 0.2),
    Aim("nothing to do, lkbuild build", "python -c pass + 0.1 s", lambda rows, _: _wall(rows, _PASS) + 0.1),
    Aim("nothing to do, doit build", "python -c pass + 0.25 s", lambda rows, _: _wall(rows, _PASS) + 0.25),
    Aim(COLD.format(codec="zstd", jobs="2"), "200 MB", lambda _rows, _: 200, True),
    Aim(COLD.format(codec="gzip", jobs="2"), "200 MB", lambda _rows, _: 200, True),
    _thousand("nothing to do, lkbuild build", "1 s", 1.0),
    _thousand("nothing to do, doit build", "1 s", 1.0),
    *(_thousand(what, "400 MB", 400, True) for what in ("cold", "one spec changed", "an image all share changed")),
)


def verdicts(rows: Rows, subject: str) -> list[Verdict]:
    """How a subject did, for the aims whose rows were measured."""
    found = []
    for aim in AIMS:
        run = rows.get(aim.row, {}).get(subject)
        if run is not None:
            try:
                found.append(Verdict(aim, run.memory if aim.of_memory else run.wall, aim.bound(rows, subject)))
            except KeyError:
                continue
    return found
