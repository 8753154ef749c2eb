"""What a git repository says: which files are not as they were at a revision, and what they were then."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lkbuild.errors import ToolError, UsageError
from lkbuild.frozen import frozen

_SAID = 500


@frozen
class Repository:
    """A working tree; `root` is its directory, without symbolic links."""

    root: str

    @classmethod
    def around(cls, directory: Path) -> Repository:
        """The repository a directory lies in; UsageError where it lies in none, ToolError where there is no git."""
        status, out, said = _git(directory, "rev-parse", "--show-toplevel")
        if status:
            raise UsageError(
                f"{directory.absolute()} is in no working tree of git: {said or 'it is bare'}",
                "call it in the repository that holds the specs",
            )
        return cls(os.fsdecode(out.removesuffix(b"\n")))

    def base(self, revision: str) -> str:
        """The commit to compare with: where what is checked out left the branch of `revision`.

        `revision` itself where they have nothing in common, as in a shallow clone.  UsageError where it is none.
        """
        status, out, _ = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if status:
            raise UsageError(
                f"{self.root} knows no revision {revision!r:.100}",
                "name a branch, tag or commit; a shallow clone has few: git fetch --unshallow",
            )
        commit = out.decode("ascii", "replace").strip()
        status, out, _ = self._git("merge-base", commit, "HEAD")
        return commit if status else out.decode("ascii", "replace").strip()

    def changed(self, commit: str) -> list[str]:
        """The paths, absolute, of what is not as it was at a commit: also what is not committed, or not even added."""
        differing = self._must("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", commit, "--")
        new = self._must("ls-files", "--others", "--exclude-standard", "-z")
        names = {name for out in (differing, new) for name in out.split(b"\0") if name}
        return sorted(os.path.join(self.root, os.fsdecode(name).rstrip("/")) for name in names)  # noqa: PTH118

    def text(self, commit: str, path: str) -> bytes | None:
        """What a file (absolute, in the repository) held at a commit; None where it was no file then."""
        name = os.path.relpath(path, self.root)
        if name.startswith(".."):
            return None
        status, out, _ = self._git("cat-file", "blob", f"{commit}:{name}")
        return None if status else out

    def _must(self, *words: str) -> bytes:
        status, out, said = self._git(*words)
        if status:
            raise ToolError(f"git {words[0]} failed in {self.root} with status {status}: {said or 'it said nothing'}")
        return out

    def _git(self, *words: str) -> tuple[int, bytes, str]:
        return _git(Path(self.root), *words)


def _git(directory: Path, *words: str) -> tuple[int, bytes, str]:
    """Call git in a directory: its status, what it printed, and what it said is wrong."""
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(directory), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except OSError as error:
        raise ToolError(f"git cannot be called: {error.strerror}", "sudo apt-get install git") from error
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace").strip()[-_SAID:]
