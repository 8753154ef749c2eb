"""A QEMU that runs no guest: it keeps its command line, says what it is told to say, and obeys its monitor.

`fake_qemu(DIRECTORY, BEHAVIOUR)` puts it on a PATH.  Behaviours, several with spaces between: `off` powers off at once;
`fail` fails at once; `deaf` ignores the power button; `stubborn` ignores `quit` too; `raw` leaves the terminal changed;
`kvm-hangs`, `kvm-refuses`, `kvm-works`, `kvm-wants-less` are how a guest under KVM goes.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPT = """#!{python} -S
import json, os, re, socket, sys, time
behaviour = {behaviour!r}.split()
args = sys.argv[1:]
if args == ["--version"]:
    print("QEMU emulator version 99.0 (fake)")
    sys.exit(0)
with open({directory!r} + "/argv.json", "w") as file:
    json.dump(args, file)
with open({directory!r} + "/calls", "a") as file:
    file.write(args[args.index("-accel") + 1] + " " + args[args.index("-cpu") + 1] + "\\n")
fds = [int(m[1]) for a in args for m in [re.match("socket,id=qmp,fd=([0-9]+)", a)] if m]
if not fds:
    model = args[args.index("-cpu") + 1]
    if "kvm-refuses" in behaviour or ("kvm-wants-less" in behaviour and model == "host"):
        sys.stderr.write("qemu: error: failed to set MSR 0x10a\\n")
        sys.exit(1)
    print("Booting from ROM...", flush=True)
    if "kvm-hangs" not in behaviour:
        print("[    0.000000] Linux version 6.1", flush=True)
    time.sleep(60)
if "-pidfile" in args:
    with open(args[args.index("-pidfile") + 1], "w") as file:
        file.write(str(os.getpid()) + "\\n")
if "fail" in behaviour:
    sys.stderr.write("qemu: could not open the moon\\n")
    sys.exit(1)
print("FAKE CONSOLE", flush=True)
if "raw" in behaviour:
    import termios, tty
    tty.setraw(0)
    os.set_blocking(0, False)
    print("RAW", flush=True)
if "off" in behaviour:
    sys.exit(0)
monitor = socket.socket(fileno=fds[0])
def send(message):
    monitor.sendall(json.dumps(message).encode() + b"\\r\\n")
def lines():  # as QEMU does, this outlives whoever holds the other end
    try:
        send({{"QMP": {{"version": {{}}, "capabilities": []}}}})
        yield from monitor.makefile("rb")
    except OSError:
        pass
negotiated = False
for line in lines():
    command = json.loads(line)["execute"]
    print("HEARD " + command, flush=True)
    if command == "qmp_capabilities":
        negotiated = True
    elif not negotiated:
        send({{"error": {{"class": "CommandNotFound", "desc": "negotiate first"}}}})
        continue
    send({{"event": "RTC_CHANGE", "data": {{}}}})
    send({{"return": {{}}}})
    if command == "system_powerdown" and not {{"deaf", "stubborn"}} & set(behaviour):
        sys.exit(0)
    if command == "quit" and "stubborn" not in behaviour:
        sys.exit(0)
time.sleep(60)
"""


def fake_qemu(directory: Path, behaviour: str = "", arch: str = "x86_64") -> Path:
    """Make it in `directory`, which is to go first on the PATH; `argv.json` and `calls` there say how it was called."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"qemu-system-{arch}"
    program.write_text(_SCRIPT.format(python=sys.executable, behaviour=behaviour, directory=str(directory)))
    program.chmod(0o755)
    return program
