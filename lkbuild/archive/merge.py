"""Layers become one tree (OCI image-spec, layer.md), from their members' headers alone.

Where the specification says nothing, this does what container runtimes do: of two members with one name the last
counts, a parent that is a symbolic link is followed, never out of the root, and a parent that no layer names is made.
"""

from __future__ import annotations

from lkbuild.archive.entry import MAX_PATH, Entry, components, directory, shown
from lkbuild.errors import ArchiveError

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_MAX_SYMLINKS = 40
"""As many as Linux follows in one path (MAXSYMLINKS)."""

_ODD = (b"", b".", b"..")


class Inode:
    """What one or more paths lead to: its entry, and the layer and the member's number there that have its contents.

    `number` is -1 for a directory that no layer names, `names` counts the paths.
    """

    __slots__ = ("entry", "layer", "names", "number")

    def __init__(self, entry: Entry, layer: int, number: int) -> None:
        self.entry, self.layer, self.number = entry, layer, number
        self.names = 1


class Node:
    """A path of the tree; `kids` is None for all but directories.

    `layer` is the last that named it, `touched` the last that put something into it or below it.
    """

    __slots__ = ("inode", "kids", "layer", "touched")

    def __init__(self, inode: Inode, layer: int, kids: dict[bytes, Node] | None = None) -> None:
        self.inode, self.layer, self.touched = inode, layer, layer
        self.kids = kids


def _implied(layer: int) -> Node:
    return Node(Inode(directory(b""), layer, -1), layer, {})


