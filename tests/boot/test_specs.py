"""The repository's specs, built from Debian packages as they are today, and booted under QEMU."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lkbuild.engine.options import BuildOptions
from lkbuild.machine import media
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.options import MachineOptions, Publish
from tests.support.building import run
from tests.support.servers import free_port

SPECS = Path(__file__).parents[2] / "specs"
SECONDS = 240
"""How long a machine may take: the processor is emulated, and shared with other tests."""

pytestmark = [pytest.mark.boot, pytest.mark.network]


@dataclass
class Booted:
    """A running machine, and the port of this host that leads to it."""

    guest: Guest
    port: int

    def exchange(self, question: bytes, wanted: bytes) -> bytes:
        """Send something to the port until the answer begins with `wanted`; until it listens takes time."""
        end = time.monotonic() + SECONDS
        answer = b""
        while time.monotonic() < end:
            assert not self.guest.ended(), self.guest.console()
            try:
                with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
                    connection.sendall(question)
                    answer = connection.recv(4096)
            except OSError:
                answer = b""
            if answer.startswith(wanted):
                return answer
            time.sleep(1)
        pytest.fail(f"no answer: {answer!r}\n{self.guest.console()[-3000:]}")


@contextmanager
def booted(name: str, cache: Path, out: Path, port: int = 80) -> Iterator[Booted]:
    """Build a spec and run it."""
    run(BuildOptions(machines=((SPECS / f"{name}.yml",),), cache=cache, directory=out))
    here = free_port()
    options = MachineOptions(memory=1024, cpus=2, accel="tcg", publish=(Publish(here, port, address="127.0.0.1"),))
    machine = Machine.of(options, media.find(out / name), out / "state")
    with Guest(machine, out / "console") as guest:
        yield Booted(guest, here)


def test_nginx_serves_our_page_and_powers_off(cache: Path, tmp_path: Path) -> None:
    with booted("nginx", cache, tmp_path) as machine:
        answer = machine.guest.http_get(machine.port, seconds=SECONDS)
        page = SPECS.parent / "pkg" / "nginx" / "root" / "usr" / "share" / "nginx" / "html" / "index.html"
        assert (answer.status, answer.body) == (200, page.read_bytes())
        assert machine.guest.powerdown(60)
        console = machine.guest.console()
    assert "rc.shutdown: done" in console
    assert "Power down" in console


def test_the_first_example_of_linuxkit(cache: Path, tmp_path: Path) -> None:
    with booted("moby-2017", cache, tmp_path) as machine:
        assert machine.guest.http_get(machine.port, seconds=SECONDS).status == 200


def test_redis_answers(cache: Path, tmp_path: Path) -> None:
    with booted("redis", cache, tmp_path, 6379) as machine:
        machine.exchange(b"PING\r\n", b"+PONG")


def test_sshd_greets(cache: Path, tmp_path: Path) -> None:
    with booted("sshd", cache, tmp_path, 22) as machine:
        machine.exchange(b"", b"SSH-2.0-OpenSSH")


def test_a_shell_on_the_console(cache: Path, tmp_path: Path) -> None:
    with booted("minimal", cache, tmp_path) as machine:
        machine.guest.wait_for("rc.init: up after", SECONDS)
        machine.guest.wait_for("# ", SECONDS)
        machine.guest.send("echo sum $((20 + 3)); poweroff\n")
        machine.guest.wait_for("sum 23", SECONDS)
        machine.guest.wait(60)
