"""`python -m lkbuild` is `lkbuild`."""

from lkbuild.cli import run

run()
