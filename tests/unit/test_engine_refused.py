"""What the world refuses is told in words; what is a mistake of ours is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lkbuild.engine.refused import environmental


def _error(work: object) -> BaseException:
    try:
        work()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was refused")


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    told = environmental(_error(lambda: (tmp_path / "a").open()))
    assert told is not None
    assert str(tmp_path / "a") in told.message


def test_a_file_that_went_away(tmp_path: Path) -> None:
    told = environmental(_error(lambda: (tmp_path / "a").open()))
    assert told is not None
    assert "No such file" in told.message


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), OSError(errno.EINVAL, "x", "f"), ValueError("x")],
    ids=["nothing is named", "an argument of ours", "no OSError"],
)
def test_mistakes_of_ours(error: BaseException) -> None:
    assert environmental(error) is None


def test_nobodys_home_is_told() -> None:
    told = environmental(_error(lambda: Path("~no-such-user/file").expanduser()))
    assert told is not None and "begins with ~" in told.message and told.hint == "write it in full"
