"""A report as one HTML file: it holds its style, script and data, and asks nothing of anybody.

Names come from images and specs, and anybody may have chosen them.  They reach the page as JSON, in which no character
means anything to HTML, and its script puts them in place as text.  Its policy allows that script and style, and nothing
else: no request, no other script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

from lkbuild.report.build_report import BuildReport

_ASSETS = Path(__file__).with_name("assets")
_SLOT = re.compile(r"\{\{(\w+)\}\}")
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def page(report: BuildReport) -> str:
    """The page.  Text of it that is no Unicode is escaped, so that it can be written as UTF-8."""
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    names = ", ".join(machine.record.name for machine in report.machines)
    slots = {
        "title": html.escape(f"{names or 'lkbuild'}: build report").encode("utf-8", "replace").decode(),
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
        "style": style,
        "script": script,
        "data": embedded(report.plain()),
    }
    return _SLOT.sub(lambda match: slots[match[1]], _asset("report.html"))


def embedded(value: Any) -> str:
    """JSON that may stand in a `<script>`: pure ASCII without `<`, `>` and `&` (HTML, "restrictions for script")."""
    return json.dumps(value, separators=(",", ":")).translate(_ESCAPES)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a policy calls a text that stands in the page (CSP3, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
