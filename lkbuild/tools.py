"""The door to programs: `mksquashfs`, by which a step has work done, and `unsquashfs`, which reads that back.

What a program writes depends on its version and on those of the libraries that compress for it.  They are part of the
step's params, so that machines with other versions do not take each other's results for their own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from lkbuild.errors import ToolError
from lkbuild.frozen import frozen

_SQUASHFS_VERSION = re.compile(r"mksquashfs version (?:\S*[^\d.\s])?((\d+)\.(\d+)\S*)")
_OLDEST = (4, 5)
"""The first mksquashfs that reads a tar."""

_CODECS = re.compile(r"=> (\S*/lib(?:z|zstd|lzma|lz4|lzo2)\.so\S*)")
_STARTERS = (("unshare", "--map-root-user"), ("fakeroot",))
_INSTALL = "sudo apt-get install squashfs-tools"
_SAID = 2000


@frozen
class Program:
    """A program that is installed: `version` is all that its bytes depend on, `files` is what that was found from.

    `starter` goes before it on the command line.
    """

    path: Path
    version: str
    files: tuple[Path, ...]
    starter: tuple[str, ...] = ()


def mksquashfs() -> Program:
    """The `mksquashfs` of this machine; ToolError saying what to install where it is missing or too old."""
    found = shutil.which("mksquashfs")
    if found is None:
        raise ToolError("kernel+squashfs needs the program mksquashfs, which is not installed", _INSTALL)
    match = _SQUASHFS_VERSION.search(_output([found, "-version"]))
    if match is None or (int(match[2]), int(match[3])) < _OLDEST:
        what = f"is version {match[1]}" if match else "does not say its version"
        raise ToolError(f"{found} {what}, and kernel+squashfs needs 4.5 or newer", "install a newer squashfs-tools")
    codecs = [Path(name) for name in sorted(_CODECS.findall(_output(["ldd", found])))]
    names = [os.path.realpath(codec).rpartition("/")[2] for codec in codecs]
    return Program(Path(found), " ".join([match[1], *names]), (Path(found), *codecs), _as_root())


def _as_root() -> tuple[str, ...]:
    """What starts a program so that it takes itself for root's; ToolError where nothing does.

    mksquashfs gives the root directory to who calls it: `-root-uid` does nothing with `-tar` (4.5.1).
    """
    if os.getuid() == 0 == os.getgid():
        return ()
    for name, *words in _STARTERS:
        found = shutil.which(name)
        if found is not None and _output([found, *words, "id", "-u"]).strip() == "0":
            return found, *words
    raise ToolError(
        "mksquashfs would make you the owner of the root directory, and neither unshare nor fakeroot can prevent it",
        "sudo apt-get install fakeroot",
    )


def feed(program: Program, arguments: Sequence[str], environment: Mapping[str, str], data: Iterable[bytes]) -> None:
    """Run a program with `data` on its standard input; ToolError with what it said where it is not content.

    Its environment is `environment` alone.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*program.starter, program.path, *arguments],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env={"LC_ALL": "C", "TZ": "UTC", **environment},
        )
        try:
            # A program that has ended before it read everything says itself why.
            with contextlib.suppress(BrokenPipeError), cast(BinaryIO, process.stdin) as pipe:
                for piece in data:
                    pipe.write(piece)
        except BaseException:
            process.kill()
            process.wait()
            raise
        status = process.wait()
        if status:
            said.seek(max(said.seek(0, os.SEEK_END) - _SAID, 0))
            text = said.read().decode("utf-8", "replace").strip() or "it said nothing"
            raise ToolError(f"{program.path.name} failed with status {status}: {text}")


def squashed_file(image: Path, name: str, most: int) -> bytes | None:
    """A file of a SquashFS, None where it has none of this name; ToolError where it cannot be read, or is too large."""
    found = shutil.which("unsquashfs")
    if found is None:
        raise ToolError(f"{image} is a SquashFS, and the program unsquashfs is not installed", _INSTALL)
    argv = [found, "-cat", str(image.absolute()), name]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        with cast(BinaryIO, process.stdout) as pipe:
            data = pipe.read(most + 1)
        if len(data) > most:
            process.kill()
            raise ToolError(f"{name} of {image} has more than {most} bytes, which is not believable")
        return data if process.wait() == 0 and data else None


def _output(argv: Sequence[str]) -> str:
    """What a program prints; empty where it cannot be run."""
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
