"""Licences as SPDX writes them (SPDX 2.3, annex D): what databases call a licence made an expression that holds.

Not all of the license list is here, but what Alpine's packages and the usual attestations name; any other is kept word
for word, as a LicenseRef with its text.
"""

from __future__ import annotations

import hashlib
import re

from lkbuild.frozen import frozen

NONE = "NOASSERTION"

_KNOWN = """
0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-1.0-Perl Artistic-2.0
BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSL-1.0
bzip2-1.0.6 CC0-1.0 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CDDL-1.0 curl EPL-1.0 EPL-2.0 FSFAP FSFUL
FSFULLR FTL GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only
GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU IJG Info-ZIP IPL-1.0 ISC
LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng libpng-2.0
libtiff MIT MIT-0 MPL-1.1 MPL-2.0 MS-PL NCSA NTP OFL-1.1 OLDAP-2.8 OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0
Ruby Sleepycat TCL Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11 Zlib ZPL-2.1
"""
_EXCEPTIONS = """
Autoconf-exception-2.0 Autoconf-exception-3.0 Bison-exception-2.2 Bootloader-exception Classpath-exception-2.0
Font-exception-2.0 GCC-exception-2.0 GCC-exception-3.1 Libtool-exception Linux-syscall-note LLVM-exception
openvpn-openssl-exception
"""
KNOWN = frozenset(_KNOWN.split())
EXCEPTIONS = frozenset(_EXCEPTIONS.split())

_WORD = re.compile(r"\s*([()]|[A-Za-z0-9.+:-]+)")
_MAX_WORDS = 100


@frozen
class License:
    """An expression, and the texts of the LicenseRefs in it by their names."""

    expression: str = NONE
    texts: tuple[tuple[str, str], ...] = ()


def license_of(text: str) -> License:
    """What a database says as an expression; NOASSERTION where it says nothing."""
    text = text.strip()
    if not text or text in (NONE, "NONE"):
        return License()
    words = _words(text)
    if words is None or not _is_expression(words):
        return License(_reference(text), ((_reference(text), text),))
    texts: dict[str, str] = {}
    written: list[str] = []
    for word in words:
        if word in KNOWN or word in EXCEPTIONS or word in ("(", ")", "AND", "OR", "WITH"):
            written.append(word)
        else:
            written.append(_reference(word))
            texts[written[-1]] = word
    return License(" ".join(written).replace("( ", "(").replace(" )", ")"), tuple(sorted(texts.items())))


def _words(text: str) -> list[str] | None:
    """The words and parentheses of an expression; None where something else stands between them."""
    found, at = list[str](), 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None or len(found) == _MAX_WORDS:
            return None
        found.append(match[1])
        at = match.end()
    return found


def _is_expression(words: list[str]) -> bool:
    """Whether the words follow one another as annex D wants: NB: an exception that is not known makes it none."""
    depth, wants_term, previous = 0, True, ""
    for word in words:
        if word in ("AND", "OR", "WITH", ")"):
            if wants_term or (word == "WITH" and previous == ")"):
                return False
            depth -= word == ")"
            wants_term = word != ")"
        elif not wants_term or (previous == "WITH") != (word in EXCEPTIONS):
            return False
        else:
            depth += word == "("
            wants_term = word == "("
        if depth < 0:
            return False
        previous = word
    return depth == 0 and not wants_term


def _reference(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")[:40]
    return f"LicenseRef-{plain or 'other'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
