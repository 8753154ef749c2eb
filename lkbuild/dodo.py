"""A dodo.py needs one line: `from lkbuild.dodo import *`.

It brings the tasks `build`, `boot`, `dev`, `lock`, `update`, `plan`, `why` and `report`, which `doit list` describes.
Your own tasks go below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lkbuild.cli.project import PROJECT as LKBUILD
from lkbuild.errors import UsageError

__all__ = [
    "DOIT_CONFIG",
    "LKBUILD",
    "task_boot",
    "task_build",
    "task_dev",
    "task_lock",
    "task_plan",
    "task_report",
    "task_update",
    "task_why",
]

DOIT_CONFIG: dict[str, Any] = {"default_tasks": ["build"]}


def task_build() -> Iterator[dict[str, Any]]:
    yield from _placeholder("build")


def task_boot() -> Iterator[dict[str, Any]]:
    yield from _placeholder("boot")


def task_dev() -> Iterator[dict[str, Any]]:
    yield from _placeholder("dev")


def task_lock() -> Iterator[dict[str, Any]]:
    yield from _placeholder("lock")


def task_update() -> Iterator[dict[str, Any]]:
    yield from _placeholder("update")


def task_plan() -> Iterator[dict[str, Any]]:
    yield from _placeholder("plan")


def task_why() -> Iterator[dict[str, Any]]:
    yield from _placeholder("why")


def task_report() -> Iterator[dict[str, Any]]:
    yield from _placeholder("report")


def _placeholder(name: str) -> Iterator[dict[str, Any]]:
    """The task until lkbuild's own commands put the real ones in its place."""
    from lkbuild.engine.standing_tasks import DOCS

    yield {"basename": name, "actions": [_not_installed], "doc": DOCS[name]}


def _not_installed() -> None:
    raise UsageError("doit does not have lkbuild's commands", "install lkbuild into doit's environment: pip install .")
