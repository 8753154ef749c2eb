"""lkbuild's own tasks: `doit build spec=FILE …` as in any project, and `doit test`."""

import os

from lkbuild.dodo import *  # noqa: F403

# By this the script `doit` names this file.  It is not for what our tasks start.
os.environ.pop("DOIT_FILE", None)


def task_test():
    """run the tests, with linter and type checker"""
    return {
        "actions": ["ruff check .", "ruff format --check .", "mypy lkbuild", "python -m pytest -n auto"],
        "verbosity": 2,
    }


def task_bench():
    """measure: the table and the plots of bench/results/ made anew (bench/README.md); takes half an hour"""
    return {"actions": ["python -m bench"], "verbosity": 2, "uptodate": [False]}
