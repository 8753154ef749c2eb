"""What is told of a build as a whole, besides what happens in its steps; and how it is said, in a line or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

from lkbuild.engine.events import Checked, Compared, Event, Finished, Progressed, Said, Started, Told, Wrote
from lkbuild.errors import LkbuildError, SpecError
from lkbuild.frozen import frozen


@frozen
class Resolving:
    """Specs are read, their images and packages found, and the graph is made, of so many machines."""

    machines: int


@frozen
class Planned:
    """The graph is made: so many steps, so many of which must run."""

    steps: int
    to_run: int


@frozen
class Expected:
    """How long a build will take by what earlier ones took: in all, and each step that must run (seconds)."""

    seconds: float
    steps: tuple[tuple[str, float], ...]


@frozen
class Failed:
    """Something went wrong that the user can put right; `task` is empty where it was before any."""

    error: LkbuildError
    task: str = ""


@frozen
class Refused:
    """A machine of several cannot be prepared, and is not built; `again`: for what another was refused for already."""

    spec: str
    error: LkbuildError
    again: bool = False


@frozen
class Broke:
    """Something went wrong that is a mistake in lkbuild."""

    traceback: str
    task: str = ""


@frozen
class Skipped:
    """A task was not done, because one it needs failed."""

    task: str
    because: str


@frozen
class Built:
    """A machine is built: what was done for it, and its output files.

    `together`: with so many machines; where with others, `seconds` are those of all, and said once, with the Total.
    """

    machine: str
    ran: int
    cached: int
    written: int
    seconds: float
    outputs: tuple[str, ...]
    together: int = 1


@frozen
class Total:
    """Several machines are built: so many, and what was done for all of them together."""

    machines: int
    ran: int
    cached: int
    written: int
    seconds: float


@frozen
class NotBuilt:
    """A machine that is not built: its name, and why, in a line."""

    machine: str
    why: str


@frozen
class Unbuilt:
    """The machines that are not built, of so many that were asked for, where building went on without them."""

    machines: tuple[NotBuilt, ...]
    asked: int


@frozen
class Nothing:
    """There was nothing to do for these machines."""

    machines: tuple[str, ...]
    seconds: float


@frozen
class Interrupted:
    """The user, or the system, stopped the build."""


class Worded:
    """A report that says itself what its lines are: an answer to a question, a dataclass."""

    __slots__ = ()

    def words(self, verbose: bool) -> Iterator[str]:
        """The lines that say it."""
        raise AssertionError(f"{type(self).__name__} has no words")


Report = (
    Event
    | Resolving
    | Planned
    | Expected
    | Failed
    | Refused
    | Broke
    | Skipped
    | Built
    | Total
    | Unbuilt
    | Nothing
    | Interrupted
    | Worded
)


def words(report: Report, verbose: bool = False) -> Iterator[str]:
    """The lines that say it; none for what is only worth a line where `verbose`, or only shown while it lasts."""
    match report:
        case Finished(step, "ran", seconds):
            yield f"{step}  {seconds_words(seconds)}"
        case Finished(step, how, seconds) if verbose:
            yield f"{step}  {'made by another build, ' if how == 'waited' else ''}in the cache"
        case Started(step, reason) if verbose and reason:
            yield f"{step}: {reason}"
        case Said(text):
            yield f"warning: {text}"
        case Told(text):
            yield text
        case Compared(machine, format, files, ()):
            yield f"{machine}, {format}: identical ({', '.join(files)})"
        case Checked(step, _, key, outcome, _, reason) if verbose:
            yield f"{step} ({key[:12]}): {outcome}{f', {reason}' if reason else ''}"
        case Wrote(_, path, size):
            yield f"wrote {path} ({size_words(size)})"
        case Failed(error, _):
            yield from error_words(error)
        case Refused(_, error, again):
            yield from () if again else error_words(error)
        case Broke(traceback, task):
            yield from broke_words(traceback, task)
        case Skipped(task, because):
            yield f"{task}: not done, since {because} failed"
        case Built():
            yield f"{report.machine}: {_done(report)}"
            yield from (f"  {path}" for path in report.outputs)
        case Total():
            yield f"{report.machines} machines: {_done(report)}"
        case Unbuilt(machines, asked):
            yield f"{len(machines)} of {asked} machines {'is' if len(machines) == 1 else 'are'} not built:"
            yield from (f"  {each.machine}: {each.why}" for each in machines)
        case Nothing(machines, seconds):
            who = machines[0] if len(machines) == 1 else f"{len(machines)} machines"
            yield f"{who}: nothing to do (checked in {round(seconds * 1000)} ms)"
        case Worded():
            yield from report.words(verbose)
        case Interrupted():
            yield "interrupted; what was done so far is kept"


def error_words(error: LkbuildError) -> Iterator[str]:
    """An error as people read it: each problem of a spec on a line of its own, then what to do."""
    if isinstance(error, SpecError):
        for problem in error.problems:
            yield f"error: {problem.origin}: {problem.message}"
            if problem.hint:
                yield f"  hint: {problem.hint}"
        return
    yield f"error: {error.message}"
    if error.hint:
        yield f"  hint: {error.hint}"


def broke_words(traceback: str, task: str = "") -> Iterator[str]:
    """A mistake of ours."""
    from lkbuild import __version__

    yield from traceback.rstrip("\n").split("\n")
    yield f"error: {task + ': ' if task else ''}this is a bug in lkbuild {__version__}, not in what you wrote"
    yield "  hint: please report it, with the lines above and the spec"


def json_line(report: Report) -> str:
    """The report as one line of JSON: `event` is its kind in lower case, the rest its fields."""
    plain: dict[str, object] = {"event": type(report).__name__.lower()}
    plain.update({field.name: _plain(getattr(report, field.name)) for field in fields(cast(Any, report))})
    return json.dumps(plain)


def _plain(value: object) -> object:
    if isinstance(value, SpecError):
        return {"message": value.message, "problems": _plain(value.problems)}
    if isinstance(value, LkbuildError):
        return {"message": value.message, "hint": value.hint}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4)
    return value


def size_words(size: int) -> str:
    """Bytes as people say them."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def progress_words(event: Progressed) -> str:
    """How far a step has got."""
    if event.total <= 0:
        return size_words(event.done)
    return f"{size_words(event.done)} of {size_words(event.total)}"


def _done(built: Built | Total) -> str:
    parts = [f"{built.ran} {_many('step', built.ran)} ran", f"{built.cached} cached"]
    parts.append(f"{built.written} {_many('file', built.written)} written")
    if isinstance(built, Total) or built.together == 1:
        parts.append(seconds_words(built.seconds))
    return ", ".join(parts)


def _many(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def seconds_words(seconds: float, whole: bool = False) -> str:
    """A time as people say it; `whole`: in seconds without a fraction."""
    if seconds < 120:
        return f"{seconds:.0f} s" if whole else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
