"""A root filesystem with everything a file system can get wrong, for the tests of ISO 9660 and EROFS."""

from __future__ import annotations

from lkbuild.archive.entry import Entry
from lkbuild.disk.extents import Data, Extent, Zeros
from lkbuild.disk.tree import Member
from tests.unit.disk_images import Blobs, noise

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")

CONTENTS = {
    b"bin/tool": noise(300_000),
    b"page": noise(4096, 2),
    b"pages": noise(8192, 3),
    b"tail4032": noise(4032, 4),
    b"tail4033": noise(4033, 5),
    b"almost": noise(8191, 6),
    b".hidden": b"h",
    b"A.B": b"1",
    b"a.b": b"2",
    b"two.dots.tar.gz": b"3",
    "Größe €".encode(): b"4",
    b"\xff\xfe no UTF-8": b"5",
    b"n" * 253: b"6",
    b"d/" * 12 + b"deep": b"7",
    b"etc/with xattrs": noise(5000, 7),
    b"etc/large xattr": noise(4000, 8),
}

SYMLINKS = {
    b"absolute": b"/bin/tool",
    b"relative": b"../x/./y",
    b"long": b"../" + b"y" * 200 + b"/" + b"z" * 250 + b"/./w",
}

XATTRS = {
    b"etc/with xattrs": ((b"security.capability", CAPABILITY), (b"user.key", b"value")),
    b"etc/large xattr": ((b"user.large", noise(6000, 9)),),
}


def members(blobs: Blobs) -> list[Member]:
    """The tree: parents are missing on purpose."""
    made = [Member(Entry(b"", "directory", 0o755, mtime=1))]
    for number, (path, data) in enumerate(CONTENTS.items()):
        mode, owner = (0o4755, (1000, 100_000)) if path == b"bin/tool" else (0o644, (0, 0))
        entry = Entry(path, "file", mode, *owner, 1_500_000_000 + number, len(data), xattrs=XATTRS.get(path, ()))
        made.append(Member(entry, blobs.add(data)))
    made += [Member(Entry(path, "symlink", 0o777, target=target)) for path, target in SYMLINKS.items()]
    pieces: tuple[Extent, ...] = (Data(b"begin"), Zeros(10_000), *blobs.add(b"end"))
    made += [
        Member(Entry(b"bin/again", "hardlink", 0, target=b"bin/tool")),
        Member(Entry(b"pieces", "file", 0o600), pieces),
        Member(Entry(b"empty", "file", 0o644)),
        Member(Entry(b"dev/null", "char", 0o666, device=(1, 3))),
        Member(Entry(b"dev/sda", "block", 0o660, gid=6, device=(8, 0))),
        Member(Entry(b"dev/far", "block", 0o660, device=(259, 70_000))),
        Member(Entry(b"run/fifo", "fifo", 0o622)),
        Member(Entry(b"run", "directory", 0o1777, mtime=1_400_000_000)),
    ]
    for number in range(900):
        text = b"%d" % number
        made.append(Member(Entry(b"many/%d-%s" % (number, b"q" * (number % 90)), "file", 0o644), (Data(text),)))
    return made


def plain_contents() -> dict[bytes, bytes]:
    """Every regular file's path and contents."""
    many = {b"many/%d-%s" % (n, b"q" * (n % 90)): b"%d" % n for n in range(900)}
    pieces = b"begin" + bytes(10_000) + b"end"
    return CONTENTS | many | {b"bin/again": CONTENTS[b"bin/tool"], b"pieces": pieces, b"empty": b""}
