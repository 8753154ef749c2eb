"""Specs named on a command line, each a machine of its own."""

from __future__ import annotations

from pathlib import Path

from lkbuild.cli.flags import Given
from lkbuild.engine.arguments import Order, order
from lkbuild.engine.specs import no_spec


def each_spec(given: Given, needed: bool = True) -> Order:
    """The order of a command line; UsageError where a spec is `needed` and none is named."""
    asked = order((*given.words, *(("spec", name) for name in given.names)), Path())
    if needed and not asked.options.machines:
        raise no_spec(Path())
    return asked
