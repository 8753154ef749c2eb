"""The formats of a build: which each machine is made in, who asks for them, and those that are impossible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lkbuild.engine.options import BuildOptions
from lkbuild.errors import Origin, Problem, SpecError, UsageError
from lkbuild.plan.endings import shared
from lkbuild.plan.graph import SHARED_PATH
from lkbuild.plan.outputs import DEFAULT_FORMAT, FORMATS, known_format
from lkbuild.plan.possible import Asked, problems, sized
from lkbuild.spec.model import Spec

_SAID = Origin("format")


def formats_of(spec: Spec, options: BuildOptions) -> tuple[str, ...]:
    """The formats a machine is made in."""
    return options.formats or spec.outputs or (DEFAULT_FORMAT,)


def check_formats(spec: Spec, options: BuildOptions) -> None:
    """SpecError with everything that is wrong with what is asked for, as far as it shows without any image."""
    found = [problem for name in options.formats for problem in _unknown(name, _SAID)]
    own = [(name, spec.origin("outputs", number, "format")) for number, name in enumerate(spec.outputs)]
    found += [problem for name, origin in own for problem in _unknown(name, origin)]
    used = tuple((name, _SAID) for name in formats_of(spec, options)) if options.formats or not own else own
    known = tuple((name, origin) for name, origin in used if name in FORMATS)
    found += problems(spec, Asked(known, options.arch, options.size, options.bootloader is not None))
    found += _shared_paths(spec, dict(known), options)
    if found:
        raise SpecError(tuple(dict.fromkeys(found)))


def _unknown(name: str, origin: Origin) -> list[Problem]:
    try:
        known_format(name)
    except UsageError as error:
        return [Problem(origin, error.message, error.hint)]
    return []


def _shared_paths(spec: Spec, known: Mapping[str, Origin], options: BuildOptions) -> list[Problem]:
    """Each two of the formats, by name with who asks for them, that would write one path."""
    stem = options.directory.absolute() / spec.name
    return [
        Problem(
            known[second],
            f"build:{spec.name}:{first} and build:{spec.name}:{second} would both write {stem}{ending}",
            SHARED_PATH,
        )
        for first, second, ending in shared(known, spec.kernel is not None)
    ]


def size_for_nothing(specs: Iterable[Spec], options: BuildOptions) -> list[Problem]:
    """What is wrong with a size where none of the formats of all machines has one."""
    names = {name for spec in specs for name in formats_of(spec, options)}
    if options.size is None or not names or not names <= FORMATS.keys() or sized(names):
        return []
    message = f"{options.size}M are asked for, and no size can be given to {', '.join(sorted(names))}"
    return [Problem(Origin("size"), message, f"leave it out; formats with a size: {', '.join(sized(FORMATS))}")]
