"""What all boots share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all: the packages are resolved and fetched once.  LKBUILD_TEST_CACHE keeps it over runs."""
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    return Path(kept) if kept else tmp_path_factory.getbasetemp().parent / "packages-cache"
