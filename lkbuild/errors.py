"""The errors lkbuild raises: one root, and one kind for each place where a mistake can lie.

Every error says what was found and what was wanted; `hint` says what to do.  Only the command line prints them.
"""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.frozen import frozen, ordered


class LkbuildError(Exception):
    """Something the user can put right.  `message` is what is wrong, `hint` what to do about it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


@ordered
class Origin:
    """A place in a file the user wrote; line and column count from 1, 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


@frozen
class Problem:
    """One mistake at one place of a file."""

    origin: Origin
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.origin}: {self.message}"
        return text if self.hint is None else f"{text}\n  hint: {self.hint}"


class SpecError(LkbuildError):
    """A spec, build.yml or lock file is wrong.  Holds every problem found, by place unless they are `in_order`."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...], in_order: bool = False) -> None:
        by_place = problems if in_order else sorted(problems, key=lambda p: (p.origin, p.message, p.hint or ""))
        self.problems = tuple(by_place)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def joined(cls, errors: Iterable[SpecError]) -> SpecError:
        """The problems of several, in the order of the errors, each once."""
        return cls(tuple(dict.fromkeys(problem for error in errors for problem in error.problems)), in_order=True)


class UsageError(LkbuildError):
    """The command line is wrong."""


class ImageError(LkbuildError):
    """An image cannot be found, fetched, trusted or read."""


class TrustError(ImageError):
    """A signature is missing, damaged, about something else, or not by whom it should be; or a key is none."""


class ArchiveError(LkbuildError):
    """A tar, cpio or compressed stream is damaged or hostile."""


class StepError(LkbuildError):
    """A step could not be carried out with these inputs."""


class StoreError(LkbuildError):
    """The cache cannot be read or written."""


class ToolError(LkbuildError):
    """An external program is missing or failed."""


class MachineError(LkbuildError):
    """A virtual machine could not be run."""
