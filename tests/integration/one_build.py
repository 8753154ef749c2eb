"""A build in a process of its own: python -m tests.integration.one_build SPEC CACHE OUT LAYOUT [OPTION=VALUE …]"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support.building import offline, run

if __name__ == "__main__":
    spec, cache, out, layout, *options = sys.argv[1:]
    more: dict[str, object] = dict(option.split("=", 1) for option in options)
    if "formats" in more:
        more["formats"] = tuple(str(more["formats"]).split(","))
    built = run(offline(Path(spec), Path(cache), Path(out), images=(Path(layout),), **more))
    print(json.dumps({"ran": built.ran, "wrote": built.wrote}))
