"""The door to mksquashfs: programs of all ages in its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lkbuild import tools
from lkbuild.archive.entry import Entry
from lkbuild.archive.tarwrite import END_OF_ARCHIVE, header, padding
from lkbuild.disk.squashfs import SquashfsOptions, arguments, environment
from lkbuild.errors import ToolError


def program(directory: Path, script: str) -> None:
    path = directory / "mksquashfs"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is looked into first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("mksquashfs version 4.5.1 (2022/03/17)", "4.5.1"),
        ("mksquashfs version 4.6.1 (2023/03/25)", "4.6.1"),
        ("mksquashfs version 4.6.1-bc4bf0a (2024/01/01)", "4.6.1-bc4bf0a"),  # built from git
        ("mksquashfs version 4.10 (2030/01/01)", "4.10"),  # ten is more than five
    ],
)
def test_its_version(there: Path, said: str, version: str) -> None:
    program(there, f"echo '{said}'")
    found = tools.mksquashfs()
    assert (found.path, found.version) == (there / "mksquashfs", version)


def test_the_libraries_that_compress_for_it_are_part_of_its_version(there: Path) -> None:
    """`ldd` of another kind tells of them."""
    program(there, "echo 'mksquashfs version 4.5.1 (2022/03/17)'")
    library = there / "libzstd.so.1.5.4"
    library.write_bytes(b"")
    (there / "libzstd.so.1").symlink_to(library.name)
    (there / "ldd").write_text(
        f"#!/bin/sh\necho 'libc.so.6 => /lib/libc.so.6'\necho 'x => {there}/libzstd.so.1 (0x1)'\n"
    )
    (there / "ldd").chmod(0o755)
    found = tools.mksquashfs()
    assert found.version == "4.5.1 libzstd.so.1.5.4"
    assert found.files == (there / "mksquashfs", there / "libzstd.so.1")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'mksquashfs version 4.4 (2019/08/29)'", "is version 4.4, and kernel+squashfs needs 4.5"),
        ("echo 'mksquashfs version 3.9'", "is version 3.9"),
        ("echo hello", "does not say its version"),
        ("exit 1", "does not say its version"),
    ],
)
def test_what_cannot_be_used(there: Path, script: str, words: str) -> None:
    program(there, script)
    with pytest.raises(ToolError) as raised:
        tools.mksquashfs()
    assert words in str(raised.value)


def test_where_it_is_missing_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="mksquashfs, which is not installed") as raised:
        tools.mksquashfs()
    assert raised.value.hint == "sudo apt-get install squashfs-tools"


def run(there: Path, script: str, data: list[bytes]) -> None:
    program(there, script)
    tools.feed(tools.Program(there / "mksquashfs", "1", ()), ["a b"], {"TOLD": "yes"}, data)


def test_it_gets_its_arguments_and_the_data_and_no_other_environment(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "no")
    run(there, f'/bin/cat >"{there}/got"; echo "$1 $TOLD $OTHER." >>"{there}/got"', [b"one ", b"two "])
    assert (there / "got").read_text() == "one two a b yes .\n"


def test_it_says_why_it_failed_even_if_it_never_read(there: Path) -> None:
    with pytest.raises(ToolError, match="mksquashfs failed with status 3: no space left"):
        run(there, "echo no space left >&2; exit 3", [bytes(1 << 20)] * 4)
    with pytest.raises(ToolError, match="status 1: it said nothing"):
        run(there, "exit 1", [])


def test_it_is_ended_where_there_is_nothing_to_feed(there: Path) -> None:
    program(there, "/bin/cat >/dev/null")

    def broken() -> list[bytes]:
        raise ValueError("nothing")

    with pytest.raises(ValueError, match="nothing"):
        tools.feed(
            tools.Program(there / "mksquashfs", "1", ()),
            [],
            {},
            (piece for piece in [b"x"] for _ in broken()),
        )


def test_it_is_started_as_root_by_what_can_do_that(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(there, "echo 'mksquashfs version 4.5.1 (2022/03/17)'")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    for name, script in (("unshare", "exit 1"), ("fakeroot", "echo 0")):
        (there / name).write_text(f"#!/bin/sh\n{script}\n")
        (there / name).chmod(0o755)
    assert tools.mksquashfs().starter == (str(there / "fakeroot"),), "where namespaces are forbidden"
    (there / "unshare").write_text("#!/bin/sh\necho 0\n")
    assert tools.mksquashfs().starter == (str(there / "unshare"), "--map-root-user")
    for name in ("unshare", "fakeroot"):
        (there / name).write_text("#!/bin/sh\necho 1000\n")
    with pytest.raises(ToolError, match="the owner of the root directory") as raised:
        tools.mksquashfs()
    assert raised.value.hint == "sudo apt-get install fakeroot"


def test_anybody_makes_the_same_bytes(tmp_path: Path) -> None:
    """As root, and in a process that is nobody's."""
    if shutil.which("mksquashfs") is None or os.getuid() != 0:
        pytest.skip("needs mksquashfs, and root to become another")
    data = header(Entry(b"etc/motd", "file", 0o644, 5, 6, size=5)) + b"hello" + padding(5) + END_OF_ARCHIVE
    where = Path(tempfile.mkdtemp())

    def squash(path: Path) -> None:
        options = SquashfsOptions()
        tools.feed(tools.mksquashfs(), arguments(os.fspath(path), options)[1:], environment(options), [data])

    try:
        where.chmod(0o777)
        squash(where / "root's")
        child = os.fork()
        if not child:
            status = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                squash(where / "nobody's")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert (where / "nobody's").stat().st_uid == 65534
        assert (where / "nobody's").read_bytes() == (where / "root's").read_bytes()
    finally:
        shutil.rmtree(where)
