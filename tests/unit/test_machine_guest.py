"""A machine is started, heard and ended; QEMU is a program of ours that runs no guest."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lkbuild.errors import MachineError, ToolError
from lkbuild.machine.accel import Accelerator
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions, Publish
from lkbuild.machine.qmp import Monitor
from tests.fakes.qemu import fake_qemu
from tests.support.servers import free_port

Boot = Callable[..., Guest]


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boot]:
    """Starts a machine under a fake QEMU of the given behaviour; all that were started are ended."""
    guests: list[Guest] = []

    def start(behaviour: str = "", **options: object) -> Guest:
        fake_qemu(tmp_path / "bin", behaviour, str(options.get("arch", "x86_64")))
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        guests.append(Guest(machine(tmp_path, **options), tmp_path / "console"))
        return guests[-1]

    yield start
    for guest in guests:
        guest.close()


def machine(directory: Path, **options: object) -> Machine:
    kernel = directory / "m-kernel"
    kernel.touch()
    medium = Media(directory / "m", "kernel+initrd", kernel)
    return Machine(
        MachineOptions(**options),  # type: ignore[arg-type]
        medium,
        directory / "state",
        Accelerator("tcg", "max", ""),
    )


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_machine_that_powers_off(boot: Boot, tmp_path: Path) -> None:
    guest = boot("off")
    assert "FAKE CONSOLE" in guest.wait_for("CONSOLE", 10)
    guest.wait(10)
    argv = json.loads((tmp_path / "bin/argv.json").read_text())
    assert argv[argv.index("-kernel") + 1] == str(tmp_path / "m-kernel")
    assert "qemu-system-x86_64 -name guest=m" in (tmp_path / "state/qemu.log").read_text()


def test_the_power_button(boot: Boot) -> None:
    guest = boot()
    assert guest.powerdown(10)
    assert guest.console().split() == ["FAKE", "CONSOLE", "HEARD", "qmp_capabilities", "HEARD", "system_powerdown"]
    assert not alive(guest.pid)


def test_the_power_key_of_an_arm64_machine_without_firmware(boot: Boot, tmp_path: Path) -> None:
    assert boot(arch="aarch64").powerdown(10)
    heard = (tmp_path / "console").read_text().split()[2:]
    assert heard == ["HEARD", "qmp_capabilities", "HEARD", "send-key", "HEARD", "system_powerdown"]


def test_a_machine_that_hears_no_button_is_ended(boot: Boot) -> None:
    guest = boot("deaf")
    began = time.monotonic()
    assert not guest.powerdown(0.3)
    assert time.monotonic() - began < 4
    assert "HEARD quit" in guest.console()
    assert not alive(guest.pid)


def test_a_qemu_that_does_not_quit_is_killed(boot: Boot) -> None:
    guest = boot("stubborn")
    guest.wait_for("CONSOLE", 10)
    guest.close()
    assert not alive(guest.pid)


def test_leaving_the_context_ends_the_machine(boot: Boot) -> None:
    with pytest.raises(KeyboardInterrupt), boot() as guest:
        raise KeyboardInterrupt
    assert not alive(guest.pid)


def test_ending_twice_is_no_mistake(boot: Boot) -> None:
    guest = boot()
    guest.kill()
    assert guest.powerdown(1), "it has ended, which is what is wanted"
    guest.quit()
    guest.close()
    guest.close()


def test_a_qemu_that_fails_is_quoted(boot: Boot, tmp_path: Path) -> None:
    guest = boot("fail")
    with pytest.raises(MachineError, match=r"QEMU ended with status 1:\n  \| qemu: could not open the moon") as raised:
        guest.wait(10)
    assert raised.value.hint == f"its command line is in {tmp_path / 'state/qemu.log'}"
    with pytest.raises(MachineError, match="could not open the moon"):
        guest.wait_for("anything", 10)


def test_what_is_not_said_in_time(boot: Boot) -> None:
    guest = boot()
    guest.wait_for("CONSOLE", 10)
    with pytest.raises(MachineError, match=r"does not say 'LOGIN' within 0\.2 s; its console ends:\n  \| FAKE CONSOLE"):
        guest.wait_for("LOGIN", 0.2)
    with pytest.raises(MachineError, match="still runs after"):
        guest.wait(0.1)


def test_what_is_not_said_before_the_end(boot: Boot) -> None:
    with pytest.raises(MachineError, match="ended without saying 'LOGIN'"):
        boot("off").wait_for("LOGIN", 30)


def test_a_second_machine_with_the_same_state(boot: Boot, tmp_path: Path) -> None:
    guest = boot()
    guest.wait_for("CONSOLE", 10)
    with pytest.raises(MachineError, match=rf"is running already \(process {guest.pid}\)"):
        Guest(machine(tmp_path), tmp_path / "other")
    guest.close()
    boot("off").wait(10)


def test_a_port_that_is_taken_starts_nothing(boot: Boot, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MachineError, match=f"port {port}/tcp of this host is in use"):
            boot(publish=(Publish(port, 80),))
    assert not (tmp_path / "bin/calls").exists()
    boot("off", publish=(Publish(port, 80),)).wait(10)


def test_no_qemu_leaves_the_state_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(2):
        with pytest.raises(ToolError, match="qemu-system-x86_64 is not installed"):
            Guest(machine(tmp_path), tmp_path / "console")


def test_a_qemu_that_cannot_be_executed(boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/qemu-system-x86_64").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bin/qemu-system-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    with pytest.raises(MachineError, match="cannot be started"):
        Guest(machine(tmp_path), tmp_path / "console")


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        return


def test_a_web_server_is_waited_for(boot: Boot) -> None:
    guest, port = boot(), free_port()

    def serve_later() -> None:
        time.sleep(0.5)
        server = http.server.HTTPServer(("127.0.0.1", port), Page)
        with server:
            server.handle_request()
            server.handle_request()

    thread = threading.Thread(target=serve_later)
    thread.start()
    answer = guest.http_get(port, "/a")
    assert (answer.status, answer.body) == (200, b"/a")
    assert guest.http_get(port, "/none").status == 404
    thread.join()
    with pytest.raises(MachineError, match=f"gives no answer on port {port} within"):
        guest.http_get(port, seconds=0.3)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (b"", "it has ended"),
        (b"not json\n", "Expecting value"),
        (b"[]\n", "its message is"),
        (b'{"QMP": {}}\n{"error": {"class": "GenericError"}}\n', "refuses 'qmp_capabilities'"),
        (b"x" * (1 << 20) + b"x", "too long"),
    ],
)
def test_a_monitor_that_talks_nonsense(answers: bytes, words: str) -> None:
    ours, theirs = socket.socketpair()

    def talk() -> None:
        theirs.sendall(answers)
        theirs.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=talk)
    thread.start()
    monitor = Monitor(ours)
    with pytest.raises(MachineError, match=words):
        monitor.execute("quit")
    monitor.close()
    thread.join()
    theirs.close()
