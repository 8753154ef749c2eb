"""The agent of `lkbuild dev` at work without a virtual machine: in a root of its own, with Debian's busybox and runc.

It is the very script that goes into machines; its two ports are pseudo-terminals.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.archive.entry import Entry
from lkbuild.archive.sink import CpioSink
from lkbuild.dev.agent import Agent
from lkbuild.errors import MachineError
from tests.fakes.machine import terminal

AGENT = Path(__file__).parents[2] / "lkbuild" / "dev" / "guest" / "root" / "usr" / "lib" / "lkbuild-dev" / "agent"
SECONDS = 60.0
HOME = "containers/volumes/lkbuild-dev/lower/usr"

SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs root "$1"
cd "$1"
mkdir -p usr etc dev proc sys run tmp var/log old initd {home}/bin {home}/lib/lkbuild-dev
for at in usr etc proc sys; do mount --rbind /$at $at; done
for at in bin sbin lib lib64; do
    if [ -L /$at ]; then cp -P /$at $at; elif [ -d /$at ]; then mkdir $at; mount --rbind /$at $at; fi
done
for at in null zero full random urandom tty; do : >dev/$at; mount --bind /dev/$at dev/$at; done
mkdir dev/pts
mount --rbind /dev/pts dev/pts
ln -s "$2" dev/requests
ln -s "$3" dev/words
mount -t tmpfs ports sys/class
for port in requests words; do
    mkdir -p sys/class/virtio-ports/$port
    echo lkbuild.$port >sys/class/virtio-ports/$port/name
done
cp /usr/bin/busybox {home}/bin/
cp "$4" {home}/lib/lkbuild-dev/agent
cp -a "$5" containers/services
mount -t tmpfs run run
pivot_root . old
umount -l old
for name in 000-lkbuild-dev 999-lkbuild-dev; do ln -s /{home}/lib/lkbuild-dev/agent /initd/$name; done
/initd/000-lkbuild-dev
read -r line
/initd/999-lkbuild-dev
read -r line || :
for pid in $(cat /run/lkbuild-dev/*/pid) $(pidof busybox); do kill -9 $pid; done 2>/dev/null
""".replace("{home}", HOME)

PROGRAM = """echo "serving $(cat /page)"; exec sleep 1000"""


def config(command: str) -> bytes:
    """A configuration that runs a shell command."""
    document = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/busybox", "sh", "-c", command],
            "cwd": "/",
            "env": ["PATH=/bin"],
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    }
    return json.dumps(document).encode()


def archive(*files: tuple[str, bytes]) -> bytes:
    """A cpio archive, as a swap brings it."""
    raw = io.BytesIO()
    sink = CpioSink(raw, "none")
    for name, data in files:
        sink.add(Entry(name.encode(), "file", 0o644, size=len(data)), [data])
    sink.close()
    return raw.getvalue()


@dataclass
class Root:
    """The agent, and the program that stands for init."""

    agent: Agent
    init: subprocess.Popen[bytes]
    heard: list[str]

    def ask(self, *words: object, payload: bytes = b"") -> tuple[str, ...]:
        return self.agent.answered(self.agent.ask(words, (payload,)), SECONDS)

    def swap(self, old: str, new: str, removed: bytes = b"", added: bytes = b"") -> None:
        self.ask("swap", "web", old, new, len(removed), len(added), payload=removed + added)

    def standby(self, container: str, command: str = PROGRAM) -> None:
        text = config(command)
        self.ask("standby", "web", container, "containers/services/web/lower", len(text), payload=text)

    def hear(self, wanted: str) -> None:
        """Wait until the agent has said it."""
        end = time.monotonic() + SECONDS
        while wanted not in self.heard:
            assert time.monotonic() < end, self.heard
            self.agent.wait(0.1)
            self.heard += self.agent.words()

    def sums(self, container: str) -> dict[str, str]:
        lines = self.ask("sums", container)
        return {path: digest for digest, _, path in (line.partition("  ./") for line in lines)}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to have mounts of its own")
    for program in ("busybox", "runc", "unshare", "pivot_root"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            pytest.skip(f"needs {program}")
    lower = tmp_path / "services" / "web" / "lower"
    for name in ("bin", "proc", "gone/below"):
        (lower / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", lower / "bin")
    (lower / "page").write_text("one")
    (lower / "gone" / "below" / "file").write_text("x")
    (tmp_path / "root").mkdir()
    agent = Agent()
    ptys = [terminal(port.socket.detach()) for port in agent.ports]
    words = (tmp_path / "root", *ptys, AGENT, tmp_path / "services")
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP, "init"]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    init = subprocess.Popen([*command, *map(str, words)], stdin=subprocess.PIPE, env=environment)
    try:
        yield Root(agent, init, [])
    finally:
        assert init.stdin is not None
        init.stdin.close()
        init.wait(30)
        agent.close()


def test_a_service_is_swapped_again_and_again(root: Root) -> None:
    assert root.init.stdin is not None
    root.init.stdin.write(b"up\n")
    root.init.stdin.flush()
    root.hear("up")
    root.ask("follow", "web")
    root.standby("web.1")
    removed = b"./gone\0"
    root.swap("boot", "web.1", removed, archive(("page", b"two"), ("new/page", b"\0\n" * 5000)))
    root.hear("=web serving two")
    sums = root.sums("web.1")
    assert sums["page"] == hashlib.sha256(b"two").hexdigest()
    assert sums["new/page"] == hashlib.sha256(b"\0\n" * 5000).hexdigest()
    assert not any(path.startswith("gone") for path in sums)
    root.standby("web.2")
    root.swap("web.1", "web.2", b"", archive(("page", b"three")))
    root.hear("=web serving three")
    root.ask("drop", "web", "web.1")
    assert "gone/below/file" in root.sums("web.2"), "each version is made of the files the machine was booted with"
    assert not any(word.startswith("ended") for word in root.heard), "one that is swapped out did not end by itself"


def test_mistakes_are_answered_and_the_next_request_is_understood(root: Root) -> None:
    with pytest.raises(MachineError, match=r"web\.9"):
        root.swap("boot", "web.9", b"./page\0", archive(("page", b"two")))
    with pytest.raises(MachineError, match="no verb"):
        root.ask("reboot", "now")
    with pytest.raises(MachineError, match="standby"):
        root.ask("standby", "web", "web.1", "containers/services/web/lower", 3, payload=b"{]}")
    root.ask("drop", "web", "web.1")
    root.standby("web.2")
    root.swap("boot", "web.2", b"", archive(("page", b"fine")))
    assert root.sums("web.2")["page"] == hashlib.sha256(b"fine").hexdigest()


def test_a_service_that_ends_is_told_of(root: Root) -> None:
    root.standby("web.1", "echo over; exit 3")
    root.swap("boot", "web.1")
    root.hear("ended web web.1")
