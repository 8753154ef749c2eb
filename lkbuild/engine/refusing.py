"""Machines that cannot be prepared, set apart: what is wrong with each is told, and the others can be built."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from lkbuild.engine.refused import environmental
from lkbuild.engine.report import Broke, Refused, Report
from lkbuild.errors import LkbuildError, Origin, Problem, SpecError, StoreError
from lkbuild.frozen import frozen

T = TypeVar("T")
Files = tuple[Path, ...]


@frozen
class Refusal:
    """A machine that cannot be prepared: its spec files, and why; `traceback` where the mistake is lkbuild's."""

    files: Files
    error: LkbuildError
    traceback: str = ""

    @property
    def spec(self) -> str:
        """What `spec=` takes."""
        return _spec(self.files)

    @property
    def name(self) -> str:
        """What the machine would be called."""
        return self.files[0].stem

    @property
    def why(self) -> str:
        """The reason in one line."""
        return brief(self.error)


class Refusals:
    """Which of a build's `machines` can be prepared, by their numbers there, and why others cannot.

    `going_on`: the former are built all the same.
    """

    def __init__(self, machines: Sequence[Files], going_on: bool) -> None:
        self._machines = machines
        self.going_on = going_on
        self._found: dict[int, Refusal] = {}

    @property
    def left(self) -> list[int]:
        """The machines that are not refused."""
        return [number for number in range(len(self._machines)) if number not in self._found]

    @property
    def found(self) -> tuple[Refusal, ...]:
        """Those that are, in their order."""
        return tuple(self._found[number] for number in sorted(self._found))

    def each(self, work: Callable[[int], T]) -> dict[int, T]:
        """What `work` makes of each machine that is left; one where it fails is refused.

        What is wrong with the cache is wrong with all, and is raised; so is a mistake of ours unless building goes on.
        """
        done: dict[int, T] = {}
        for number in self.left:
            try:
                done[number] = work(number)
            except StoreError:
                raise
            except LkbuildError as error:
                self.refuse(number, error)
            except Exception as error:
                known = environmental(error)
                if known is None and not self.going_on:
                    raise
                what = LkbuildError(f"this is a bug in lkbuild: {type(error).__name__}: {error}")
                self.refuse(number, known or what, "" if known else traceback.format_exc())
        return done

    def refuse(self, number: int, error: LkbuildError, trace: str = "") -> None:
        """Set a machine apart, unless it is.  Where there are several, an error without a place is told at its spec."""
        files = self._machines[number]
        if (self.going_on or len(self._machines) > 1) and not isinstance(error, SpecError):
            error = SpecError([Problem(Origin(_spec(files)), error.message, error.hint)])
        self._found.setdefault(number, Refusal(files, error, trace))

    def spec(self, number: int) -> str:
        """A machine as `spec=` takes it."""
        return _spec(self._machines[number])

    def settle(self) -> None:
        """Raise what is wrong with all machines, in their order, unless building goes on without these."""
        if not self._found or self.going_on:
            return
        errors = [refusal.error for refusal in self.found]
        if len(errors) == 1:
            raise errors[0]
        raise SpecError.joined(error for error in errors if isinstance(error, SpecError))


def reports(refused: Iterable[Refusal]) -> list[Report]:
    """What is told of machines that are refused; what several are refused for is said once."""
    told: set[str] = set()
    found: list[Report] = []
    for refusal in refused:
        if refusal.traceback:
            found.append(Broke(refusal.traceback, refusal.spec))
        else:
            found.append(Refused(refusal.spec, refusal.error, refusal.error.message in told))
            told.add(refusal.error.message)
    return found


def code(refused: Iterable[Refusal]) -> int:
    """What to exit with for machines that are refused: 0 for none, 1 for the user's fault, 2 where one is ours."""
    return max((2 if refusal.traceback else 1 for refusal in refused), default=0)


def brief(error: LkbuildError) -> str:
    """An error in one line: the first of its problems, and how many more there are."""
    problems = error.problems if isinstance(error, SpecError) else ()
    first = f"{problems[0].origin}: {problems[0].message}" if problems else error.message
    return first.partition("\n")[0] + (f" (and {len(problems) - 1} more)" if problems[1:] else "")


def _spec(files: Files) -> str:
    return "+".join(map(os.fspath, files))
