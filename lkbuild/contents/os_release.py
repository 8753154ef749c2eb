"""Whose packages an image has, by its os-release(5)."""

from __future__ import annotations

import re

from lkbuild.contents.purl import Distribution

PATHS = ("etc/os-release", "usr/lib/os-release")
_VALUE = re.compile(r"[a-z0-9._-]{1,64}")


def parse(data: bytes) -> Distribution:
    """ID and VERSION_ID; nothing where they are missing or no such words."""
    found: dict[str, str] = {}
    for text in data.decode("utf-8", "replace").splitlines():
        key, equals, value = text.strip().partition("=")
        value = value.strip().strip("\"'").lower()
        if equals and key in ("ID", "VERSION_ID") and _VALUE.fullmatch(value):
            found[key] = value
    vendor, version = found.get("ID", ""), found.get("VERSION_ID", "")
    return Distribution(vendor, f"{vendor}-{version}" if vendor and version else vendor)
