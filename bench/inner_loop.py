"""The inner loop: the time from saving a page of nginx's package to the changed page served by the machine."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.laboratory import SCRIPTS, Laboratory, Subject
from bench.stopwatch import Run

SWAP, BOOT = "dev: a page saved until it is served, swapped", "dev: a page saved until it is served, booted anew"
_PAGE = "pkg/nginx/root/usr/share/nginx/html/index.html"
_EDITS = {"yes": 4, "no": 2}
"""In each round, so many with `swap=`."""
_PAUSE = 3.0
"""Seconds between an answer and the next save: less than that, and nobody has looked at the page."""
_LONGEST = 600.0


def measure(lab: Laboratory) -> None:
    """Write the rows into the book: of specs/nginx.yml, under emulation.  Of two checkouts, this one is measured."""
    subject, project = lab.subjects[-1], lab.work / "inner-loop"
    for name in ("pkg", "specs"):
        shutil.copytree(subject.checkout / name, project / name, dirs_exist_ok=True)
    for turn in lab.turns():
        for swap, row in (("yes", SWAP), ("no", BOOT)):
            _edits(lab, subject, project, (swap, row, turn))


def _edits(lab: Laboratory, subject: Subject, project: Path, which: tuple[str, str, int]) -> None:
    swap, row, turn = which
    page = project / _PAGE
    page.write_text("<h1>before</h1>\n")
    with _dev(subject, project, swap) as (process, port):
        _until(process, port, "before")
        for number in range(_EDITS[swap]):
            time.sleep(_PAUSE)
            page.write_text(f"<h1>edit {turn}.{number}</h1>\n")
            began = time.monotonic()
            _until(process, port, f"edit {turn}.{number}<")
            lab.note(row, Run(time.monotonic() - began, 0, 0), subject.name)


@contextmanager
def _dev(subject: Subject, project: Path, swap: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`lkbuild dev`, and the port of this host its nginx answers at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    words = [f"--swap={swap}"]
    words += ["--dir", "out", "--accel", "tcg", "--cpus", "2", "--publish", f"127.0.0.1:{port}:80", "specs/nginx.yml"]
    cache = os.environ.get("LKBUILD_CACHE", str(subject.cache))
    environment = {**os.environ, "PYTHONPATH": str(subject.checkout), "LKBUILD_CACHE": cache}
    with (project / "said").open("wb") as said:
        command = [SCRIPTS / "lkbuild", "dev", *words]
        process = subprocess.Popen(command, cwd=project, stdout=said, stderr=said, env=environment)
        try:
            yield process, port
        finally:
            process.terminate()
            process.wait(60)


def _until(process: subprocess.Popen[bytes], port: int, text: str) -> None:
    end = time.monotonic() + _LONGEST
    while text not in _served(port):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{text!r} is not served: `lkbuild dev` has ended, or it is {_LONGEST:g} s")
        time.sleep(0.02)


def _served(port: int) -> str:
    # Not that of tests.support.servers, with which this process would be larger than those whose memory it measures.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
