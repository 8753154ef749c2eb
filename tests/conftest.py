"""What all tests share: options of the command line."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

settings.register_profile("lkbuild", deadline=None)
settings.load_profile("lkbuild")  # no test asserts a time: other work on the machine may stop one for a while


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write tests/golden anew: for kinds whose version went up, and for kinds and cases that are new",
    )


def pytest_sessionstart() -> None:
    """Heed Ctrl-C, so that what tests start does: background jobs of a shell, and all they start, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