class Tree:
    """The merged tree, made by adding every layer's members from the lowest layer to the highest.

    `plain` holds as long as no member changed what an earlier one made, so that writing members down as they come
    gives the same tree.  `made` collects the paths of directories that were made as somebody's parents.
    """

    def __init__(self, whiteouts: bool = True) -> None:
        self.root = _implied(-1)
        self.plain = True
        self.made: list[bytes] = []
        self._whiteouts = whiteouts
        self._parent: tuple[bytes, int, Node, bytes] | None = None

    def add(self, entry: Entry, layer: int, number: int) -> bytes | None:
        """Add a member; returns its path in the tree, None for one that stands for nothing there (a whiteout)."""
        name = entry.path.rstrip(b"/")
        head, _, base = name.rpartition(b"/")
        last = self._parent
        if last is None or last[0] != head or last[1] != layer or base in _ODD or not _usual(name):
            parts = components(name)
            if not parts:
                return self._name_root(entry, layer, number)
            usual = base == parts[-1]
            base = parts.pop()
            if self._whiteouts and any(part.startswith(_AUFS) for part in parts):
                return None
            if self._whiteouts and base.startswith(_WHITEOUT):
                self._white_out(parts, base, layer)
                return None
            node, path = self._walk(parts, layer)
            self._parent = (head, layer, node, path) if usual else None
        else:
            _, _, node, path = last
            if self._whiteouts and base.startswith(_WHITEOUT):
                self._white_out(components(head), base, layer)
                return None
        self._put(node, base, entry, (layer, number))
        return path + b"/" + base if path else base

    def find(self, name: bytes, follow: bool = False) -> Node | None:
        """What stands at a path, symbolic links on the way followed; `follow` says whether a last one is too."""
        parts = components(name)
        for _ in range(_MAX_SYMLINKS):
            if not parts:
                return self.root
            found = self._look(parts[:-1])
            if found is None:
                return None
            node = (found[0].kids or {}).get(parts[-1])
            if node is None or not follow or node.inode.entry.kind != "symlink":
                return node
            target = node.inode.entry.target
            parts = [*([] if target.startswith(b"/") else found[1]), *reversed(_steps(node))]
        return None

    # -- changing ------------------------------------------------------------------------------------------------------

    def _name_root(self, entry: Entry, layer: int, number: int) -> bytes | None:
        if entry.kind != "directory":
            raise ArchiveError(f"the name {shown(entry.path)} of a {entry.kind} stands for the root")
        self.plain = self.plain and not self.root.kids and self.root.inode.number < 0
        self.root.inode, self.root.layer = Inode(entry, layer, number), layer
        return b""

    def _put(self, parent: Node, base: bytes, entry: Entry, place: tuple[int, int]) -> None:
        kids = _kids(parent)
        old = kids.get(base)
        layer, number = place
        if entry.kind == "hardlink":
            inode = self._linked(entry)
            if old is not None and old.inode is inode:
                return
            inode.names += 1
            kids[base] = Node(inode, layer)
        elif old is not None and old.kids is not None and entry.kind == "directory":
            old.inode, old.layer = Inode(entry, layer, number), layer
            self.plain = False
            return
        else:
            kids[base] = Node(Inode(entry, layer, number), layer, {} if entry.kind == "directory" else None)
        if old is not None:
            self._drop(old)

    def _linked(self, entry: Entry) -> Inode:
        self.plain = False
        target = self.find(entry.target)
        if target is None or target.kids is not None:
            what = "is not there" if target is None else "is a directory"
            raise ArchiveError(f"the hard link {shown(entry.path)} leads to {shown(entry.target)}, which {what}")
        return target.inode

    def _drop(self, node: Node) -> None:
        """Count down the names of all that goes away with a node that was taken out of its directory."""
        self.plain, self._parent = False, None
        todo = [node]
        while todo:
            gone = todo.pop()
            gone.inode.names -= 1
            todo.extend((gone.kids or {}).values())

    def _white_out(self, parts: list[bytes], base: bytes, layer: int) -> None:
        if base == _OPAQUE:
            node, _ = self._walk(parts, layer)
            self._hide([(node, name) for name in _kids(node)], layer)
        elif not base.startswith(_AUFS):
            found = self._look(parts)
            name = base[len(_WHITEOUT) :]
            if found is not None and name in _kids(found[0]):
                self._hide([(found[0], name)], layer)

    def _hide(self, todo: list[tuple[Node, bytes]], layer: int) -> None:
        """Take away what lower layers put there: a whiteout means them alone, wherever in its layer it stands."""
        while todo:
            parent, name = todo.pop()
            kid = _kids(parent)[name]
            if kid.layer < layer and (kid.kids is None or kid.touched < layer):
                del _kids(parent)[name]
                self._drop(kid)
            elif kid.kids is not None:
                if kid.layer < layer:
                    kid.inode, kid.layer = _implied(layer).inode, layer
                todo.extend((kid, below) for below in kid.kids)

    # -- walking -------------------------------------------------------------------------------------------------------

    def _look(self, parts: list[bytes]) -> tuple[Node, list[bytes]] | None:
        """The directory at a path and its path without symbolic links; None where there is none."""
        nodes, names, followed = [self.root], list[bytes](), 0
        todo = parts[::-1]
        while todo:
            part = todo.pop()
            if part == b"..":
                if names:
                    names.pop()
                    nodes.pop()
                continue
            kid = _kids(nodes[-1]).get(part)
            if kid is None:
                return None
            if kid.inode.entry.kind == "symlink":
                followed += 1
                if followed > _MAX_SYMLINKS:
                    return None
                if _absolute(kid):
                    del nodes[1:], names[:]
                todo += _steps(kid)
            elif kid.kids is None:
                return None
            else:
                nodes.append(kid)
                names.append(part)
        return nodes[-1], names

    def _walk(self, parts: list[bytes], layer: int) -> tuple[Node, bytes]:
        """The directory at a path, made where it is not, and its path without symbolic links; all on it is touched."""
        nodes, names, followed = [self.root], list[bytes](), 0
        todo = parts[::-1]
        while todo:
            part = todo.pop()
            if part == b"..":
                if names:
                    names.pop()
                    nodes.pop()
                continue
            kids = _kids(nodes[-1])
            kid = kids.get(part)
            if kid is not None and kid.inode.entry.kind == "symlink":
                followed += 1
                if followed > _MAX_SYMLINKS:
                    raise ArchiveError(f"too many symbolic links on the way to {shown(b'/'.join(parts))}")
                if _absolute(kid):
                    del nodes[1:], names[:]
                todo += _steps(kid)
                continue
            names.append(part)
            if kid is None or kid.kids is None:
                kids[part] = made = _implied(layer)
                if kid is not None:
                    self._drop(kid)
                kid = made
                self.made.append(b"/".join(names))
            nodes.append(kid)
        for node in nodes:
            node.touched = layer
        return nodes[-1], b"/".join(names)


def _kids(node: Node) -> dict[bytes, Node]:
    return node.kids if node.kids is not None else {}


def _usual(name: bytes) -> bool:
    return len(name) <= MAX_PATH and b"\0" not in name


def _absolute(link: Node) -> bool:
    return link.inode.entry.target.startswith(b"/")


def _steps(link: Node) -> list[bytes]:
    """The parts of a symbolic link's target, the first one last."""
    target = link.inode.entry.target
    if len(target) > MAX_PATH:
        raise ArchiveError(f"a symbolic link to a path of {len(target)} bytes: {shown(target)}")
    return [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
