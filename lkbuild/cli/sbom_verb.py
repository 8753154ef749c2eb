"""`lkbuild sbom`: what is in a machine, as a table or as a document."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable

from lkbuild.cli.flags import Command, Flag, Given, flags_of
from lkbuild.cli.project import PROJECT
from lkbuild.cli.spec_names import each_spec
from lkbuild.engine.arguments import BUILD_OPTIONS
from lkbuild.engine.events import Contains, Event, Said, Told
from lkbuild.engine.options import BuildOptions, Sbom
from lkbuild.engine.project import Show
from lkbuild.errors import UsageError

_TAKES = ("arch", "name", "pull", "offline", "cache", "images", "docker", "supplier", "json", "quiet", "verbose")
_FORMATS = ("table", "spdx", "cyclonedx")
_WIDEST = 48
"""The most characters of a cell; the last column is as long as it is."""

SBOM_OPTIONS = tuple(option for option in BUILD_OPTIONS if option.name in _TAKES)


def work(given: Given, show: Show) -> int:
    """List what is in the machines of the specs named, each a machine of its own."""
    form = dict(given.words).get("as", "table")
    if form not in _FORMATS:
        raise UsageError(f"--format {form} is not known", f"one of {', '.join(_FORMATS)}")
    given = dataclasses.replace(given, words=tuple(word for word in given.words if word[0] != "as"))
    asked = each_spec(given)
    if form != "table" and len(asked.options.machines) > 1:
        raise UsageError(f"--format {form} is one document, but {len(asked.options.machines)} specs are named")
    _tell(_options(asked.options, form), form, ("json", "yes") in given.words, show)
    return 0


def _options(options: BuildOptions, form: str) -> BuildOptions:
    """Options for a plan that has the documents, and little else."""
    sbom: Sbom = "cyclonedx" if form == "cyclonedx" else "spdx"
    return dataclasses.replace(options, formats=("kernel+initrd",), sbom=sbom, provenance=False)


def _tell(options: BuildOptions, form: str, as_json: bool, show: Show) -> None:
    from lkbuild.engine import bills

    def listen(event: Event) -> None:
        if isinstance(event, Said):
            show(event)

    prepared = PROJECT.prepare(options, listen)
    try:
        session = prepared.session
        files = list(bills.documents(session))
        if form != "table":
            data = bills.read(session, files[-1].step, files[-1].output)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        for file in files:
            rows = bills.rows(bills.bill(session, file))
            for line in rows if as_json else map(Told, table(rows)):
                show(line)
    finally:
        prepared.close()


def table(rows: Iterable[Contains]) -> Iterable[str]:
    """The rows under a line of headings; what they have in common with the row above is left out."""
    cells = [("PLACE", "IMAGE", "PACKAGE", "VERSION", "LICENCE", "SUPPLIER")]
    before = ("", "")
    for row in rows:
        place = (row.places, row.image)
        cells.append((*(place if place != before else ("", "")), row.package, row.version, row.license, row.supplier))
        before = place
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*cells, strict=True)]
    for row_cells in cells:
        padded = [text.ljust(width) for text, width in zip(row_cells[:-1], widths, strict=False)]
        yield "  ".join((*padded, row_cells[-1])).rstrip()


command = Command(
    "lkbuild sbom [FLAGS] SPEC [SPEC ...]",
    "List what is in a machine: images, packages, versions, licences as far as they are known.  Nothing is built.",
    (
        Flag(("format",), "as", "a table, or the document as a build writes it", "|".join(_FORMATS)),
        *flags_of(SBOM_OPTIONS),
    ),
    work,
    ("spec", *_TAKES),
)
