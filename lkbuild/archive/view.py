"""How an image is laid down: under which path, and by which of LinuxKit's rules (moby/image.go, `ImageTar`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from lkbuild.archive.entry import FIXED_TIME, Buffer, Entry, directory, path_bytes
from lkbuild.archive.sink import Sink
from lkbuild.frozen import frozen

Rules = Literal["plain", "container", "init"]

HOSTS = b"""127.0.0.1       localhost
::1     localhost ip6-localhost ip6-loopback
fe00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""
RESOLV_CONF = b"\n# no resolv.conf configured\n"
RESOLV_CONF_LINK = b"/run/resolvconf/resolv.conf"

_LEFT_OUT = (b".dockerenv", b"Dockerfile", b"dev/console", b"etc/hostname")
_DIRECTORIES = (b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys")
_FILES = (b"etc/hosts", b"etc/resolv.conf")
_MTAB = b"etc/mtab"
_RULED = frozenset((*_LEFT_OUT, *_DIRECTORIES, *_FILES, _MTAB))


@frozen
class View:
    """Where and how: under `prefix` ("" is the root), by the rules for containers' images, for init images (and image
    volumes, whose etc/resolv.conf is a symbolic link), or as they are.
    """

    prefix: str = ""
    rules: Rules = "plain"

    def keeps(self, path: bytes) -> bool:
        """Whether what the tree has at `path` is laid down as it is, but perhaps for its time."""
        return self.rules == "plain" or path == _MTAB or path not in _RULED


class Placement:
    """Lays one tree down in a sink: `begin`, then `put` for every path of the tree, then `finish`."""

    def __init__(self, sink: Sink, view: View) -> None:
        self.keeps = view.keeps
        self._sink = sink
        self._ruled = view.rules != "plain"
        self._linked = view.rules == "init"
        self._prefix = path_bytes(view.prefix)
        self._seen: set[bytes] = set()

    def begin(self, root: Entry | None) -> None:
        """Start with the prefix's directories; `root` is the entry of the tree's root, if it has one of its own."""
        at = self._prefix.find(b"/")
        while at > 0:
            self._sink.add(directory(self._prefix[:at]))
            at = self._prefix.find(b"/", at + 1)
        if root is not None:
            self._sink.add(root._replace(path=self._prefix))
        elif self._prefix:
            self._sink.add(directory(self._prefix))

    def replaces(self, path: bytes) -> bool:
        """Whether a file of ours goes to `path`, so that nothing of the tree's can stand there or below."""
        return self._ruled and path in _FILES

    def put(
        self,
        paths: Sequence[bytes],
        entry: Entry,
        body: Iterable[Buffer] = (),
        implied: bool = False,
    ) -> None:
        """One inode of the tree and its paths there; what the rules leave out or write anew is passed over."""
        if self._ruled and not _RULED.isdisjoint(paths):
            for path in paths:
                if path in _DIRECTORIES:
                    self._directory(path)
            paths = [path for path in paths if self.keeps(path)]
            if not paths:
                return
            if _MTAB in paths:
                self._seen.add(_MTAB)
                entry, implied = entry._replace(mtime=FIXED_TIME), False
        first, *others = map(self._placed, paths)
        self._sink.add(entry._replace(path=first), body, others, implied)

    def _directory(self, path: bytes) -> None:
        self._seen.add(path)
        self._sink.add(directory(self._placed(path)))

    def _placed(self, path: bytes) -> bytes:
        return b"%s/%s" % (self._prefix, path) if self._prefix else path

    def finish(self) -> None:
        """Write what the rules write anew."""
        if not self._ruled:
            return
        for path in _DIRECTORIES:
            if path not in self._seen:
                self._directory(path)
        self._file(_FILES[0], HOSTS)
        if self._linked:
            self._sink.add(Entry(self._placed(_FILES[1]), "symlink", 0o777, target=RESOLV_CONF_LINK))
        else:
            self._file(_FILES[1], RESOLV_CONF)
        if _MTAB not in self._seen:
            self._sink.add(Entry(self._placed(_MTAB), "symlink", 0o777, target=b"/proc/mounts"))

    def _file(self, path: bytes, contents: bytes) -> None:
        self._sink.add(Entry(self._placed(path), "file", 0o644, size=len(contents)), (contents,))
