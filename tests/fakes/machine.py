"""A QEMU that runs no guest, and yet what is in its initrd: as containers of the host's runc, in a root of its own.

The kernel is the host's, so that it takes a second, and root's rights.  `/etc/init.d/0*` is run, then every service of
/containers/services is started, as the init would, then `/etc/init.d/9*`.  The virtio-serial ports are
pseudo-terminals, the power button ends all.  `lkbuild dev` notices no difference but the time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import tty
import zlib
from pathlib import Path

SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs root "$1"
cd "$1"
for archive in "$2"/*; do cpio --quiet -i -d -u <"$archive"; done
mkdir -p usr etc dev proc sys run tmp var/log old
for at in usr proc sys; do mount --rbind /$at $at; done
for at in bin sbin lib lib64; do
    rm -rf $at
    if [ -L /$at ]; then cp -P /$at $at; elif [ -d /$at ]; then mkdir $at; mount --rbind /$at $at; fi
done
for at in null zero full random urandom tty; do : >dev/$at; mount --bind /dev/$at dev/$at; done
mkdir -p dev/pts
mount --rbind /dev/pts dev/pts
mount -t tmpfs ports sys/class
shift 2
for pair in "$@"; do
    mkdir -p sys/class/virtio-ports/${pair%=*}
    echo ${pair%=*} >sys/class/virtio-ports/${pair%=*}/name
    ln -s ${pair#*=} dev/${pair%=*}
done
mount -t tmpfs run run
pivot_root . old
umount -l old
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for program in /etc/init.d/0*; do $program; done
for bundle in /containers/services/*/; do
    name=$(basename $bundle)
    at=/run/containerd/io.containerd.runtime.v2.task/services.linuxkit/$name
    lower=$(sed -n 's/.*lowerdir=\\([^,"]*\\).*/\\1/p' $bundle/runtime.json)
    mkdir -p $at
    mount -t tmpfs tmpfs $bundle/tmp
    mkdir $bundle/tmp/upper $bundle/tmp/work
    mount -t overlay overlay $bundle/rootfs \
        -o lowerdir=$lower,upperdir=$bundle/tmp/upper,workdir=$bundle/tmp/work
    runc create --bundle $bundle --pid-file $at/init.pid $name </dev/null >>/var/log/$name.log 2>&1
    runc start $name
done
for program in /etc/init.d/9*; do $program; done
read -r line || :
"""


def archives(initrd: bytes) -> list[bytes]:
    """The cpio archives of an initrd, decompressed."""
    found = []
    while initrd := initrd.lstrip(b"\0"):
        if initrd.startswith(b"\x1f\x8b"):
            reader = zlib.decompressobj(wbits=31)
            found.append(reader.decompress(initrd))
            initrd = reader.unused_data
        else:
            end = initrd.index(b"TRAILER!!!") + 14
            found.append(initrd[:end])
            initrd = initrd[end:]
    return found


def pump(source: int, target: int) -> None:
    try:
        while data := os.read(source, 1 << 16):
            while data:
                data = data[os.write(target, data) :]
    except OSError:
        return


def terminal(end: int) -> str:
    """A pseudo-terminal that carries bytes to and from `end`; returns its path."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    for source, target in ((ours, end), (end, ours)):
        threading.Thread(target=pump, args=(source, target), daemon=True).start()
    return os.ttyname(theirs)


def obey(monitor: socket.socket) -> None:
    """Do what QEMU's monitor is told, until that is to end."""

    def send(message: dict[str, object]) -> None:
        monitor.sendall(json.dumps(message).encode() + b"\r\n")

    try:
        send({"QMP": {}})
        for line in monitor.makefile("rb"):
            send({"return": {}})
            if json.loads(line)["execute"] in ("system_powerdown", "quit"):
                return
    except OSError:
        signal.pause()  # as QEMU does, this outlives whoever held the other end


def main(args: list[str]) -> int:
    if args == ["--version"]:
        print("QEMU emulator version 99.0 (fake)")
        return 0
    options = " ".join(args)
    monitor = socket.socket(fileno=int(re.search(r"id=qmp,fd=([0-9]+)", options)[1]))  # type: ignore[index]
    ends = dict(re.findall(r"id=(port[0-9]+),fd=([0-9]+)", options))
    names = re.findall(r"virtserialport,chardev=(port[0-9]+),name=([a-z.]+)", options)
    with tempfile.TemporaryDirectory() as directory:
        root, parts = Path(directory, "root"), Path(directory, "parts")
        root.mkdir()
        parts.mkdir()
        for number, archive in enumerate(archives(Path(args[args.index("-initrd") + 1]).read_bytes())):
            (parts / f"{number:03d}").write_bytes(archive)
        pairs = [f"{name}={terminal(int(ends[end]))}" for end, name in names]
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP, "init"]
        words = [*command, str(root), str(parts), *pairs]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=2) as init:
            obey(monitor)
            init.kill()
    return 0


def fake_machine(directory: Path) -> Path:
    """Make it in `directory`, which is to go first on the PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "qemu-system-x86_64"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} "$@"\n')
    program.chmod(0o755)
    return program


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
