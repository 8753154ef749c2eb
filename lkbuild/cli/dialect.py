"""What errors call options: `format=tar` is how doit has it, and to who wrote flags they speak of flags."""

from __future__ import annotations

import re
from dataclasses import replace

from lkbuild.cli.flags import Command
from lkbuild.engine.project import Show
from lkbuild.engine.report import Failed, Refused, Report
from lkbuild.errors import ImageError, LkbuildError, SpecError, UsageError


class InFlags:
    """Shows what `show` shows, where errors call the options of a command by its flags."""

    def __init__(self, show: Show, command: Command) -> None:
        self._show = show
        self._command = command

    def __call__(self, report: Report) -> None:
        """See lkbuild.engine.project.Show."""
        if isinstance(report, Failed | Refused):
            report = replace(report, error=self._error(report.error))
        self._show(report)

    def close(self) -> None:
        """See lkbuild.engine.project.Show."""
        self._show.close()

    def _error(self, error: LkbuildError) -> LkbuildError:
        """Messages of specs quote what they find there, and stay as they are."""
        if isinstance(error, SpecError):
            hints = (replace(problem, hint=self.spoken(problem.hint)) for problem in error.problems)
            return SpecError(tuple(hints), in_order=True)
        spoken = isinstance(error, UsageError | ImageError)
        message = (self.spoken(error.message) if spoken else None) or error.message
        return LkbuildError(message, self.spoken(error.hint))

    def spoken(self, text: str | None) -> str | None:
        """A text with flags in place of `name=value` words: `--name=value`, and `--name` for `name=yes` and `name=`.

        What is said of doit, to the end of the quotation, stays; so does what stands in a value or is quoted.
        """
        if text is None:
            return None
        if "SPEC" in self._command.usage:
            text = text.replace("say spec=FILE", f"say {self._command.usage.partition(' [')[0]} FILE")
        flags: dict[str, str] = {}
        for flag in self._command.flags:
            flags.setdefault(flag.word, next((f"--{name}" for name in flag.names if len(name) > 1), ""))
        words = "|".join(word for word, name in flags.items() if name) or "(?!)"

        def called(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]
            return flags[match[1]] + ("=" if match[2] is None else "")

        return re.sub(rf"\bdoit [^`]*|{_BEFORE}({words})=({_ALONE})?", called, text)


_BEFORE = r"(?<![\w./=,:'\"-])"
_ALONE = r"yes\b(?!\|)|(?=[\s,;:)]|\Z)"
"""A switch that is turned on, or no value at all."""
