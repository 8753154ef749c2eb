"""Kills its own process just before the Nth operation of a kind on the cache: KILL_AT="os.rename:3", KILL_UNDER=DIR.

Python runs a module of this name at its start.  With KILL_COUNT=FILE it kills nobody, and writes how many operations of
each kind there were.
"""

import atexit
import collections
import json
import os
import pathlib
import signal
import sys

UNDER = os.environ.get("KILL_UNDER", "")
KIND, _, NUMBER = os.environ.get("KILL_AT", ":0").rpartition(":")
COUNT = os.environ.get("KILL_COUNT")
KINDS = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "shutil.rmtree",
    "tempfile.mkdtemp",
}
seen = collections.Counter()


def hook(event, arguments):
    if event == "open" and len(arguments) > 2 and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    if event not in KINDS or not any(isinstance(a, (str, os.PathLike)) and UNDER in os.fspath(a) for a in arguments):
        return
    seen[event] += 1
    if event == KIND and seen[event] == int(NUMBER):
        os.kill(os.getpid(), signal.SIGKILL)


if UNDER:
    sys.addaudithook(hook)
    if COUNT:
        atexit.register(lambda: pathlib.Path(COUNT).write_text(json.dumps(seen)))
