"""What the checks of a spec's sections share."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

from lkbuild.spec.decode import Place, Report
from lkbuild.spec.model import NumericOrName, Path, Spec

ROOT_NAMES = frozenset({"", "root"})
"""The names that mean id 0 without being a container's."""
MAX_ID = (1 << 32) - 2
"""The greatest user or group id; all ones means none to the kernel."""

_MOST_COMPARED = 100
T = TypeVar("T")


class Checks:
    """A spec that decoded, wholly or in part, and the report where problems go."""

    def __init__(self, spec: Spec, report: Report) -> None:
        self.spec = spec
        self.report = report
        containers = (*spec.onboot, *spec.onshutdown, *spec.services)
        # Where a name is missing, which decoding noted, it is None.
        self.names = dict.fromkeys(container.name for container in containers if container.name is not None)
        self.volumes = {volume.name: volume.readonly for volume in spec.volumes}

    def problem(self, path: Path, message: str, hint: str | None = None) -> None:
        """Note a problem of what stands at `path`."""
        self.report.add(Place(path, self.spec.origin(*path)), message, hint)

    def attempt(self, path: Path, parse: Callable[[str], T], text: str) -> T | None:
        """`parse(text)`; where it raises ValueError, None, and that problem noted at `path`."""
        try:
            return parse(text)
        except ValueError as error:
            self.problem(path, str(error))
            return None

    def unique(self, section: str, names: Iterable[str | None], what: str) -> None:
        """Note each name that stood earlier in the section."""
        first: dict[str | None, int] = {}
        for number, name in enumerate(names):
            earlier = first.setdefault(name, number)
            if earlier != number and name is not None:
                line = self.spec.origin(section, earlier, "name")
                self.problem((section, number, "name"), f"there is already a {what} named {name!r} (at {line})")

    def identity(self, path: Path, value: NumericOrName | None) -> None:
        """Check a uid or gid: a number, or the name of a container."""
        if isinstance(value, int) and not 0 <= value <= MAX_ID:
            self.problem(path, f"{path[-1]} {value} is out of range (wanted 0 to {MAX_ID})")
        if not isinstance(value, str) or value in ROOT_NAMES or value in self.names or self.report.incomplete:
            return
        if value.isdecimal():
            self.problem(path, f"no container is named {value!r}", f"for the number write {value}, without quotes")
            return
        message = f"no container is named {value!r}"
        self.problem(path, message, self.known(value, self.names, "containers", "root"))

    def known(self, name: str, names: Iterable[str], what: str, *more: str) -> str:
        """A hint for a name that is none of `names`: the nearest one, and which there are."""
        known = list(dict.fromkeys((*itertools.islice(names, _MOST_COMPARED), *more)))
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        return f"{guess}the {what} of this spec: {', '.join(known[:20]) or 'none'}"
