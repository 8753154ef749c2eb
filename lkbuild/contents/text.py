"""Texts from databases and documents of others, made fit to stand in ours: one line, of a length to be believed."""

from __future__ import annotations

import re

MAX_NAME = 256
MAX_LINE = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_WORD = re.compile(r"[A-Za-z0-9._][A-Za-z0-9.+~:_^-]*")
_HOMEPAGE = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def line(text: object, limit: int = MAX_LINE) -> str:
    """`text` as one line of at most `limit` characters; "" where it is no text."""
    return _CONTROL.sub(" ", text).strip()[:limit] if isinstance(text, str) else ""


def name(text: object) -> str:
    """A name or a version; "" where there is none, or one that is too long to be one (cut, it would be another's)."""
    whole = line(text, MAX_NAME + 1)
    return whole if len(whole) <= MAX_NAME else ""


def word(text: object) -> str:
    """A package's name, version or architecture as dpkg and apk write them; "" for what is none."""
    found = line(text, MAX_NAME + 1)
    return found if len(found) <= MAX_NAME and _WORD.fullmatch(found) else ""


def homepage(text: object) -> str:
    """An address of the web; "" for anything else."""
    found = line(text, MAX_LINE + 1)
    return found if len(found) <= MAX_LINE and _HOMEPAGE.fullmatch(found) else ""
