"""The pictures of docs/seeing.md, made anew: `.venv/bin/python docs/pictures/renew.py`, after `./doit test` as root.

Builds specs/nginx.yml from an empty cache in a terminal of its own, and writes the report of that build.
"""

from __future__ import annotations

import html
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.browser import started  # noqa: E402
from tests.support.terminal import Terminal  # noqa: E402

HERE = Path(__file__).parent
COLUMNS, ROWS = 100, 12
WIDE, HIGH = 8.4, 18
"""Pixels of a letter."""
COLOURS = {
    "default": "#d5d8dd", "black": "#5b6069", "red": "#e5716b", "green": "#7fbf7f", "brown": "#d9b25f",
    "blue": "#6ca8e0", "magenta": "#c58fd1", "cyan": "#67bfc0", "white": "#f2f3f5",
}  # fmt: skip


def main() -> None:
    """Write live.svg, map.png and timeline.png."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (HERE / "live.svg").write_text(live(work))
        report = work / "report.html"
        words = ["report", "--cache", str(work / "cache"), "--html", str(report), str(ROOT / "specs" / "nginx.yml")]
        subprocess.run([sys.executable, "-m", "lkbuild", *words], cwd=work, check=True)
        screenshots(report, work / "profile")


def live(work: Path) -> str:
    """A cold build's display when most of its steps at work tell how far they are, as SVG."""
    terminal, picture, most = Terminal(COLUMNS, ROWS), "", 1
    words = ["build", "--cache", str(work / "cache"), "--dir", str(work / "out"), str(ROOT / "specs" / "nginx.yml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command, slave = [sys.executable, "-m", "lkbuild", *words], terminal.slave
    process = subprocess.Popen(command, cwd=work, env=environment, stdout=slave, stderr=slave)
    while process.poll() is None:
        terminal.read(0.05)
        lines = terminal.lines
        at_work = sum("/s" in line for line in lines[:-1])
        if lines and "steps" in lines[-1] and at_work >= most:
            picture, most = svg(terminal), at_work
    terminal.close()
    if process.returncode or not picture:
        raise SystemExit(f"the build ended with {process.returncode}, and {'a' if picture else 'no'} picture was taken")
    return picture


def svg(terminal: Terminal) -> str:
    """The screen as it is, one `tspan` for letters of one look."""
    shown = len(terminal.lines)
    size = f"{COLUMNS * WIDE + 24:g}", f"{shown * HIGH + 24:g}"
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-size="14"'
        ' font-family="DejaVu Sans Mono, Menlo, Consolas, monospace">',
        '<rect width="100%" height="100%" rx="6" fill="#22252b"/>',
    ]
    for number in range(shown):
        cells = [terminal.screen.buffer[number][column] for column in range(COLUMNS)]
        spans, at = [], 0
        while at < COLUMNS:
            end = at
            while end < COLUMNS and (cells[end].fg, cells[end].bold) == (cells[at].fg, cells[at].bold):
                end += 1
            text = "".join(cell.data for cell in cells[at:end])
            if text := text.rstrip():
                colour = COLOURS.get(cells[at].fg, f"#{cells[at].fg}")
                weight = ' font-weight="bold"' if cells[at].bold else ""
                spans.append(
                    f'<tspan x="{12 + at * WIDE:g}" textLength="{len(text) * WIDE:g}" fill="{colour}"{weight}>'
                    f"{html.escape(text)}</tspan>"
                )
            at = end
        rows.append(f'<text y="{(number + 1) * HIGH + 6:g}" xml:space="preserve">{"".join(spans)}</text>')
    return "\n".join([*rows, "</svg>", ""])


def screenshots(report: Path, profile: Path) -> None:
    """The sections of the report with its map and its timeline."""
    chrome = started(profile)
    try:
        chrome.set_window_size(1180, 1500)
        chrome.get(report.as_uri())
        for name in ("map", "timeline"):
            section = chrome.execute_script(f"return document.querySelector('#{name}').closest('section')")
            section.screenshot(str(HERE / f"{name}.png"))
    finally:
        chrome.quit()


if __name__ == "__main__":
    main()
