"""How two builds differ: which files of which service, in what, and which settings of its container."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from lkbuild.archive.entry import path_text
from lkbuild.engine.differences import NOTHING, Difference, differences, shortened
from lkbuild.frozen import frozen
from lkbuild.report.alike import alike
from lkbuild.report.listing import CMDLINE, File, Listing

What = Literal["added", "removed", "changed"]
_SECTIONS = (b"services", b"onboot", b"onshutdown", b"volumes")


@frozen
class FieldChange:
    """Something about a file, before and after, in words."""

    name: str
    old: str
    new: str


@frozen
class Setting:
    """A field of a container's settings, before and after, in short; of lists, the items that came and went."""

    name: str
    old: str
    new: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@frozen
class FileChange:
    """A path that is not as it was: whose it is, its bytes before and after, and of a changed one what is not the same.

    `kind`: what stands there now, or stood there where it was removed.
    """

    path: str
    owner: str
    what: What
    kind: str
    before: int
    after: int
    fields: tuple[FieldChange, ...] = ()
    settings: tuple[Setting, ...] = ()


@frozen
class OwnerChange:
    """A service or another part of a machine: how many paths differ, and the bytes of all its files."""

    owner: str
    added: int
    removed: int
    changed: int
    before: int
    after: int


@frozen
class Comparison:
    """Two builds compared.  `owners` are those in which something differs; nothing does where there are none."""

    owners: tuple[OwnerChange, ...]
    files: tuple[FileChange, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.files


def compare(one: Listing, other: Listing, times: bool = False) -> Comparison:
    """The comparison of two listings, in the order of owners and paths; modification times count only with `times`."""
    old, new = alike(one, other)
    changes = sorted(_changes(old, new, times), key=lambda change: (change.owner, change.path))
    counts = Counter((change.owner, change.what) for change in changes)
    before, after = _sizes(old.files), _sizes(new.files)
    owners = tuple(
        OwnerChange(
            name, counts[name, "added"], counts[name, "removed"], counts[name, "changed"], before[name], after[name]
        )
        for name in sorted({change.owner for change in changes})
    )
    return Comparison(owners, tuple(changes))


def owner_of(path: bytes) -> str:
    """Whose a path is: `services/NAME` and so on for containers and volumes, `boot`, else `root`."""
    parts = path.split(b"/")
    if parts[0] == b"boot":
        return "boot"
    if len(parts) > 2 and parts[0] == b"containers" and parts[1] in _SECTIONS:
        return path_text(b"/".join(parts[1:3]))
    return "root"


def _sizes(files: dict[bytes, File]) -> Counter[str]:
    """Bytes by owner, a file of several names counted where its first is."""
    found: Counter[str] = Counter()
    for path, file in files.items():
        if file.linked in (b"", path):
            found[owner_of(path)] += file.size
    return found


def _changes(old: Listing, new: Listing, times: bool) -> Iterator[FileChange]:
    for path in old.files.keys() | new.files.keys():
        before, after = old.files.get(path), new.files.get(path)
        if before is None and after is not None:
            yield FileChange(path_text(path), owner_of(path), "added", after.kind, 0, after.size)
        elif before is not None and after is None:
            yield FileChange(path_text(path), owner_of(path), "removed", before.kind, before.size, 0)
        elif before is not None and after is not None:
            fields = tuple(_fields(before, after, times))
            if fields:
                texts = old.settings.get(path), new.settings.get(path)
                settings = _words_of(*texts) if path == CMDLINE else _settings(*texts)
                sizes = before.size, after.size
                yield FileChange(path_text(path), owner_of(path), "changed", after.kind, *sizes, fields, settings)


def _fields(old: File, new: File, times: bool) -> Iterator[FieldChange]:
    if old == new:
        return
    for (name, one), (_, other) in zip(_words(old, times), _words(new, times), strict=True):
        if one != other:
            yield FieldChange(name, one, other)


def _words(file: File, times: bool) -> Iterator[tuple[str, str]]:
    """All that counts about a file."""
    yield "kind", file.kind
    yield "mode", f"{file.mode:04o}"
    yield "owner", f"{file.uid}:{file.gid}"
    yield "size", str(file.size)
    yield "content", f"sha256:{file.digest.hex()}" if file.digest else ""
    yield "target", path_text(file.target)
    yield "device", "{}:{}".format(*file.device) if file.kind in ("char", "block") else ""
    yield "same file as", path_text(file.linked)
    yield "attributes", " ".join(f"{path_text(name)}={value.hex()}" for name, value in file.xattrs)
    yield "time", str(file.mtime) if times else ""


def _settings(old: bytes | None, new: bytes | None) -> tuple[Setting, ...]:
    """The fields in which two JSON texts differ; none where one was too large to be kept, or is none."""
    if old is None or new is None or old == new:
        return ()
    try:
        return tuple(map(_setting, differences(Any, json.loads(old), json.loads(new))))
    except (ValueError, RecursionError):
        return ()


def _words_of(old: bytes | None, new: bytes | None) -> tuple[Setting, ...]:
    """The words in which two command lines differ, or in the order of which; nothing where one was not kept."""
    if old is None or new is None:
        return ()
    before, after = ([path_text(word) for word in text.split()] for text in (old, new))
    if before == after:
        return ()
    short = shortened(" ".join(before), " ".join(after))
    return (Setting("words", *short, _without(after, before), _without(before, after)),)


def _setting(each: Difference) -> Setting:
    old, new = ([] if value is NOTHING else value for value in (each.old, each.new))
    lists = isinstance(old, list) and isinstance(new, list)
    added, removed = (_without(new, old), _without(old, new)) if lists else ((), ())
    return Setting(each.where, *shortened(each.old, each.new), added, removed)


def _without(items: list[Any], others: list[Any]) -> tuple[str, ...]:
    """The items, as text, that are not among the others, as often as they are missing there."""
    left = Counter(map(_text, others))
    found: list[str] = []
    for text in map(_text, items):
        if left[text]:
            left[text] -= 1
        else:
            found.append(text)
    return tuple(found)


def _text(item: Any) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, sort_keys=True)
