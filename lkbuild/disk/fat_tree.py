"""The tree of a FAT file system: files by path, directories between, short names and the sizes of directories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lkbuild.disk import fat_names as names
from lkbuild.disk.extents import Extent, Zeros
from lkbuild.disk.layout import total
from lkbuild.disk.limits import size_text
from lkbuild.errors import StepError
from lkbuild.frozen import frozen

MAX_FILE = (1 << 32) - 1
"""The size of the largest file: 4 GiB less a byte."""

_MAX_DIRECTORY = 65535 * names.ENTRY


@frozen
class FatFile:
    """A file at `path` (parts divided by `/`, directories made as needed) with these contents."""

    path: str
    extents: tuple[Extent, ...]

    @property
    def size(self) -> int:
        return total(self.extents)


@dataclass(slots=True, eq=False)
class Node:
    """A file or directory in the tree; `size` of a directory is that of its entries."""

    name: str
    parent: Node | None = None
    file: FatFile | None = None
    children: dict[str, Node] = field(default_factory=dict)
    short: bytes = b""
    long: bytes = b""
    size: int = 0
    cluster: int = 0


def blank(path: str, size: int) -> FatFile:
    """A file of zeros, whose contents are given when the file system is written."""
    return FatFile(path, (Zeros(size),))


def checked_path(file: FatFile) -> str:
    path = file.path.strip("/")
    for name in path.split("/"):
        names.check_name(name)
    if file.size > MAX_FILE:
        raise StepError(
            f"{path} has {size_text(file.size)}; a file on a FAT has at most {size_text(MAX_FILE)}",
            "make it smaller, or choose a format without a FAT",
        )
    return path


def tree(files: Iterable[tuple[FatFile, str]]) -> Node:
    root = Node("")
    for file, path in files:
        node = root
        for name in path.split("/"):
            if node.file is not None:
                raise StepError(f"{path}: {spelled(node)} is a file", "give one of them another name")
            node = node.children.setdefault(name.casefold(), Node(name, node))
        if node.file is not None or node.children:
            raise StepError(
                f"two files are called {path} (FAT does not tell capitals from small letters)", "rename one"
            )
        node.file, node.size = file, file.size
    _name(root)
    return root


def _name(directory: Node) -> None:
    """Sort the children, give them their short names, and the directories their sizes."""
    directory.children = dict(sorted(directory.children.items()))
    size = names.ENTRY if directory.parent is None else 2 * names.ENTRY
    used: set[bytes] = set()
    # Names that are short ones come first, for readers look for those before they look at long names.
    for node in sorted(directory.children.values(), key=lambda each: names.plain_name(each.name) is None):
        node.short, needs_long = names.short_name(node.name, used)
        used.add(node.short)
        node.long = names.long_entries(node.name, node.short) if needs_long else b""
        size += len(node.long) + names.ENTRY
        if node.file is None:
            _name(node)
    if size > _MAX_DIRECTORY:
        raise StepError(f"the directory /{spelled(directory)} has too many files for a FAT", "use subdirectories")
    directory.size = size


def spelled(node: Node) -> str:
    parts = []
    while node.parent is not None:
        parts.append(node.name)
        node = node.parent
    return "/".join(reversed(parts))


def directories(node: Node) -> Iterator[Node]:
    return (found for found in nodes(node) if found.file is None)


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children.values():
        yield from nodes(child)


def in_order(root: Node, files: Iterable[tuple[FatFile, str]]) -> Iterator[Node]:
    """The files' nodes in the order the files were given."""
    for _, path in files:
        node = root
        for name in path.split("/"):
            node = node.children[name.casefold()]
        yield node
