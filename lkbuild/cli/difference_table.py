"""The comparison of two builds as lines for people: a table by service, then file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from lkbuild.cli.screen import printable
from lkbuild.engine.report import size_words
from lkbuild.report.difference import Comparison, FieldChange, FileChange, OwnerChange, Setting

_MARKS = {"added": "+", "removed": "-", "changed": "~"}


def table(found: Comparison) -> Iterator[str]:
    """The lines; none where the builds are the same.  Names are made printable: anybody may have chosen them."""
    if found.equal:
        return
    yield from map(printable, _summary(found.owners))
    for owner, changes in groupby(found.files, key=lambda change: change.owner):
        yield ""
        yield printable(f"{owner}:")
        yield from map(printable, _files(list(changes)))


def _summary(owners: Iterable[OwnerChange]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("PART", "ADDED", "REMOVED", "CHANGED", "BEFORE", "AFTER")]
    for each in owners:
        counts = (str(count) for count in (each.added, each.removed, each.changed))
        rows.append((each.owner, *counts, size_words(each.before), size_words(each.after)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        numbers = (text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *numbers))


def _files(changes: Iterable[FileChange]) -> Iterator[str]:
    """The changes of one owner by path; what lies below a directory that came or went is told with it."""
    top: dict[tuple[str, str], FileChange] = {}
    inside: dict[str, list[FileChange]] = {}
    for change in changes:  # in the order of paths, so that a directory comes before what is in it
        over = top.get((change.path.rpartition("/")[0], change.what))
        if over is None:
            inside[change.path] = [change]
        else:
            inside[over.path].append(change)
        if change.what != "changed" and change.kind == "directory":
            top[change.path, change.what] = over or change
    for first, *others in inside.values():
        yield f"  {_MARKS[first.what]} {first.path}{'/' if first.kind == 'directory' else ''}{_about(first, others)}"
        yield from (f"      {_setting(setting)}" for setting in first.settings)


def _about(change: FileChange, inside: list[FileChange]) -> str:
    """What is told of a change behind its path."""
    if change.what == "changed":
        words = (_field(field) for field in change.fields if field.name != "content")
        content = ["content"] if any(field.name == "content" for field in change.fields) else []
        return f"  {', '.join((*content, *words))}"
    size = size_words(sum(each.before + each.after for each in (change, *inside)))
    if inside:
        return f"  {len(inside)} {'path' if len(inside) == 1 else 'paths'}, {size}"
    return f"  {size}" if change.kind == "file" else ""


def _field(field: FieldChange) -> str:
    return f"{field.name} {field.old or 'none'} → {field.new or 'none'}"


def _setting(setting: Setting) -> str:
    """`path: old → new`; `path: + item` and `path: - item` for lists that differ in items."""
    if setting.added or setting.removed:
        signs = (f"{sign} {item}" for sign, items in (("-", setting.removed), ("+", setting.added)) for item in items)
        return f"{setting.name}: {', '.join(signs)}"
    return f"{setting.name}: {setting.old} → {setting.new}"
