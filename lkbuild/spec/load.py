"""Spec files to a Spec: read, merge, decode, check, and say everything that is wrong at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lkbuild.errors import Origin, UsageError
from lkbuild.spec.check import check
from lkbuild.spec.decode import Place, Report, decode_fields
from lkbuild.spec.merge import merge
from lkbuild.spec.metadata import as_written
from lkbuild.spec.model import Spec
from lkbuild.spec.yaml_nodes import Node
from lkbuild.spec.yaml_parse import parse_text, read_text


def load(paths: Sequence[Path], *, name: str | None = None, text: Mapping[Path, str] | None = None) -> Spec:
    """The spec that the files make together, later ones appended to earlier ones.

    `name` is the spec's name, that of the first file without its ending where not given.  `text` gives what is read in
    place of files that stand in it.  Package directories and the sources of files are looked for on disk, relative to
    the file that names them.  SpecError holds every problem of all files, each with its line.
    """
    if not paths:
        raise UsageError("no spec file is given", "name at least one, for example: lkbuild build linuxkit.yml")
    report = Report()
    documents = [node for path in paths if (node := _read(path, text or {}, report)) is not None]
    report.incomplete = len(documents) < len(paths)
    root = merge(documents, report)
    origin = Origin(str(paths[0]))
    fields = decode_fields(Spec, root, Place((), origin), report) or {}
    report.origins[()] = origin
    spec = Spec(name=name or paths[0].stem, **fields, origins=report.origins)
    check(spec, report)
    report.finish()
    written = json.dumps(as_written(root), ensure_ascii=False)
    return Spec(name=spec.name, **fields, origins=report.origins, written=written)


def _read(path: Path, text: Mapping[Path, str], report: Report) -> Node | None:
    known = text.get(path)
    found = read_text(path, report.problems) if known is None else known
    return None if found is None else parse_text(found, str(path), report.problems)
