"""Writing reports of builds: what `lkbuild report` and `doit report` share."""

from __future__ import annotations

import os
from pathlib import Path

from lkbuild.engine.arguments import Option, Order
from lkbuild.engine.events import Said, Wrote
from lkbuild.engine.project import Show

REPORT_OPTIONS = (
    Option("html", "FILE", "write the report there; NAME-report.html where not said"),
    Option("trace", "FILE", "write the build as a trace for Perfetto or chrome://tracing"),
    Option("build", "ID", "report this build of the history, not the newest"),
)


def write_report(order: Order, show: Show) -> int:
    """Write the report of the newest build of an order's specs, or of anything; returns what to exit with."""
    from lkbuild.engine.history_files import HistoryFiles
    from lkbuild.report.build_report import build_report, find_build
    from lkbuild.report.page import page
    from lkbuild.report.trace import trace_text

    def tell(text: str) -> None:
        show(Said(text))

    said = dict(order.rest)
    cache = order.options.cache
    wanted = [tuple(os.path.abspath(file) for file in files) for files in order.options.machines]  # noqa: PTH100
    found = find_build(HistoryFiles(cache), wanted, said.get("build"), tell)
    if "trace" in said:
        _write(Path(said["trace"]).expanduser(), trace_text(found[1]), show)
    if "html" in said or "trace" not in said:
        report = build_report(found, wanted, cache, tell)
        names = [machine.record.name for machine in report.machines]
        default = order.options.directory / f"{names[0] if len(names) == 1 else 'lkbuild'}-report.html"
        _write(Path(said["html"]).expanduser() if "html" in said else default, page(report), show)
    return 0


def _write(path: Path, text: str, show: Show) -> None:
    """Write beside the file, then rename; StoreError where that cannot be done."""
    from lkbuild.store.files import doing

    data = text.encode("ascii" if text.isascii() else "utf-8")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with doing(f"writing {path}", "say where it goes with -o FILE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    show(Wrote("report", os.fspath(path), len(data)))
